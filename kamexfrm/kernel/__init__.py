"""The only way to the kernel: operations on XFRM's database, over netlink or in memory.

``interface`` says what a kernel can do; ``netlink`` is the real one, ``fake`` keeps it all in
memory for tests. Both pass the same conformance suite.
"""
