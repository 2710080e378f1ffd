"""What setkey said of a script that it refused, its message first."""

_NAME = "setkey: "


def refusal(said: str) -> str:
    """Return setkey's message as the first line, and what else it said below.

    Before its message may stand what the script had printed, and the sizes that a key may have.
    """
    lines = said.strip("\n").splitlines()
    at = next((number for number, line in enumerate(lines) if line.startswith(_NAME)), 0)
    message = lines.pop(at).removeprefix(_NAME) if lines else ""
    return "\n".join([f"setkey refused: {message}", *lines])
