"""``kamexfrm interface``: route-based IPsec, by XFRM interfaces."""

import click

from kamexfrm.cli import options
from kamexfrm.cli.trouble import Command, kernel
from kamexfrm.command_line import printable
from kamexfrm.errors import KamexfrmError
from kamexfrm.net import Address


@click.group()
def interface() -> None:
    """Route-based IPsec: interfaces whose traffic goes through a tunnel.

    What is routed into an interface is protected by the SAs of its reqid:
    setkey adds them, or an IKE daemon by PF_KEY.
    """


def _address(text: str) -> Address:
    try:
        return Address.parse(text)
    except (KamexfrmError, ValueError):
        raise click.BadParameter(f"{text!r} is no address", param_hint="--tunnel") from None


@interface.command("add", cls=Command)
@click.argument("name")
@click.option(
    "--tunnel",
    nargs=2,
    required=True,
    metavar="LOCAL REMOTE",
    help="The addresses of the tunnel's ends, of one family.",
)
@click.option(
    "--reqid",
    required=True,
    type=click.IntRange(1, 0xFFFFFFFF),
    metavar="N",
    help="The reqid of its SAs, which is its if_id too.",
)
@click.option("--dev", default="", metavar="DEVICE", help="The device below it.")
@click.option(
    "--mtu",
    type=click.IntRange(68, 65535),
    help="Bytes; without it, what fits into the device's for any cipher.",
)
@click.option("--replace", is_flag=True, help="Give one that is there this tunnel.")
@options.netns
def add(name: str, tunnel: tuple[str, str], reqid: int, dev: str, mtu: int, replace: bool) -> None:
    """Make the interface NAME, which is up, with its policies."""
    from kamexfrm.engine import route_based
    from kamexfrm.translate.xfrm.interface_policies import InterfaceTunnel

    local, remote = map(_address, tunnel)
    with kernel() as opened:
        route_based.add(
            opened,
            name,
            InterfaceTunnel(reqid, local, remote),
            device=dev,
            mtu=mtu or 0,
            replace=replace,
        )


@interface.command(cls=Command)
@click.argument("name", required=False, default="")
@click.option(
    "--reqid",
    type=click.IntRange(1, 0xFFFFFFFF),
    metavar="N",
    help="The one of this reqid, or what is left of it.",
)
@options.netns
def delete(name: str, reqid: int | None) -> None:
    """Delete the interface NAME with its policies; its SAs stay, as ordinary ones."""
    from kamexfrm.engine import route_based

    if bool(name) == (reqid is not None):
        raise click.UsageError("name an interface, or give --reqid N")
    with kernel() as opened:
        route_based.delete(opened, name, reqid or 0)


@interface.command("list", cls=Command)
@options.netns
@options.as_json
def list_interfaces(as_json: bool) -> None:
    """List the interfaces with their tunnels, SAs and counters."""
    from kamexfrm.engine import route_based
    from kamexfrm.operator import interface as report
    from kamexfrm.operator.document import to_text

    with kernel() as opened:
        found = route_based.listed(opened)
    if as_json:
        click.echo(to_text(report.interfaces_document(found)), nl=False)
        return
    for each in found:
        click.echo(printable(report.text_of(each), "\n"))
