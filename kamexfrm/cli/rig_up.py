"""``kamexfrm rig up``, ``down``, ``ls``, ``enter``, ``exec`` and ``dump``: rigs that stay up."""

import json
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import click

from kamexfrm.cli.options import as_json
from kamexfrm.cli.rig_cases import FAILED, FILE, STANDARD_INPUT, fail, read_cases, skip, usage
from kamexfrm.cli.waiting import booting
from kamexfrm.operator.document import to_text
from kamexfrm.rig import shell

if TYPE_CHECKING:
    from kamexfrm.rig.scenario.run.holder import Held

#: What ``dump`` runs in each host.
_DUMP = (
    "setkey -D --nokeys",
    "setkey -DP",
    "kame-sysctl -a | grep -v unsupported",
    "grep -v ' 0$' /proc/self/net/xfrm_stat",
)

_NAME = click.option("--name", default="", help="Which rig, where several are up.")


@click.command()
@click.argument("file", type=FILE)
@click.option("-k", "pattern", default="", help="The first case with this in FILE[CASE].")
@click.option(
    "--kernel",
    default="auto",
    show_default=True,
    metavar="auto|host|guest|debian:SUITE|PATH",
    help="Where the hosts are, as for run.",
)
@click.option("--name", default="", help="The rig's name; that of the file unless given.")
def up(file: Path, pattern: str, kernel: str, name: str) -> None:
    """Make a scenario's hosts and leave them there; no step is taken.

    The status is 4 when no kernel here can do what the scenario needs.
    """
    from kamexfrm.rig.guest import GuestError, check
    from kamexfrm.rig.scenario.run import holder
    from kamexfrm.rig.scenario.stage import kernels

    if file == STANDARD_INPUT:
        usage("up takes a file: the standard input can be read once only")
    case = read_cases((file,), pattern)[0]
    name = name or holder.name_of(case.file)
    if not name.replace("-", "").replace("_", "").replace(".", "").isalnum():
        usage(f"--name {name}: letters, digits and .-_ are wanted")
    try:
        where = kernels.choose(kernel, [case])
        in_guest = where is kernels.Where.GUEST
        program = kernels.guest_kernel(kernel) or ""
        if in_guest and not program:
            check()
    except (kernels.Unable, GuestError) as reason:
        skip(str(reason))
    prefix = ["unshare", "--map-root-user", "--net"] if where is kernels.Where.USER else []
    try:
        with booting("kamexfrm rig") if in_guest else nullcontext():
            made = holder.up(
                Path(case.file), case.name, name, prefix, program if in_guest else None
            )
    except holder.HolderError as error:
        fail(error)
    place = " in a guest" if made.shared else ""
    click.echo(f"{made.name}: {', '.join(made.hosts)} up{place}, held by process {made.process}")


@click.command()
@click.argument("name", required=False, default="")
def down(name: str) -> None:
    """End a rig that is up: NAME, or the only one."""
    from kamexfrm.rig.scenario.run import holder

    try:
        holder.down(holder.find(name))
    except (holder.HolderError, OSError) as error:
        fail(error)


@click.command("ls")
@as_json
def list_rigs(as_json: bool) -> None:
    """List the rigs that are up, with their hosts."""
    from kamexfrm.cli import rig_documents
    from kamexfrm.rig.scenario.run import holder

    rigs = holder.held()
    if as_json:
        click.echo(to_text(rig_documents.rigs_document(rigs)), nl=False)
        return
    for one in rigs:
        click.echo(f"{one.name}\t{one.case}\t{' '.join(one.hosts)}\t{one.process}")


@click.command()
@_NAME
@click.argument("host")
def enter(name: str, host: str) -> None:
    """Open a shell in HOST."""
    _run(name, host, [shell.program()])


@click.command("exec", context_settings={"allow_interspersed_args": False})
@_NAME
@click.argument("host")
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
def execute(name: str, host: str, command: tuple[str, ...]) -> None:
    """Run COMMAND in HOST; the status is COMMAND's.

    A -- may stand before COMMAND: kamexfrm rig exec alice -- ip -s xfrm state
    """
    words = command[1:] if command[0] == "--" else command
    if not words:
        raise click.UsageError("Missing argument 'COMMAND...'.")
    _run(name, host, list(words))


def _run(name: str, host: str, words: list[str]) -> NoReturn:
    from kamexfrm.rig.scenario.run import holder

    try:
        sys.exit(holder.find(name).run(host, words, shell.environment(host)))
    except (holder.HolderError, OSError) as error:
        fail(error)


@click.command()
@_NAME
@click.argument("hosts", nargs=-1, metavar="[HOST...]")
@as_json
def dump(name: str, hosts: tuple[str, ...], as_json: bool) -> None:
    """Show SAs (without keys), policies, variables and Xfrm counters of hosts, or of all."""
    from kamexfrm.rig.scenario.run import holder

    try:
        found = holder.find(name)
        if as_json:
            _print_document(found, hosts)
            return
        for host in hosts or found.hosts:
            for line in _DUMP:
                click.echo(f"{host}# {line}")
                sys.stdout.flush()
                found.run(host, ["/bin/sh", "-c", line], shell.environment(host))
    except BrokenPipeError:
        sys.exit(FAILED)
    except (holder.HolderError, OSError) as error:
        fail(error)


def _print_document(rig: "Held", hosts: tuple[str, ...]) -> None:
    from kamexfrm.cli import rig_documents

    words = ["kamexfrm", "status", "--json"]
    statuses = {
        host: json.loads(rig.read(host, words, shell.environment(host)))
        for host in hosts or rig.hosts
    }
    click.echo(to_text(rig_documents.dump_document(rig, statuses)), nl=False)


#: Commands for the group ``kamexfrm rig``.
COMMANDS = (up, down, list_rigs, enter, execute, dump)
