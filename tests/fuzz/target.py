"""What is fuzzed: a function that checks the laws for one input, and inputs to begin with."""

from collections.abc import Callable
from typing import NamedTuple


class LawError(AssertionError):
    """A law does not hold; the first argument names it."""


def hold(true: object, law: str) -> None:
    """Raise LawError unless a law holds."""
    if not true:
        raise LawError(law)


class Target(NamedTuple):
    """A reader of hostile input.

    ``check`` takes any bytes and returns in a few words what they were to the reader, so that
    inputs of new kinds can be told from others; it raises LawError, or what the reader should not
    have raised. ``pieces`` are what inputs are damaged with where no coverage guides.
    """

    check: Callable[[bytes], str]
    seeds: Callable[[], list[bytes]]
    pieces: tuple[bytes, ...]
