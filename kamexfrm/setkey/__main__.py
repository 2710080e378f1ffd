"""``python -m kamexfrm.setkey`` is the command setkey."""

import sys

from kamexfrm.setkey.command import main

sys.exit(main())
