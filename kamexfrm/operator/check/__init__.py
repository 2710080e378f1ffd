"""``kamexfrm check``: what is wrong or doubtful in setkey files, before they are loaded.

``codes`` is the table of findings, ``reading`` makes files a configuration, the modules of rules
find, ``checking`` calls them all.
"""
