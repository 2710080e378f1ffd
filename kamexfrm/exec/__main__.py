"""``python -m kamexfrm.exec`` is kamexfrm exec."""

import sys

from kamexfrm.exec.command import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
