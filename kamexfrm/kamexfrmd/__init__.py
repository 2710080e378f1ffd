"""Programs that stay: the resident kamexfrmd, which lets policies follow everybody's changes."""
