"""The shell that a person gets on a host or in a guest: which one, and its environment."""

import os
import sys
from pathlib import Path


def program() -> str:
    """Return the user's shell."""
    return os.environ.get("SHELL", "/bin/sh")


def environment(name: str) -> dict[str, str]:
    """Return a shell's environment: where it is in the prompt, our commands in PATH."""
    prompt = {"PS1": f"{name}# ", "PROMPT_COMMAND": f"PS1='{name}# '"}  # bash's files set PS1 too
    return {**os.environ, **prompt, "PATH": path(), "KAMEXFRM_HOST": name}


def path() -> str:
    """Return PATH with our own commands first, and the folders of ip and tc last."""
    return f"{Path(sys.executable).parent}:{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
