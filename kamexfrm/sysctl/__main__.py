"""``python -m kamexfrm.sysctl`` is kame-sysctl."""

from kamexfrm.sysctl.command import main

if __name__ == "__main__":
    main()
