"""The scenarios that are shipped: ``kamexfrm rig new KIND`` prints one."""

from pathlib import Path

FOLDER = Path(__file__).parents[2] / "gallery"
SUFFIX = ".rig.toml"


def kinds() -> list[str]:
    """Return the names of all scenarios of the gallery."""
    return sorted(path.name.removesuffix(SUFFIX) for path in FOLDER.glob(f"*{SUFFIX}"))


def path_of(kind: str) -> Path:
    """Return the file of a scenario; its first line says what it shows."""
    return FOLDER / f"{kind}{SUFFIX}"


def title_of(kind: str) -> str:
    """Return the first line of a scenario without its #."""
    return path_of(kind).read_text(encoding="utf-8").partition("\n")[0].lstrip("# ").rstrip(".")
