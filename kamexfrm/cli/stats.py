"""``kamexfrm stats``: the kernel's counters, in words, as JSON and as metrics."""

import sys
import time

import click

from kamexfrm.cli import options
from kamexfrm.cli.trouble import Command, Trouble, kernel
from kamexfrm.kernel.netlink import NetlinkKernel
from kamexfrm.operator import stats as counting
from kamexfrm.operator.document import document, to_text


@click.command(cls=Command)
@click.option("-v", "--verbose", is_flag=True, help="Say what each counter means, and its cure.")
@click.option("-a", "--all", "zeros", is_flag=True, help="Show counters at 0, too.")
@click.option("--since-boot", is_flag=True, help="Count since the namespace was made: the default.")
@click.option(
    "--interval",
    type=click.FloatRange(min=0, min_open=True),
    metavar="SECONDS",
    help="Print how much the counters rose, again and again.",
)
@click.option("--count", type=click.IntRange(min=1), help="End after so many intervals.")
@click.option("--prometheus", is_flag=True, help="Print Prometheus' text format.")
@click.option(
    "--listen",
    metavar="[ADDRESS:]PORT",
    help="Serve it at http://ADDRESS:PORT/metrics, on 127.0.0.1 if no address is given.",
)
@options.as_json
@options.netns
def stats(
    verbose: bool,
    zeros: bool,
    since_boot: bool,
    interval: float | None,
    count: int | None,
    prometheus: bool,
    listen: str | None,
    as_json: bool,
) -> None:
    """Count the packets that IPsec dropped, and say why.

    The words are those of netstat -s -p ipsec.
    """
    if interval and (since_boot or prometheus or listen):
        raise click.UsageError("--interval excludes --since-boot, --prometheus and --listen")
    if count and not interval:
        raise click.UsageError("--count belongs to --interval")
    with kernel() as opened:
        if listen is not None:
            _serve(opened, listen)
        elif prometheus:
            registry = counting.registry(opened)
            from prometheus_client import generate_latest

            click.echo(generate_latest(registry).decode(), nl=False)
        elif interval:
            _repeat(opened, interval, count, as_json=as_json, verbose=verbose, zeros=zeros)
        else:
            _show(counting.read(opened), as_json=as_json, verbose=verbose, zeros=zeros)


def _show(
    found: counting.Stats, *, as_json: bool, verbose: bool, zeros: bool, one_line: bool = False
) -> None:
    if as_json:
        members = {"counters": counting.rows(found), "policies": found.policies, "sas": found.sas}
        click.echo(to_text(document("stats", **members), one_line=one_line), nl=False)
    else:
        click.echo(counting.text(found, verbose=verbose, zeros=zeros), nl=False)


def _repeat(
    opened: NetlinkKernel,
    interval: float,
    count: int | None,
    *,
    as_json: bool,
    verbose: bool,
    zeros: bool,
) -> None:
    before = counting.read(opened)
    while count is None or count > 0:
        time.sleep(interval)
        now = counting.read(opened)
        rose = counting.risen(before, now)
        _show(rose, as_json=as_json, verbose=verbose, zeros=zeros, one_line=True)
        sys.stdout.flush()
        before = now
        count = None if count is None else count - 1


def _serve(opened: NetlinkKernel, where: str) -> None:
    address, colon, port = where.rpartition(":")
    if not (port.isascii() and port.isdecimal() and int(port[:6]) <= 0xFFFF):
        raise click.UsageError(f"--listen {where!r}: [ADDRESS:]PORT is needed")
    registry = counting.registry(opened)
    from prometheus_client import start_http_server

    host = address.strip("[]") if colon and address else "127.0.0.1"
    try:
        server, thread = start_http_server(int(port), addr=host, registry=registry)
    except OSError as error:
        raise Trouble(f"--listen {where}: {error.strerror or error}") from None
    click.echo(f"http://{host}:{server.server_port}/metrics", err=True)
    try:
        thread.join()
    finally:
        server.shutdown()
