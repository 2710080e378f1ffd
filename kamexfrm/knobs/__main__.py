"""``python -m kamexfrm.knobs`` is kame-sysctl."""

from kamexfrm.knobs.command import main

if __name__ == "__main__":
    main()
