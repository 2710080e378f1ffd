"""From a ``*.rig.toml`` file to cases: the one part that knows TOML and its keys.

``document`` reads a file (tables by ``table``, places by ``lines``, ``${...}`` and the matrix by
``matrix``, links by ``topology``, steps by ``actions``, scripts taken over by ``mirror``);
``gallery`` has the scenarios that are shipped.
"""
