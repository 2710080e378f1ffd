"""What the steps of a case may refer to: its hosts, links, addresses and scripts."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

from kamexfrm.rig.scenario.plan import LinkPlan, Script
from kamexfrm.rig.scenario.reading.table import Table, suggestion


class Context(NamedTuple):
    """The names of a case; ``script`` reads a script from a table's key for text or for a file."""

    hosts: tuple[str, ...]
    links: tuple[LinkPlan, ...]
    addresses: Mapping[str, str]
    family: int
    script: Callable[[Table, str, str], Script | None]


def link_name(table: Table, key: str, text: str, links: tuple[LinkPlan, ...]) -> str:
    """Return a link's own name for ``a -- b`` or ``b -- a``."""
    ends = tuple(word.strip() for word in text.split("--"))
    for link in links:
        if ends in ((link.left.host, link.right.host), (link.right.host, link.left.host)):
            return link.name
    raise table.error(f"no link {text!r}{suggestion(text, [link.name for link in links])}", key)


def check_host(table: Table, key: str, name: str, context: Context) -> None:
    """Raise a ScenarioError unless the case has a host of that name."""
    if name not in context.hosts:
        table.fail(f"no host is called {name}{suggestion(name, context.hosts)}", key)
