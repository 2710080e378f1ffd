"""``kamexfrm rig up`` and its kin: rigs that stay while one looks around in them."""

import os
import subprocess
import sys
from pathlib import Path
from typing import NoReturn

import click

from kamexfrm.operator.rig import FAILED, read_cases, rig, skip, usage

_NAME = click.option("--name", default="", help="Which rig, where several are up.")


def _fail(error: Exception) -> NoReturn:
    click.echo(f"kamexfrm rig: {error}", err=True)
    sys.exit(FAILED)


@rig.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("-k", "pattern", default="", help="The first case with this in FILE[CASE].")
@click.option("--name", default="", help="The rig's name; that of the file unless given.")
def up(file: Path, pattern: str, name: str) -> None:
    """Make a scenario's hosts and leave them there; no step is taken.

    The status is 4 when the running kernel cannot do what the scenario needs: a guest cannot be
    entered.
    """
    from kamexfrm.rig.scenario import holder, kernels

    case = read_cases((file,), pattern)[0]
    name = name or file.name.removesuffix(".rig.toml")
    if not name.replace("-", "").replace("_", "").replace(".", "").isalnum():
        usage(f"--name {name}: letters, digits and .-_ are wanted")
    try:
        where = kernels.choose("host", [case])
    except kernels.Unable as reason:
        skip(str(reason).replace(", or leave out --kernel host", ""))
    prefix = ["unshare", "--map-root-user", "--net"] if where is kernels.Where.USER else []
    try:
        made = holder.up(file, case.name, name, prefix)
    except holder.HolderError as error:
        _fail(error)
    click.echo(f"{made.name}: {', '.join(made.hosts)} up, held by process {made.process}")


@rig.command()
@click.argument("name", required=False, default="")
def down(name: str) -> None:
    """End a rig that is up: NAME, or the only one."""
    from kamexfrm.rig.scenario import holder

    try:
        holder.down(holder.find(name))
    except (holder.HolderError, OSError) as error:
        _fail(error)


@rig.command("ls")
def list_rigs() -> None:
    """List the rigs that are up, with their hosts."""
    from kamexfrm.rig.scenario import holder

    for one in holder.held():
        click.echo(f"{one.name}\t{one.case}\t{' '.join(one.hosts)}\t{one.process}")


@rig.command()
@_NAME
@click.argument("host")
def enter(name: str, host: str) -> None:
    """Open a shell in HOST."""
    shell = os.environ.get("SHELL", "/bin/sh")
    _become(name, host, [shell], {"PS1": f"{host}# "})


@rig.command("exec", context_settings={"ignore_unknown_options": True})
@_NAME
@click.argument("host")
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
def execute(name: str, host: str, command: tuple[str, ...]) -> None:
    """Run COMMAND in HOST; the status is COMMAND's."""
    _become(name, host, list(command), {})


def _become(name: str, host: str, words: list[str], environment: dict[str, str]) -> NoReturn:
    from kamexfrm.rig.scenario import holder

    path = f"{Path(sys.executable).parent}:{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
    try:
        command = holder.find(name).command(host, words)
        os.execvpe(  # noqa: S606 (what the user typed)
            command[0], command, {**os.environ, **environment, "PATH": path, "KAMEXFRM_HOST": host}
        )
    except (holder.HolderError, OSError) as error:
        _fail(error)


@rig.command()
@_NAME
@click.argument("hosts", nargs=-1, metavar="[HOST...]")
def dump(name: str, hosts: tuple[str, ...]) -> None:
    """Show SAs (without keys), policies, variables and Xfrm counters of hosts, or of all."""
    from kamexfrm.rig.scenario import holder

    try:
        found = holder.find(name)
        for host in hosts or found.hosts:
            for words in (
                ["setkey", "-D", "--nokeys"],
                ["setkey", "-DP"],
                ["kame-sysctl", "-a"],
                ["grep", "-v", " 0$", "/proc/self/net/xfrm_stat"],
            ):
                click.echo(f"{host}# {' '.join(words)}")
                beside = Path(sys.executable).parent / words[0]
                words[0] = str(beside) if beside.exists() else words[0]
                sys.stdout.flush()
                subprocess.run(found.command(host, words), check=False)
    except BrokenPipeError:
        sys.exit(FAILED)
    except (holder.HolderError, OSError) as error:
        _fail(error)
