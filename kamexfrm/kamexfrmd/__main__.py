"""``python -m kamexfrm.kamexfrmd`` is kamexfrmd."""

import sys

from kamexfrm.kamexfrmd.command import main

sys.exit(main())
