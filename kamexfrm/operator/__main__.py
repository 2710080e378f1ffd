"""``python -m kamexfrm.operator`` is kamexfrm."""

from kamexfrm.operator.entry import main

if __name__ == "__main__":
    main()
