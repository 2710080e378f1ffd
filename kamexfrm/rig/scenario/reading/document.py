"""Reading scenario files: TOML to cases, or an error that names file, line and key."""

import dataclasses
import ipaddress
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

from kamexfrm.rig.scenario.plan import Case, HostPlan, LinkPlan, Script
from kamexfrm.rig.scenario.reading import actions, schema, topology
from kamexfrm.rig.scenario.reading.context import Context, link_name
from kamexfrm.rig.scenario.reading.lines import Lines, place_of
from kamexfrm.rig.scenario.reading.matrix import Lookup, choices, chosen_lookup, fill, limited
from kamexfrm.rig.scenario.reading.table import ScenarioError, Table, suggestion
from kamexfrm.setkey.mirror import mirror

#: A statement that makes an SA: the kernel needs its protocol.
_MAKES_SA = re.compile(r"(?m)^[^#]*\b(?:add|update|getspi)\s[^;#]*\b(?:esp|ah|ipcomp)")

#: Most bytes of a scenario file or of a file that it names; and most dots in a key, since reading
#: a dotted key takes the square of its length.
_MOST_BYTES = 1 << 20
_MOST_DOTS = 100
_LONG_KEY = re.compile(
    r"""(?m)(?:^|[{,])[ \t]*\[?\[?[ \t]*"""
    rf"""(?>(?:"[^"\n]*"|'[^'\n]*'|[A-Za-z0-9_-]+)[ \t]*\.[ \t]*){{{_MOST_DOTS},}}"""
)


def read_file(path: str | Path) -> list[Case]:
    """Return all cases of a file, each checked as a whole; raises ScenarioError."""
    try:
        with Path(path).open("rb") as file:
            data = file.read(_MOST_BYTES + 1)
        text = data.decode()
    except OSError as error:
        raise ScenarioError(f"{path}: {error.strerror}", errno=error.errno) from None
    except UnicodeDecodeError as error:
        raise ScenarioError(f"{path}: not UTF-8 at byte {error.start}") from None
    if len(data) > _MOST_BYTES:
        raise ScenarioError(f"{path}: longer than {_MOST_BYTES >> 20} MiB")
    return read_text(text, str(path))


def read_text(text: str, name: str) -> list[Case]:
    """Return all cases of a scenario's text; files that it names are relative to ``name``."""
    if match := _LONG_KEY.search(text):
        line = text.count("\n", 0, match.start()) + 1
        raise ScenarioError(f"{name}:{line}: a key of over {_MOST_DOTS} words")
    try:
        return _read(text, name)
    except RecursionError:
        raise ScenarioError(f"{name}: too deeply nested") from None


def _read(text: str, name: str) -> list[Case]:
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        reason, line = place_of(str(error))
        raise ScenarioError(f"{name}:{line}: {reason}") from None
    except ValueError:  # Python's limit of 4,300 digits
        raise ScenarioError(f"{name}: a number of thousands of digits") from None
    lines = Lines(text)
    document = Table(data, (), name, lines)
    document.check_keys(schema.TOP)
    return list(_cases(document, data, lines))


def _cases(document: Table, data: dict[str, object], lines: Lines) -> Iterator[Case]:
    for name, chosen in choices(document):
        yield _Reader(document, data, lines, name, chosen).case()


class _Reader:
    """Fills in one choice of the matrix and reads the case."""

    def __init__(
        self,
        document: Table,
        data: dict[str, object],
        lines: Lines,
        name: str,
        chosen: dict[str, object],
    ) -> None:
        variables = document.table("variables")
        self._name = name
        self._known = {**{key: variables.get(key) for key in variables}, **chosen}
        self._own: Lookup = chosen_lookup(self._known)
        self._addresses: dict[str, str] = {}
        skeleton = {key: data[key] for key in ("links", "hosts", "family") if key in data}
        # Names, links and loopbacks first: all else may refer to their addresses.
        bare = {
            "links": skeleton.get("links", []),
            "family": skeleton.get("family", "${family}" if "family" in self._known else 4),
        }
        table = Table(self._fill(document, bare, self._own), (), document.file, lines)
        self.links = topology.read_links(table)
        self.tunnels = topology.read_tunnels(table, self.links)
        family = table.get("family")
        if family not in schema.FAMILIES:
            table.fail(f"4 or 6 is wanted, not {family!r}", "family")
        self.family = schema.FAMILIES[schema.FAMILIES.index(family)]
        self._name_addresses(document, data, lines)
        rest = {key: value for key, value in data.items() if key not in ("matrix", "exclude")}
        self.table = Table(self._fill(document, rest, self._lookup), (), document.file, lines)

    def _fill(self, table: Table, value: object, lookup: Lookup) -> dict[str, object]:
        names = [*self._known, *self._addresses, "key:BITS"]
        filled = fill(table, value, limited(lookup, table), lambda: names)
        if not isinstance(filled, dict):
            raise TypeError(filled)
        return filled

    def _lookup(self, name: str) -> object:
        return self._addresses[name] if name in self._addresses else self._own(name)

    def _name_addresses(self, document: Table, data: dict[str, object], lines: Lines) -> None:
        """Give names to all addresses: h, h.4, h.6, h.1.4 (its second link's), h.net and so on."""
        numbers: dict[str, int] = {}
        for link in self.links:
            for end in (link.left, link.right):
                number = numbers.setdefault(end.host, 0)
                numbers[end.host] += 1
                for one in end.addresses:
                    self._name_address(end.host, f"{end.host}.eth{number}", one)
        numbers.clear()
        for tunnel in self.tunnels:
            for end in (tunnel.left, tunnel.right):
                number = numbers.setdefault(end.host, 0)
                numbers[end.host] += 1
                for one in end.addresses:
                    self._name_address(end.host, f"{end.host}.ipsec{number}", one)
        table = Table(data, (), document.file, lines).table("hosts")
        for host in table:
            for word in table.table(host).words("loopback"):
                try:
                    one = ipaddress.ip_interface(str(fill(table, word, self._own, list)))
                except ValueError as error:
                    table.table(host).fail(str(error), "loopback")
                self._name_address(host, f"{host}.lo", one)

    def _name_address(
        self, host: str, end: str, one: ipaddress.IPv4Interface | ipaddress.IPv6Interface
    ) -> None:
        values = {"": str(one.ip), ".net": str(one.network)}
        for prefix in (host, end):
            for suffix, value in values.items():
                if one.version == self.family:
                    self._addresses.setdefault(prefix + suffix, value)
                self._addresses.setdefault(f"{prefix}.{one.version}{suffix}", value)

    def case(self) -> Case:
        """Read the filled document."""
        table = self.table
        table.table("variables")
        names = list(
            dict.fromkeys(end.host for link in self.links for end in (link.left, link.right))
        )
        for tunnel in self.tunnels:
            for end in (tunnel.left, tunnel.right):
                if end.host not in names:
                    table.fail(f"no chain has the host {end.host}{suggestion(end.host, names)}")
        hosts = self._hosts(table.table("hosts"), names)
        if not hosts:
            table.fail('no hosts: links = "alice 10.0.0.1/24 -- 10.0.0.2/24 bob" makes two')
        title = table.text("title")
        watch = self._watch(table)
        kernel = table.choice("kernel", schema.KERNELS)
        context = Context(tuple(hosts), self.links, self._addresses, self.family, self.script)
        steps = actions.read_steps(table, context)
        scripts = [h.script.text for h in hosts.values() if h.script]
        scripts += [text for step in steps for text in actions.scripts_of(step)]
        needs = kernel == "esp" or (not kernel and any(map(_MAKES_SA.search, scripts)))
        return Case(
            table.file, title, self._name, hosts, self.links, steps, watch, needs, self.tunnels
        )

    def _watch(self, table: Table) -> str:
        names = [link.name for link in self.links]
        watch = table.text("watch", names[0] if len(names) == 1 else "")
        return link_name(table, "watch", watch, self.links) if watch else ""

    def _hosts(self, table: Table, names: list[str]) -> dict[str, HostPlan]:
        for name in table:
            if names and name not in names and self.links:
                table.fail(f"no link has this host{suggestion(name, names)}", name)
        names += [name for name in table if name not in names]
        found: dict[str, HostPlan] = {}
        forwarders = topology.routers(self.links)
        mirrors: dict[str, str] = {}
        for name in names:
            host = table.table(name)
            mirrors[name] = host.text("mirror")
            found[name] = HostPlan(
                name=name,
                line=host.line,
                script=self.script(host, "setkey", "file"),
                knobs=_settings(host, "knobs"),
                sysctls=tuple(_pair(one) for one in _settings(host, "sysctl")),
                loopback=tuple(ipaddress.ip_interface(word) for word in host.words("loopback")),
                routes=_routes(host) if "routes" in host else None,
                forward=host.flag("forward", name in forwarders and not host.flag("bridge")),
                bridge=host.flag("bridge"),
                encapsulation=_encapsulation(host),
            )
            host.check_keys(schema.HOST)
        for name, other in mirrors.items():
            if other:
                found[name] = self._mirrored(table.table(name), found, name, other)
        return found

    def _mirrored(self, host: Table, found: dict[str, HostPlan], name: str, other: str) -> HostPlan:
        plan = found[name]
        if other not in found or other == name:
            others = [one for one in found if one != name]
            host.fail(f"no other host is called {other}{suggestion(other, others)}", "mirror")
        script = found[other].script
        if plan.script is not None:
            host.fail("mirror and setkey exclude each other", "mirror")
        if script is None or script.origin.startswith("mirror"):
            host.fail(f"{other} has no setkey script of its own", "mirror")
        mirrored = Script(mirror(script.text), f"mirror of {other}", script.file)
        return dataclasses.replace(plan, script=mirrored)

    def script(self, table: Table, text_key: str, file_key: str) -> Script | None:
        """Return the script that a table holds or names; files have ${...} too."""
        if file_key in table and text_key in table:
            table.fail(f"{text_key} and {file_key} exclude each other", file_key)
        if file_key not in table:
            text = table.text(text_key)
            above = "\n" * (table.line_of_value(text_key) - 1)
            name = Path(table.file).name
            return Script(above + text, file=name) if text_key in table else None
        name = table.text(file_key)
        path = Path(table.file).parent / name
        try:
            with path.open("rb") as file:
                data = file.read(_MOST_BYTES + 1)
        except OSError as error:
            table.fail(f"{path}: {error.strerror}", file_key)
        if len(data) > _MOST_BYTES:
            table.fail(f"{path}: longer than {_MOST_BYTES >> 20} MiB", file_key)
        text = data.decode("utf-8", "surrogateescape").replace("\r\n", "\n")
        place = table.at(file_key)
        filled = fill(place, text, limited(self._lookup, place), lambda: [*self._known])
        return Script(str(filled), name, name)


def _settings(table: Table, key: str) -> tuple[str, ...]:
    """Return ``name=value`` words from a table (dotted keys may be bare) or a list."""
    if isinstance(table.get(key), list | str):
        for word in table.words(key):
            if "=" not in word:
                table.fail(f"{word!r}: NAME=VALUE is wanted", key)
        return table.words(key)
    return tuple(f"{name}={value}" for name, value in table.table(key).flat().items())


def _pair(word: str) -> tuple[str, str]:
    name, _, value = word.partition("=")
    return name.strip(), value.strip()


def _routes(host: Table) -> tuple[tuple[str, str], ...]:
    found = []
    for word in host.words("routes"):
        words = word.split()
        if len(words) != 3 or words[1] != "via":
            host.fail(f"{word!r}: PREFIX via ADDRESS is wanted", "routes")
        try:
            if words[0] != "default":
                ipaddress.ip_network(words[0])
            ipaddress.ip_address(words[2])
        except ValueError as error:
            host.fail(str(error), "routes")
        found.append((words[0], words[2]))
    return tuple(found)


def _encapsulation(host: Table) -> tuple[str, ...]:
    """Return ADDRESS PORT words of the host's encap sockets."""
    found = []
    for word in host.words("udp-encap"):
        address, _, port = word.rpartition(" ")
        try:
            ipaddress.ip_address(address.strip())
        except ValueError as error:
            host.fail(str(error), "udp-encap")
        if not port.isdigit() or not 0 < int(port) < 65536:
            host.fail(f"{word!r}: ADDRESS PORT is wanted", "udp-encap")
        found.append(f"{address.strip()} {port}")
    return tuple(found)


__all__ = ["Case", "LinkPlan", "ScenarioError", "read_file", "read_text"]
