"""What Linux does with a packet where it does not do what KAME does.

``differences`` is the table of ipsec(4), ``situation`` what is decided about, ``fate`` the outcome
with any of the differences on or off; ``adjusting``, ``leaving`` and ``arriving`` are its steps.
With all differences off a fate is what ``decide`` says. With all on it is what the kernel does:
the conformance tests hold it against the wire.
"""
