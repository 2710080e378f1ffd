"""KAME's IPsec interface for Linux, on netlink XFRM: setkey, levels, knobs, PF_KEY."""

__version__ = "0.1.0"
