"""A group of commands whose modules are loaded when one of them is run, not to list them."""

import importlib
from collections.abc import Sequence
from typing import NamedTuple

import click

from kamexfrm.cli.shared_options import share


class Entry(NamedTuple):
    """A command of a group: its name, the line about it, and ``module:attribute`` of its code."""

    name: str
    summary: str
    code: str


class Section(NamedTuple):
    """Commands under one heading of the help."""

    heading: str
    entries: Sequence[Entry]


class LazyGroup(click.Group):
    """A click group that is made from sections of entries."""

    def __init__(self, sections: Sequence[Section] = (), **attributes: object) -> None:
        super().__init__(**attributes)  # type: ignore[arg-type]
        self.sections = tuple(sections)
        self._entries = {entry.name: entry for part in self.sections for entry in part.entries}

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return all names, in the order of the sections."""
        return [*self._entries, *(name for name in self.commands if name not in self._entries)]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Load a command; return None where there is none of the name."""
        entry = self._entries.get(cmd_name)
        if entry is None:
            return super().get_command(ctx, cmd_name)
        module, _, attribute = entry.code.partition(":")
        return share(getattr(importlib.import_module(module), attribute))

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command; a wrong name is answered with the nearest one."""
        if args and not args[0].startswith("-") and self.get_command(ctx, args[0]) is None:
            from kamexfrm.spelling import hints

            near = hints(args[0], self.list_commands(ctx))
            ctx.fail(" ".join((f"No such command {args[0]!r}.", *near)))
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the sections of the help."""
        for part in self.sections:
            with formatter.section(part.heading):
                formatter.write_dl([(entry.name, entry.summary) for entry in part.entries])
        if self.commands:
            super().format_commands(ctx, formatter)
