"""From a ``*.rig.toml`` file to cases: the one part that knows TOML and its keys.

``document`` reads a file: tables by ``table``, their places by ``lines``, ``${...}`` and the matrix
by ``matrix``, links by ``topology``, steps by ``actions`` and ``expectations``, the scripts of
peers by ``mirror``. ``schema`` has the keys and words; ``gallery`` the scenarios that are shipped.
"""
