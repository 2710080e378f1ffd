"""Security contexts of SAs and policies, as setkey -D prints them and as data."""

from typing import Any

from kamexfrm.model.policy import SecurityContext


def context_lines(context: SecurityContext) -> list[str]:
    """Return the four lines of a security context; the length counts what is stored."""
    text = context.label.partition(b"\0")[0].decode("utf-8", "backslashreplace")
    return [
        f"\tsecurity context doi: {context.doi}",
        f"\tsecurity context algorithm: {context.algorithm}",
        f"\tsecurity context length: {len(context.label)}",
        f"\tsecurity context: {text}",
    ]


def context_to_dict(context: SecurityContext) -> dict[str, Any]:
    """Return a security context as plain data."""
    label = context.label.rstrip(b"\0").decode("utf-8", "backslashreplace")
    return {"doi": context.doi, "algorithm": context.algorithm, "label": label}
