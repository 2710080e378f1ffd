"""A run as one page of HTML that needs nothing else: no network, no script, no other file.

``document`` makes the page of ``case`` sections, with drawings by ``topology`` and ``ladder``. All
of it is a tree of elements (``markup``), which escapes each text when it is written.
"""
