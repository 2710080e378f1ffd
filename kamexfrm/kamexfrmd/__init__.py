"""The daemon kamexfrmd: keeps policies consistent with all changes, and serves PF_KEY."""
