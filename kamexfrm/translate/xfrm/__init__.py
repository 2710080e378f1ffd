"""KAME's model to XFRM and back, with what the kernel stores for us."""
