"""Build the API pages of the public packages from their docstrings, without a network.

``python docs/build_api.py [FOLDER]``; the folder is build/api by default. Any warning, such as a
name of ``__all__`` that cannot be imported, ends it with an error.
"""

import importlib
import os
import sys
import warnings
from pathlib import Path

#: What users of the libraries import; each has ``__all__``.
PACKAGES = (
    "kamexfrm",
    "kamexfrm.engine",
    "kamexfrm.hub",
    "kamexfrm.kernel",
    "kamexfrm.library",
    "kamexfrm.model",
    "kamexfrm.pfkey",
    "kamexfrm.rig",
    "kamexfrm.testing",
    "kamexfrm.testing.conformance",
    "kamexfrm.xfrm",
    "kamexfrm.algorithms",
    "kamexfrm.errors",
    "kamexfrm.net",
)


def load(package: str) -> None:
    """Import a package with all names that it exports; raises AttributeError, ImportError."""
    module = importlib.import_module(package)
    for name in getattr(module, "__all__", ()):
        setattr(module, name, getattr(module, name))  # pdoc looks at what is loaded


def main(folder: Path) -> None:
    """Write the pages into a folder."""
    warnings.simplefilter("error")
    # An array takes no type of its elements at run time before Python 3.12.
    warnings.filterwarnings("ignore", message=r".*'array\.array' is not subscriptable")
    os.environ["PDOC_DISPLAY_ENV_VARS"] = "0"
    for package in PACKAGES:
        load(package)
    from pdoc import pdoc, render

    render.configure(
        docformat="restructuredtext",
        footer_text="kamexfrm",
        logo=None,
        search=True,
        mermaid=False,
        math=False,
        show_source=False,
        include_undocumented=True,
    )
    # all that the package exports, and what that exports; a suite for pytest is no such name
    pdoc("kamexfrm", "kamexfrm.testing.conformance", output_directory=folder)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if sys.argv[1:] else Path("build", "api"))
