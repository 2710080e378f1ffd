"""``kamexfrm adopt`` and ``kamexfrm reset``: whose the policies of a namespace are."""

import sys
from typing import Any

import click

from kamexfrm.cli import options
from kamexfrm.cli.trouble import Command, kernel
from kamexfrm.command_line import printable
from kamexfrm.engine import ownership
from kamexfrm.kernel.netlink import NetlinkKernel
from kamexfrm.model.policy import SpdEntry
from kamexfrm.model.statement_text import shown_policy
from kamexfrm.operator.document import document, to_text
from kamexfrm.translate.xfrm.ownership import Adoption


def _member(entry: SpdEntry) -> dict[str, Any]:
    return {"id": entry.id, "text": shown_policy(entry.policy)}


def _ask(question: str, yes: bool) -> bool:
    """Ask on a terminal; anywhere else the answer is yes."""
    return yes or not sys.stdin.isatty() or click.confirm(question, err=True)


@click.command(cls=Command)
@click.option("--yes", is_flag=True, help="Do not ask on a terminal.")
@options.as_json
@options.netns
def adopt(yes: bool, as_json: bool) -> None:
    """Take over the policies of other programs in place, without losing a packet.

    They become entries of setkey, with KAME's order and levels, and keep their ids and counters.
    One that would do something else then is left as it is.
    """
    with kernel() as opened:
        found = _adopt(opened, yes=yes, quiet=as_json)
    if as_json:
        adopted = [_member(entry) for entry in found.entries]
        left = [{**_member(entry), "reason": reason} for entry, reason in found.left]
        click.echo(to_text(document("adopt", adopted=adopted, left=left)), nl=False)
    elif not found.entries:
        click.echo("no policy of another program to take over")


def _adopt(opened: NetlinkKernel, *, yes: bool, quiet: bool) -> Adoption:
    found = ownership.plan_adoption(opened)
    if not quiet:
        for entry in found.entries:
            click.echo(printable(shown_policy(entry.policy), ""))
        for entry, reason in found.left:
            click.echo(
                printable(f"left: spid={entry.id} {shown_policy(entry.policy)}: {reason}", ""),
                err=True,
            )
    if found.entries:
        if not _ask(f"Take over {len(found.entries)} policies?", yes):
            raise click.Abort
        found = ownership.adopt(opened)
    return found


@click.command(cls=Command)
@click.option("--all", "everything", is_flag=True, help="Delete the policies as well.")
@click.option("--yes", is_flag=True, help="Do not ask on a terminal.")
@options.as_json
@options.netns
def reset(everything: bool, yes: bool, as_json: bool) -> None:
    """Take away all that is kamexfrm's own: variables, def_policy's block and tags.

    The policies stay, as those of another program, and do what they did; with --all they are
    deleted. SAs and other programs' policies are not touched.
    """
    question = "Let packets pass that match no policy, and "
    question += "delete all policies of ours?" if everything else "forget levels and order?"
    if not _ask(question, yes):
        raise click.Abort
    with kernel() as opened:
        changed = ownership.reset(opened, keep=not everything)
    if as_json:
        entries = "deleted" if everything else "kept"
        click.echo(to_text(document("reset", entries=entries, changed=changed)), nl=False)
