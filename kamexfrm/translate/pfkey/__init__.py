"""KAME's model to PF_KEY messages and back."""
