"""``python -m kamexfrm.setkey`` is the command setkey."""

from kamexfrm.command_line import leave
from kamexfrm.setkey.command import main

leave(main())
