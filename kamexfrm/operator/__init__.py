"""What the operator's commands do, without their command lines: see, check, plan, apply, save.

Floor 7. Each command of ``kamexfrm`` has its module or folder here, and its options and output in
``kamexfrm.cli``. What is reported is a document of :mod:`kamexfrm.operator.document`.
"""
