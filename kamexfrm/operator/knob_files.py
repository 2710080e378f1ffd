"""The knobs that files of kame-sysctl set."""

from collections.abc import Iterable

from kamexfrm.errors import KamexfrmError
from kamexfrm.model.knobs import Knobs
from kamexfrm.sysctl import settings


def with_settings(knobs: Knobs, paths: Iterable[str]) -> Knobs:
    """Return knobs after the lines of files; raises KamexfrmError with the place."""
    for path in paths:
        for place, text in settings.lines_of(path):
            try:
                knobs = knobs.replace(*settings.read_assignment(text))
            except KamexfrmError as error:
                raise KamexfrmError(f"{place}: {error}", errno=error.errno) from None
    return knobs
