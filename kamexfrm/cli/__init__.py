"""The command ``kamexfrm``: the rig, the demo, the guest and ``exec``."""
