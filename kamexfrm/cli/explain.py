"""``kamexfrm explain``: its command line, its tree, its document."""

import gc
import os
import socket
from typing import Any

import click

from kamexfrm.cli import options
from kamexfrm.cli.trouble import Command, engine
from kamexfrm.engine.engine import Engine
from kamexfrm.model.decision import Verdict
from kamexfrm.model.knobs import Knobs
from kamexfrm.model.linux.differences import linux_of
from kamexfrm.model.packet import Packet, Path, SocketPolicies
from kamexfrm.model.policy import ICMP_UPPERS, ULPROTO_ANY, Mark, Scope
from kamexfrm.net import Address
from kamexfrm.operator.document import document, to_text
from kamexfrm.operator.explain import live, report, tree
from kamexfrm.operator.explain.arrival import Header, is_item, read_header
from kamexfrm.operator.explain.explaining import (
    Databases,
    Explanation,
    explain,
    of_files,
    of_kernel,
    socket_policies,
)
from kamexfrm.operator.file_state import KeylessState, read_files
from kamexfrm.operator.knob_files import with_settings
from kamexfrm.setkey.hosts import upper_protocol

_PATHS = {"out": Path.OUT, "in": Path.IN, "fwd": Path.FORWARDED}
_COLOURS = {
    Verdict.CLEAR: "yellow",
    Verdict.PROTECTED: "green",
    Verdict.ACCEPTED: "green",
    Verdict.DROPPED: "red",
    Verdict.REJECTED: "red",
}


class _Explain(Command):
    """Lets ``--via`` take several words: ``--via esp ah``."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        words: list[str] = []
        listing = False
        for word in args:
            if listing and is_item(word) and words[-1] != "--via":
                words.append("--via")
            else:
                listing = word == "--via" or (listing and words[-1:] == ["--via"])
            words.append(word)
        return super().parse_args(ctx, words)


@click.command("explain", cls=_Explain)
@click.argument("words", nargs=-1, metavar="[out|in|fwd] SRC DST [PROTO [SPORT DPORT|TYPE CODE]]")
@click.option(
    "--via",
    multiple=True,
    metavar="HEADER...",
    help="The headers that an arriving packet came in, outermost first: esp, ah or ipcomp, then"
    " :SPI, /transport or /tunnel/SRC-DST where it matters.",
)
@click.option("--from", "files", multiple=True, metavar="FILE", help="Explain what files mean.")
@click.option("--sysctl", multiple=True, metavar="FILE", help="Variables, as kame-sysctl -f reads.")
@click.option("--socket", "texts", multiple=True, metavar="POLICY", help="The socket's own policy.")
@click.option("--unprivileged", is_flag=True, help="The socket was not made by root.")
@click.option("--dev", default="", metavar="DEVICE", help="The device that it leaves by.")
@click.option("--mark", default="0", metavar="NUMBER", help="The mark of the packet.")
@click.option("--if-id", default="0", metavar="NUMBER", help="That of its XFRM interface.")
@click.option("--probe", is_flag=True, help="Send one such packet and say what became of it.")
@click.option("-q", "--quiet", is_flag=True, help="Print the verdict alone.")
@options.as_json
@options.netns
def command(
    words: tuple[str, ...],
    via: tuple[str, ...],
    files: tuple[str, ...],
    sysctl: tuple[str, ...],
    texts: tuple[str, ...],
    unprivileged: bool,
    dev: str,
    mark: str,
    if_id: str,
    probe: bool,
    quiet: bool,
    as_json: bool,
) -> None:
    """Say what KAME does with a packet and why, and what Linux does.

    Without --from, it is about what is in the kernel now.
    """
    gc.disable()  # nothing here makes cycles, and there may be fifty thousand policies
    packet = _read_packet(words)
    if probe and (files or sysctl):
        raise click.UsageError("--probe asks the kernel: not with --from or --sysctl")
    if via and packet.path is Path.OUT:
        raise click.UsageError("--via is how a packet arrived: write in or fwd before SRC")
    if texts and packet.path is Path.FORWARDED:
        raise click.UsageError("--socket: a forwarded packet has no socket")
    headers = [read_header(item) for text in via for item in text.replace(",", " ").split()]
    own = socket_policies(texts, privileged=not unprivileged)
    marked = _read_word("--mark", mark)
    scope = Scope(_device(dev), Mark(marked) if marked else None, _read_word("--if-id", if_id))
    found: dict[str, Any] = {"route": None, "probe": None, "hints": []}
    if files:
        state = read_files(files, make=KeylessState)
        knobs = with_settings(Knobs(), sysctl)
        databases = of_files(state, knobs)
        loops = _loops(packet)
        explanation = explain(
            packet, headers, databases, own, loops=loops, scope=scope, kernel=_kernel()
        )
    else:
        with engine() as there:
            knobs = with_settings(there.knobs(), sysctl)
            explanation = _explain_live(packet, headers, of_kernel(there, knobs), own, scope, found)
            way = found["route"]
            if way is not None and (hint := live.tunnel_hint(there, live.Route(**way))):
                found["hints"].append(hint)
            if probe:
                found["probe"] = _probe(packet, there)
    _print(explanation, found, quiet, as_json)


def _explain_live(
    packet: Packet,
    headers: list[Header],
    databases: Databases,
    own: SocketPolicies | None,
    scope: Scope,
    found: dict[str, Any],
) -> Explanation:
    sender, receiver = live.local(packet.source, packet.destination)
    if packet.path is not Path.IN:
        found["route"] = live.route(packet)._asdict()
    found["hints"] = list(_hints(packet, sender, receiver))
    by_loopback = packet.path is Path.OUT and (found["route"] or {}).get("interface") == "lo"
    loops = _loops(packet) or (sender and receiver) or by_loopback
    interface = (found["route"] or {}).get("interface")
    if interface and packet.path is Path.OUT and not scope.interface:
        scope = scope._replace(interface=_device(interface))
    return explain(packet, headers, databases, own, loops=loops, scope=scope, kernel=_kernel())


def _kernel() -> frozenset[str]:
    """Return the differences of the running kernel, on which files would be loaded too."""
    return linux_of(os.uname().release)


def _device(name: str) -> int:
    try:
        return socket.if_nametoindex(name) if name else 0
    except OSError:
        raise click.UsageError(f"--dev {name}: there is no such device here") from None


def _loops(packet: Packet) -> bool:
    """Whether both ends are on this host as far as the addresses alone tell."""
    return packet.source == packet.destination or packet.destination.packed[:1] == b"\x7f"


def _hints(packet: Packet, sender: bool, receiver: bool) -> list[str]:
    if packet.path is Path.OUT and not sender:
        way = "in" if receiver else "fwd"
        return [f"{packet.source} is no address of this host: kamexfrm explain {way} ...?"]
    if packet.path is Path.IN and not receiver:
        return [f"{packet.destination} is no address of this host: kamexfrm explain fwd ...?"]
    return []


def _probe(packet: Packet, there: Engine) -> dict[str, Any]:
    outcome = live.probe(packet, there)
    sas = [
        {
            "destination": str(id.destination),
            "protocol": id.protocol.name.lower(),
            "spi": id.spi,
        }
        for id in outcome.sas
    ]
    return {**outcome._asdict(), "sas": sas}


def _print(explanation: Explanation, found: dict[str, Any], quiet: bool, as_json: bool) -> None:
    if as_json:
        click.echo(to_text(document("explain", **report.members(explanation), **found)), nl=False)
        return
    if quiet:
        click.echo(explanation.decision.verdict.name.lower())
        return
    paint = (
        (lambda word, verdict: click.style(word, fg=_COLOURS[verdict]))
        if (options.colours())
        else (lambda word, verdict: word)
    )
    for line in tree.lines(explanation, paint):
        click.echo(line)
    for line in _live_lines(found):
        click.echo(line)


def _live_lines(found: dict[str, Any]) -> list[str]:
    lines = []
    way = found["route"]
    if way is not None:
        text = way["error"] or f"by {way['interface']}"
        text += f" through {way['gateway']}" if way["gateway"] else ""
        lines.append(f"  route: {text}")
    probe = found["probe"]
    if probe is not None:
        notes = [f"the sender got {probe['errno']}"] if probe["errno"] else []
        notes += [f"{name} +{count}" for name, count in probe["counters"].items()]
        notes += [f"{sa['protocol']} SA with spi {sa['spi']:#x} took it" for sa in probe["sas"]]
        text = f" ({', '.join(notes)})" if notes else ""
        lines.append(f"  probe: {probe['verdict']}{text}")
    return lines + [f"  hint: {hint}" for hint in found["hints"]]


# The packet


def _read_packet(words: tuple[str, ...]) -> Packet:
    path, rest = Path.OUT, list(words)
    if rest and rest[0] in _PATHS:
        path = _PATHS[rest.pop(0)]
    if not 2 <= len(rest) <= 5:
        raise click.UsageError(
            "write [out|in|fwd] SRC DST [PROTO [SPORT DPORT]], such as"
            " kamexfrm explain out 192.0.2.1 192.0.2.2 tcp 1024 80"
        )
    source, destination = _read_ends(rest[0], rest[1])
    upper = ULPROTO_ANY if len(rest) < 3 else _read_upper(rest[2])
    numbers = [_read_number(word, upper) for word in rest[3:]]
    first, second = (*numbers, None, None)[:2]
    return Packet(path, source, destination, upper, first, second)


def _read_ends(first: str, second: str) -> tuple[Address, Address]:
    sources, destinations = _addresses(first), _addresses(second)
    for source in sources:
        for destination in destinations:
            if source.family == destination.family:
                return source, destination
    raise click.UsageError(f"{first} and {second}: one is IPv4 and the other one IPv6")


def _addresses(word: str) -> list[Address]:
    try:
        return [Address.parse(word)]
    except ValueError:
        pass
    try:
        found = socket.getaddrinfo(word.encode(), None, type=socket.SOCK_DGRAM)
    except (OSError, UnicodeError, ValueError):
        raise click.UsageError(f"{word!r} is neither an address nor the name of a host") from None
    return [Address.parse(str(each[4][0]).partition("%")[0]) for each in found]


def _read_upper(word: str) -> int:
    upper = upper_protocol(word)
    if upper is None:
        from kamexfrm.spelling import hints

        near = hints(word, ("tcp", "udp", "icmp", "icmp6", "sctp", "esp", "ah", "gre", "any"))
        raise click.UsageError(" ".join((f"{word!r} is no protocol.", *near)))
    return upper


def _read_word(option: str, word: str) -> int:
    """Read a number of 32 bits, decimal or hexadecimal."""
    try:
        number = int(word, 0)
    except ValueError:
        number = -1
    if not 0 <= number <= 0xFFFFFFFF:
        raise click.UsageError(f"{option}: {word!r} is no number of 32 bits, such as 5 or 0x5")
    return number


def _read_number(word: str, upper: int) -> int | None:
    if word in ("any", "-"):
        return None
    limit = 0xFF if upper in ICMP_UPPERS else 0xFFFF
    if word.isascii() and word.isdigit() and len(word) < 10 and int(word) <= limit:
        return int(word)
    if limit > 0xFF:
        try:
            return socket.getservbyname(word)
        except (OSError, UnicodeError):
            pass
    what = (
        "type or code: a number up to 255"
        if upper in ICMP_UPPERS
        else "port: 0 to 65535, or a name"
    )
    raise click.UsageError(f"{word!r} is no {what}")
