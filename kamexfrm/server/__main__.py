"""``python -m kamexfrm.server`` is kamexfrmd."""

import sys

from kamexfrm.server.command import main

sys.exit(main())
