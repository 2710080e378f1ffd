"""``kamexfrm translate``."""

from typing import Any

import click

from kamexfrm.cli import options
from kamexfrm.cli.trouble import Command
from kamexfrm.command_line import printable
from kamexfrm.model.knobs import Knobs
from kamexfrm.model.policy import Owner, SpdEntry
from kamexfrm.model.statement_text import policy_statement, sa_statement
from kamexfrm.operator.document import document, to_text
from kamexfrm.operator.file_state import read_files, text_of
from kamexfrm.operator.knob_files import with_settings
from kamexfrm.operator.translate import ip_reading, ip_writing, setkey_writing
from kamexfrm.operator.translate.installing import installed
from kamexfrm.operator.translate.objects import Remark
from kamexfrm.operator.translate.setkey_writing import Written
from kamexfrm.setkey.dump_sa import sa_to_dict
from kamexfrm.setkey.dump_sp import sp_to_dict

#: What of a dump is about the kernel's entry, and not about what was written.
_OF_POLICIES = (
    *("id", "order", "kernel_priority", "owner", "automatic_fwd", "per_socket"),
    *("created", "last_used"),
)
_OF_SAS = ("kernel_mode", "state", "sequence", "created", "last_used", "bytes", "packets")


@click.command("translate", cls=Command)
@click.option(
    "--to",
    type=click.Choice(["ip", "json", "setkey"]),
    required=True,
    help="What to print.",
)
@click.option(
    "--from",
    "source",
    type=click.Choice(["setkey", "ip"]),
    default="setkey",
    show_default=True,
    help="What FILE is.",
)
@click.option("--sysctl", multiple=True, metavar="FILE", help="Variables, as kame-sysctl -f reads.")
@options.show_keys
@options.netns
@click.argument("file", default="-")
def command(to: str, source: str, sysctl: tuple[str, ...], show_keys: bool, file: str) -> None:
    """Translate setkey files to ip xfrm commands, and what ip xfrm prints or reads to setkey's.

    FILE is the standard input if it is left out.
    """
    remarks: list[Remark] = []
    if source == "setkey":
        state = read_files([file])
        knobs = with_settings(Knobs(), sysctl)
        objects = installed(state, knobs)
        found = Written(tuple(sorted(state.policies, key=lambda p: p.priority)), state.sad)
    else:
        objects = ip_reading.read(text_of(file), file)
        found = setkey_writing.written(objects, remarks) if to != "ip" else Written((), ())
    remarks += objects.remarks
    if to == "json":
        click.echo(to_text(_document(found, show_keys)), nl=False)
    else:
        write = (
            ip_writing.lines(objects, remarks)
            if to == "ip"
            else setkey_writing.statements(found, remarks)
        )
        for line in write:
            click.echo(line.encode("utf-8", "surrogateescape"))
    for remark in remarks:
        click.echo(f"kamexfrm translate: WARNING: {printable(str(remark), '')}", err=True)


def _document(found: Written, show_keys: bool) -> dict[str, Any]:
    policies = [_policy(SpdEntry(p, 0, 0, 0, Owner.OURS, 0, 0)) for p in found.policies]
    sas = []
    for entry in found.sad:
        row = sa_to_dict(entry, keys=show_keys)
        for name in _OF_SAS:
            del row[name]
        row["text"] = sa_statement(entry.association, keys=show_keys)
        sas.append(row)
    return document("translate", policies=policies, sas=sas)


def _policy(entry: SpdEntry) -> dict[str, Any]:
    row = sp_to_dict(entry)
    for name in _OF_POLICIES:
        del row[name]
    row["text"] = policy_statement(entry.policy)
    return row
