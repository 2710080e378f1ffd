"""``kamexfrm translate``: setkey files to ``ip xfrm`` commands, and back.

Between them stand kernel objects: ``installing`` makes them of setkey files, ``ip_reading`` of what
ip(8) prints or reads; ``ip_writing`` and ``setkey_writing`` write them down.
"""
