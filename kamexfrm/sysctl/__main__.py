"""``python -m kamexfrm.sysctl`` is kame-sysctl."""

from kamexfrm.command_line import leave
from kamexfrm.sysctl.command import main

if __name__ == "__main__":
    leave(main())
