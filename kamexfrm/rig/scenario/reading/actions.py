"""Reading steps: which action each is, and what it is expected to show."""

import ipaddress
import re
from collections.abc import Callable, Mapping
from typing import NamedTuple

from kamexfrm.errors import LanguageError
from kamexfrm.model.language import parse_policy
from kamexfrm.rig.scenario.plan import (
    Action,
    Expectation,
    Explain,
    Kill,
    LinkPlan,
    Probe,
    Run,
    Say,
    Script,
    Setkey,
    Step,
    Stream,
    Sysctl,
    Wait,
)
from kamexfrm.rig.scenario.reading.table import Table, suggestion

OUTCOMES = ("ok", "lost", "refused")
_WIRE = re.compile(
    r"(?:nothing|clear|udp-encap|(?:esp|esp-null|ah|ipcomp)(?:\+(?:esp|ah|ipcomp))*)$"
)
_WIRE_WORDS = ("esp", "ah", "udp-encap", "ipcomp", "clear", "nothing", "ah+esp", "esp-null")
_ROUTE = re.compile(
    r"\s*(\S+?)\s*->\s*(\[[^\]]*\]|[^\s:]+(?::[0-9a-fA-F:]*:[0-9a-fA-F]*)?|\S+?)(?::(\d+))?\s*$"
)
_SA = re.compile(r"(\S+)\s+(?:(esp|ah|ipcomp)\s+)?(0x[0-9a-fA-F]+|\d+)$")
_COUNTER = re.compile(r"(\S+)\s+(Xfrm\w+)(?:\s+\+?(\d+))?$")

#: The key that makes a step what it is, and its further keys.
KINDS: dict[str, tuple[str, ...]] = {
    "ping": ("count", "size", "timeout", "source", "family", "policy"),
    "udp": ("count", "size", "timeout", "source", "source-port", "family", "policy"),
    "tcp": ("count", "size", "timeout", "source", "source-port", "family", "policy"),
    "stream": ("name", "interval", "size", "timeout", "source", "family"),
    "explain": ("host", "upper", "source", "source-port", "family"),
    "setkey": ("host", "real"),
    "file": ("host", "real"),
    "sysctl": ("host", "real"),
    "run": ("host", "name", "timeout"),
    "wait": ("host", "timeout"),
    "log": ("name", "timeout"),
    "kill": (),
    "say": (),
}
EXPECTING = (
    "expect", "wire", "on", "moves", "rests", "counter", "output", "absent", "status", "errors",
)  # fmt: skip

#: Bytes of data in the largest datagram over IPv4.
_LARGEST = 65507

#: Seconds for an answer that must come, and for one that must not.
PATIENCE = {"ok": 3.0, "": 3.0, "lost": 0.2, "refused": 0.2}


class Context(NamedTuple):
    """What steps may speak of."""

    hosts: tuple[str, ...]
    links: tuple[LinkPlan, ...]
    addresses: Mapping[str, str]
    family: int
    script: Callable[[Table, str, str], Script | None]


def scripts_of(step: Step) -> list[str]:
    """Return the setkey scripts of a step."""
    return [step.action.script.text] if isinstance(step.action, Setkey) else []


def read_steps(document: Table, context: Context) -> tuple[Step, ...]:
    """Read [[steps]]; raises ScenarioError."""
    names: set[str] = set()
    found = []
    for number, table in enumerate(document.tables("steps"), 1):
        action = _Action(table, context, names).read()
        if isinstance(action, Say):
            for key in EXPECTING:
                if key in table:
                    table.fail("a line of the transcript has nothing to expect", key)
        expectation = _read_expectation(table, context, action)
        for key in ("on", *EXPECTING):
            table.get(key)
        table.finish()
        found.append(Step(number, table.line, action, expectation))
    return tuple(found)


def link_name(table: Table, key: str, text: str, links: tuple[LinkPlan, ...]) -> str:
    """Return a link's own name for ``a -- b`` or ``b -- a``."""
    ends = tuple(word.strip() for word in text.split("--"))
    for link in links:
        if ends in ((link.left.host, link.right.host), (link.right.host, link.left.host)):
            return link.name
    raise table.error(f"no link {text!r}{suggestion(text, [link.name for link in links])}", key)


class _Action:
    """Reads one step's action."""

    def __init__(self, table: Table, context: Context, names: set[str]) -> None:
        self._table = table
        self._context = context
        self._names = names

    def read(self) -> Action:
        table = self._table
        kinds = [kind for kind in KINDS if kind in table]
        if not kinds:
            known = {*KINDS, *EXPECTING, *(key for keys in KINDS.values() for key in keys)}
            for key in table:
                if key not in known:
                    table.fail(f"no such key{suggestion(key, KINDS)}", key)
            table.fail(f"what is to be done? one of {', '.join(KINDS)}")
        if len(kinds) > 1:
            table.fail(f"{kinds[0]} and {kinds[1]} in one step", kinds[1])
        match kinds[0]:
            case "ping" | "udp" | "tcp" as protocol:
                return self._probe(protocol, protocol)
            case "stream":
                probe = self._probe("stream", "udp")
                interval = table.number("interval", 0.005)
                return Stream(self._new_name("stream"), probe, interval)
            case "explain":
                upper = table.choice("upper", ("icmp", "udp", "tcp"), "icmp")
                probe = self._probe("explain", "ping" if upper == "icmp" else upper)
                return Explain(self._host() if "host" in table else probe.host, probe)
            case "setkey" | "file":
                script = self._context.script(table, "setkey", "file")
                return Setkey(self._hosts(), script or Script(""), table.flag("real"))
            case "sysctl":
                return self._sysctl()
            case "run":
                name = self._new_name() if "name" in table else ""
                command = table.text("run")
                return Run(self._hosts(), command, name, table.number("timeout", 30.0))
            case "wait":
                timeout = table.number("timeout", 5.0)
                return Wait(self._host(), table.text("wait"), "", "", timeout)
            case "log":
                name = self._known_name("name")
                return Wait("", "", name, table.text("log"), table.number("timeout", 5.0))
            case "kill":
                return Kill(self._known_name("kill"))
            case _:
                return Say(table.text("say"))

    def _sysctl(self) -> Sysctl:
        table = self._table
        words = table.words("sysctl")
        for at, word in enumerate(words):
            if not word:
                table.fail("a name, or NAME=VALUE, is wanted", "sysctl", at)
        return Sysctl(self._hosts(), words, table.flag("real"))

    def _hosts(self) -> tuple[str, ...]:
        table, known = self._table, self._context.hosts
        names = table.words("host")
        if not names:
            if len(known) == 1:
                return known
            table.fail(f"on which host? host = one or more of {', '.join(known)}")
        for name in names:
            if name not in known:
                table.fail(f"no host is called {name}{suggestion(name, known)}", "host")
        return names

    def _host(self) -> str:
        names = self._hosts()
        if len(names) > 1:
            self._table.fail("one host is wanted", "host")
        return names[0]

    def _new_name(self, default: str = "") -> str:
        name = self._table.text("name", default)
        if name in self._names:
            self._table.fail(f"something is called {name!r} already", "name")
        self._names.add(name)
        return name

    def _known_name(self, key: str) -> str:
        name = self._table.text(key)
        if name not in self._names:
            self._table.fail(f"nothing is called {name!r}{suggestion(name, self._names)}", key)
        return name

    def _probe(self, key: str, protocol: str) -> Probe:
        table = self._table
        text = table.text(key)
        match = _ROUTE.match(text)
        if not match:
            table.fail(f"{text!r}: HOST -> HOST or ADDRESS, then :PORT, is wanted", key)
        host, destination, port = match[1], match[2].strip("[]"), match[3]
        if host not in self._context.hosts:
            table.fail(f"no host is called {host}{suggestion(host, self._context.hosts)}", key)
        if port and protocol == "ping":
            table.fail("a ping has no port", key)
        expected = table.text("expect")
        return Probe(
            protocol=protocol,
            host=host,
            destination=self._address(destination, key),
            port=self._port(int(port or 7), key),
            source=self._address(table.text("source"), "source") if "source" in table else "",
            source_port=self._port(table.integer("source-port", 0), "source-port"),
            count=table.integer("count", 1),
            size=self._size(),
            timeout=table.number("timeout", PATIENCE.get(expected, 3.0)),
            policies=self._policies() if key == protocol else (),
        )

    def _port(self, port: int, key: str) -> int:
        if port > 65535:
            self._table.fail(f"{port} is no port", key)
        return port

    def _size(self) -> int:
        size = self._table.integer("size", 230)
        if size > _LARGEST:
            self._table.fail(f"no packet is larger than {_LARGEST} bytes", "size")
        return size

    def _policies(self) -> tuple[str, ...]:
        """Return the policies of the sending socket itself, ipsec_set_policy(3)'s words."""
        words = self._table.words("policy")
        for word in words:
            try:
                parse_policy(word)
            except LanguageError as error:
                self._table.fail("; ".join([f"{word!r}: {error}", *error.hints]), "policy")
        return words

    def _address(self, word: str, key: str) -> str:
        family = self._table.integer("family", self._context.family)
        found = self._context.addresses.get(f"{word}.{family}")
        if found:
            return found
        try:
            return str(ipaddress.ip_address(word))
        except ValueError:
            if word in self._context.hosts:
                self._table.fail(f"{word} has no IPv{family} address", key)
            known = self._context.hosts
            self._table.fail(
                f"{word!r} is neither a host nor an address{suggestion(word, known)}", key
            )


def _read_expectation(table: Table, context: Context, action: Action) -> Expectation:
    outcome = table.text("expect")
    if isinstance(action, Probe | Kill):
        outcome = table.choice("expect", OUTCOMES, outcome if outcome in OUTCOMES else "")
    elif outcome not in ("", "ok", "refused"):
        table.fail(f"ok or refused is wanted, not {outcome!r}", "expect")
    if "on" in table and "wire" not in table:
        table.fail("on says which link wire is about: there is no wire", "on")
    link = link_name(table, "on", table.text("on"), context.links) if "on" in table else ""
    status = table.integer("status", 0) if "status" in table else None
    return Expectation(
        outcome=outcome,
        wire=_read_wire(table) if "wire" in table else None,
        link=link,
        moves=_read_sas(table, "moves", context),
        rests=_read_sas(table, "rests", context),
        counters=_read_counters(table, context),
        output=table.words("output"),
        absent=table.words("absent"),
        status=status,
        errors=table.flag("errors"),
    )


def _read_wire(table: Table) -> tuple[str, ...]:
    words = tuple(dict.fromkeys(table.words("wire")))
    for word in words:
        if not _WIRE.match(word):
            table.fail(f"{word!r} is never on the wire{suggestion(word, _WIRE_WORDS)}", "wire")
    if not words or ("nothing" in words and len(words) > 1):
        table.fail("nothing stands alone", "wire")
    return words


def _read_sas(table: Table, key: str, context: Context) -> tuple[tuple[str, str, int], ...]:
    found = []
    for word in table.words(key):
        match = _SA.match(word)
        if not match:
            table.fail(f"{word!r}: HOST [esp|ah|ipcomp] SPI is wanted", key)
        _check_host(table, key, match[1], context)
        found.append((match[1], match[2] or "", int(match[3], 0)))
    return tuple(found)


def _read_counters(table: Table, context: Context) -> tuple[tuple[str, str, int], ...]:
    found = []
    for word in table.words("counter"):
        match = _COUNTER.match(word)
        if not match:
            table.fail(f"{word!r}: HOST XfrmCOUNTER [NUMBER] is wanted", "counter")
        _check_host(table, "counter", match[1], context)
        found.append((match[1], match[2], int(match[3] or 0)))
    return tuple(found)


def _check_host(table: Table, key: str, name: str, context: Context) -> None:
    if name not in context.hosts:
        table.fail(f"no host is called {name}{suggestion(name, context.hosts)}", key)
