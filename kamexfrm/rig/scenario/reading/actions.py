"""Reading steps: which action each is, with its hosts, addresses and numbers."""

import ipaddress
import re

from kamexfrm.errors import LanguageError
from kamexfrm.model.language import parse_policy
from kamexfrm.rig.scenario.plan import (
    Action,
    Explain,
    Kill,
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
from kamexfrm.rig.scenario.reading import schema
from kamexfrm.rig.scenario.reading.context import Context
from kamexfrm.rig.scenario.reading.expectations import read_expectation
from kamexfrm.rig.scenario.reading.table import Table, suggestion

_ROUTE = re.compile(
    r"\s*(\S+?)\s*->\s*(\[[^\]]*\]|[^\s:]+(?::[0-9a-fA-F:]*:[0-9a-fA-F]*)?|\S+?)(?::(\d+))?\s*$"
)


#: Seconds for an answer that must come, and for one that must not.
PATIENCE = {"ok": 3.0, "": 3.0, "lost": 0.2, "refused": 0.2}


def scripts_of(step: Step) -> list[str]:
    """Return the setkey scripts of a step."""
    return [step.action.script.text] if isinstance(step.action, Setkey) else []


def read_steps(document: Table, context: Context) -> tuple[Step, ...]:
    """Read [[steps]]; raises ScenarioError."""
    names: set[str] = set()
    found = []
    for number, table in enumerate(document.tables("steps"), 1):
        kind = _kind_of(table)
        action = _Action(table, context, names).read(kind)
        if isinstance(action, Say):
            for key in schema.EXPECTATION:
                if key in table:
                    table.fail("a line of the transcript has nothing to expect", key)
        expectation = read_expectation(table, context, action)
        table.check_keys(_keys_of(kind))
        found.append(Step(number, table.line, action, expectation))
    return tuple(found)


def _keys_of(kind: str) -> tuple[str, ...]:
    """Return all keys of a kind of step."""
    return (kind, *schema.KINDS[kind], *schema.EXPECTATION)


def _kind_of(table: Table) -> str:
    """Return the one key that says what a step does."""
    kinds = [kind for kind in schema.KINDS if kind in table]
    if not kinds:
        known = {key for kind in schema.KINDS for key in _keys_of(kind)}
        for key in table:
            if key not in known:
                table.fail(f"no such key{suggestion(key, schema.KINDS)}", key)
        table.fail(f"what is to be done? one of {', '.join(schema.KINDS)}")
    if len(kinds) > 1:
        table.fail(f"{kinds[0]} and {kinds[1]} in one step", kinds[1])
    return kinds[0]


class _Action:
    """Reads one step's action."""

    def __init__(self, table: Table, context: Context, names: set[str]) -> None:
        self._table = table
        self._context = context
        self._names = names

    def read(self, kind: str) -> Action:
        table = self._table
        match kind:
            case "ping" | "udp" | "tcp" as protocol:
                return self._probe(protocol, protocol)
            case "stream":
                probe = self._probe("stream", "udp")
                interval = table.number("interval", 0.005)
                return Stream(self._new_name("stream"), probe, interval)
            case "explain":
                upper = table.choice("upper", schema.UPPER_PROTOCOLS, "icmp")
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
        name, *others = self._hosts()
        if others:
            self._table.fail("one host is wanted", "host")
        return name

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
        if port > schema.LAST_PORT:
            self._table.fail(f"{port} is no port", key)
        return port

    def _size(self) -> int:
        size = self._table.integer("size", 230)
        if size > schema.LARGEST_SIZE:
            self._table.fail(f"no packet is larger than {schema.LARGEST_SIZE} bytes", "size")
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
        if family not in schema.FAMILIES:
            self._table.fail(f"4 or 6 is wanted, not {family}", "family")
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
