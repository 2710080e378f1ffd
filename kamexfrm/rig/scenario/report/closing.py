"""The line about a failed case that says all: what was not as expected, and the likeliest cause."""

from kamexfrm.rig.scenario.result import CaseResult, Failure


def closing_line(result: CaseResult) -> str:
    """Return ``lost, expected ok: g2 has no SA for spi 0x201``; empty where nothing failed."""
    return closing(result.failure) if result.failure else ""


def closing(failure: Failure) -> str:
    """Return in a line what was not as expected, and the likeliest cause."""
    message = failure.message.partition("\n")[0]
    return f"{message}: {failure.cause}" if failure.cause else message
