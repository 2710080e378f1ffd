"""Dates as setkey prints them: ctime(3) without the day of the week, in the local zone."""

import time
from functools import lru_cache

_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")

#: What stands for a time that never was.
NEVER = " " * 20


@lru_cache(maxsize=256)
def format_date(seconds: int) -> str:
    """Return ``Nov 23 13:30:46 2026`` for seconds since the epoch, 20 spaces for 0.

    The names are English whatever the locale. A number beyond any calendar is shown as it is.
    """
    if not seconds:
        return NEVER
    try:
        when = time.localtime(seconds)
    except (OverflowError, OSError, ValueError):
        return str(seconds)
    return (
        f"{_MONTHS[when.tm_mon - 1]} {when.tm_mday:2} "
        f"{when.tm_hour:02}:{when.tm_min:02}:{when.tm_sec:02} {when.tm_year}"
    )
