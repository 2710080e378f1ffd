"""The door to ``kamexfrm``: scripts start ``kamexfrm exec`` often, and it needs no click."""

import sys


def main() -> None:
    """Run the command and leave with its status."""
    if sys.argv[1:2] == ["exec"]:
        from kamexfrm.exec.command import main as execute

        sys.exit(execute(sys.argv[2:]))
    from kamexfrm.operator.command import main as others

    others(prog_name="kamexfrm")
