"""KAME's model to XFRM and back, with what the kernel is made to carry for us."""
