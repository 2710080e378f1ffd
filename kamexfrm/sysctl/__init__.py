"""kame-sysctl(8): the knobs of ipsec(4), read and written from a command line.

* ``command``: the command; checks, writes, prints.
* ``arguments``: its options, usage and help.
* ``settings``: names, values, files and presets.
* ``namespace``: reads and writes the knobs of the network namespace, through the engine.

The knobs themselves (name, range, start value, description) are in ``kamexfrm.model.knobs``, KAME's
that Linux lacks in ``kamexfrm.model.unsupported_knobs``.
"""
