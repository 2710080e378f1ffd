"""On how many examples a law is tried: in proportion to hypothesis's profile."""

from hypothesis import settings

#: How many examples hypothesis tries by itself: the measure of what tests ask for.
_ALL = 100


def examples(number: int) -> int:
    """Return ``number``, or a part of it where the profile has fewer examples than usual."""
    return max(1, number * settings().max_examples // _ALL)
