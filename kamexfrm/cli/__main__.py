"""``python -m kamexfrm.cli`` is kamexfrm."""

from kamexfrm.cli.entry import main

if __name__ == "__main__":
    main()
