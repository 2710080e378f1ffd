"""Running programs under ``kamexfrm exec``: what its tests share."""

import sys
from pathlib import Path

#: The command, and the interpreter of the programs that it runs.
EXEC = [sys.executable, "-m", "kamexfrm.exec"]
FOLDER = Path(__file__).parent
