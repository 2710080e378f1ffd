"""Pure translation between the three vocabularies: PF_KEY, KAME's model and XFRM."""
