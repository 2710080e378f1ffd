"""kame-sysctl(8): the knobs of ipsec(4), read and written from a command line.

``arguments`` reads the options, ``settings`` what names, values, files and presets mean,
``namespace`` asks and tells the kernel, ``command`` puts them together.
"""
