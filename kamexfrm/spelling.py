"""Known words that a misspelt word may stand for: "did you mean ...?".

Floor 0. difflib takes 8 ms to load: import this module where an error is worded, not before.
"""

import difflib
from collections.abc import Iterable

_LONGEST = 100


def nearest(word: str, known: Iterable[str], most: int = 3) -> tuple[str, ...]:
    """Return the nearest known word; several, sorted, that are equally near; or none.

    None is near to a word of over 100 characters: to compare it takes seconds.
    """
    if len(word) > _LONGEST:
        return ()
    close = difflib.get_close_matches(word, list(known), most)
    ratios = [difflib.SequenceMatcher(None, each, word).ratio() for each in close]
    return tuple(sorted(w for w, ratio in zip(close, ratios, strict=True) if ratio == ratios[0]))


def did_you_mean(words: Iterable[str]) -> str:
    """Return ``did you mean a or b?``; the words are at least one."""
    return f"did you mean {' or '.join(words)}?"


def hints(word: str, known: Iterable[str], most: int = 3) -> tuple[str, ...]:
    """Return the hint of a LanguageError about a word of any case and length, or none."""
    near = nearest(word[:40].lower(), known, most)
    return (did_you_mean(near),) if near else ()
