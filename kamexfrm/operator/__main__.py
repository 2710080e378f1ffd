"""``python -m kamexfrm.operator`` is kamexfrm."""

from kamexfrm.operator.command import main

if __name__ == "__main__":
    main(prog_name="kamexfrm")
