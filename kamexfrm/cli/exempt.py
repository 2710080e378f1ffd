"""``kamexfrm exempt`` and ``kamexfrm lockdown``: def_policy 0 without being locked out."""

import click

from kamexfrm.cli import options
from kamexfrm.cli.trouble import Command, Trouble, engine
from kamexfrm.operator import exempt as exempting
from kamexfrm.operator.document import document, to_text


@click.command(cls=Command)
@click.argument("what", nargs=-1, metavar="[WHAT]...")
@click.option("--delete", is_flag=True, help="Delete these exemptions.")
@options.as_json
@options.netns
def exempt(what: tuple[str, ...], delete: bool, as_json: bool) -> None:
    """Let neighbour discovery, DHCP, IKE or a service pass where def_policy is 0.

    WHAT is nd, dhcp, ike, loopback, icmp, ssh, ssh:PORT, tcp:PORT or udp:PORT. The exemptions are
    ordinary policies, which setkey -DP shows. Without WHAT, say what is exempt.
    """
    wanted = [exempting.exemption(name) for name in what]
    if delete and not wanted:
        raise click.UsageError("--delete: say what is no longer exempt")
    with engine() as there:
        added = removed = 0
        if delete:
            policies = [policy for each in wanted for policy in each.policies]
            removed = len(exempting.remove(there, policies))
        elif wanted:
            added = len(exempting.add(there, wanted))
        names = exempting.state(there).exempt
    if as_json:
        found = document("exempt", added=added, removed=removed, exempt=list(names))
        click.echo(to_text(found), nl=False)
        return
    if wanted:
        change = f"{removed} deleted" if delete else f"{added} added"
        click.echo(f"policies: {change}")
    click.echo(f"exempt: {' '.join(names) or 'nothing'}")


@click.command(cls=Command)
@click.argument("state", required=False, type=click.Choice(["on", "off"]))
@click.argument("what", nargs=-1, metavar="[WHAT]...")
@click.option("--force", is_flag=True, help="Even if this SSH session would be cut off.")
@options.as_json
@options.netns
def lockdown(state: str | None, what: tuple[str, ...], force: bool, as_json: bool) -> None:
    """Discard what no policy lets pass, or stop that, in the safe order.

    on: exempt WHAT (nd dhcp ike loopback if nothing is named; see kamexfrm exempt), then set
    def_policy to 0 for IPv4 and IPv6. off: set it to 1, then delete all exemptions. Without either,
    say how it is.
    """
    if what and state != "on":
        raise click.UsageError("WHAT belongs to lockdown on")
    wanted = [exempting.exemption(name) for name in what or exempting.USUAL]
    with engine() as there:
        if state == "on":
            cut = "" if force else exempting.unreachable_session(there, wanted)
            if cut:
                port = cut.rpartition(" ")[2]
                raise Trouble(
                    f"this SSH session, to {cut}, would be cut off: add ssh:{port}, or use --force"
                )
            exempting.close(there, wanted)
        elif state == "off":
            exempting.open_up(there)
        found = exempting.state(there)
    if as_json:
        members = {**found._asdict(), "exempt": list(found.exempt)}
        click.echo(to_text(document("lockdown", **members)), nl=False)
        return
    for family, closed in (("IPv4", found.inet), ("IPv6", found.inet6)):
        does = "discarded (def_policy 0)" if closed else "let pass (def_policy 1)"
        click.echo(f"{family} packets that match no policy are {does}")
    click.echo(f"exempt: {' '.join(found.exempt) or 'nothing'}")
