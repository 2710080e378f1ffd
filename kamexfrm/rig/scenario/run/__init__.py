"""Running a case: ``runner`` takes the steps (``steps``) and checks them (``expecting``).

``pausing`` stops between them; ``holder`` keeps the hosts of a case in a process of their own.
"""
