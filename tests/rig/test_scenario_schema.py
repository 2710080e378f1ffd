"""rig.schema.json: what it accepts of keys, types and words is what the reader accepts."""

import json
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from kamexfrm.cli.rig import rig
from kamexfrm.rig.scenario.reading import document, gallery, schema
from kamexfrm.rig.scenario.reading.lines import Lines
from kamexfrm.rig.scenario.reading.table import ScenarioError, Table
from tests.rig import test_rig_command, test_rig_console, test_rig_up, test_scenario_plugin
from tests.rig.scenario_schema import complaints

ROOT = Path(__file__).parents[2]

TEXT: list[object] = ["", "x", "${text}"]
TEXTS: list[object] = ["", "x", [], ["x", "${text}"], "${texts}"]
FLAG: list[object] = [True, False, "${flag}"]
INTEGER: list[object] = [0, 1, 7.0, "${number}"]
NUMBER: list[object] = [*INTEGER, 0.5, float("inf")]
SAS: list[object] = ["alice esp 0x1001", ["bob 7", "alice ah ${number}"], []]

#: Values of each key that a reader with two hosts accepts.
GOOD: dict[str, list[object]] = {
    "title": TEXT,
    "watch": ["", "alice -- bob", "bob -- ${name}"],
    "family": [4, 6, 4.0, "${four}"],
    "kernel": ["esp", "any", "", "${any}"],
    "variables": [{}, {"x": 1, "y": {"z": [1]}}],
    "matrix": [{}, {"level": ["use", "require"], "x": [1]}],
    "exclude": [[], [{}]],
    "steps": [[]],
    "hosts": [{}, {"alice": {}}],
    "links": ["alice 10.0.0.1/24 fd00::1/64 -- 10.0.0.2/24 fd00::2/64 bob"],
    "mirror": ["", "bob"],
    "knobs": ["net.key.x=1", ["a=1", "${pair}"], [], {"net": {"key": 1}}, {}],
    "sysctl": ["a=1", ["a=1", "${pair}"], []],
    "loopback": ["192.0.2.1/32", [], ["192.0.2.1/32", "2001:db8::1/128"]],
    "routes": [[], "default via 10.0.0.2", ["192.0.2.0/24 via 10.0.0.2"]],
    "forward": FLAG,
    "bridge": FLAG,
    "udp-encap": ["10.0.0.1 4500", [], ["10.0.0.1 4500", "fd00::1 4500"]],
    **{key: ["alice -> bob", "bob -> 10.0.0.1:9"] for key in ("udp", "tcp", "stream")},
    **{key: ["alice -> bob", "${name} -> fd00::1"] for key in ("ping", "explain")},
    "setkey": ["flush;", "", "${text}"],
    "file": ["x.setkey"],
    **dict.fromkeys(("run", "wait", "log", "say"), TEXT),
    "kill": ["server", "${server}"],
    "name": ["server"],
    "host": ["alice", ["bob"], "${name}"],
    "real": FLAG,
    "count": INTEGER,
    "size": [*INTEGER, 65507],
    "timeout": NUMBER,
    "interval": NUMBER,
    "source": ["alice", "10.0.0.1", "${name}"],
    "source-port": [*INTEGER, 65535],
    "policy": ["out bypass", ["out bypass", "in none"], []],
    "upper": ["icmp", "udp", "tcp", "${udp}"],
    "expect": ["ok", "refused", "", "${ok}"],
    "wire": ["esp", "nothing", ["nothing"], ["ah+esp", "clear"], "${esp}", ["${esp}", "ipcomp+ah"]],
    "on": ["bob -- alice"],
    "moves": SAS,
    "rests": SAS,
    "counter": ["bob XfrmInNoStates", ["bob XfrmInNoStates 2"], []],
    "output": TEXTS,
    "absent": TEXTS,
    "status": INTEGER,
    "errors": FLAG,
}
VARIABLES: dict[str, object] = {
    "text": "x", "texts": "x", "flag": True, "number": 3, "four": 4, "name": "alice",
    "any": "any", "pair": "a=1", "server": "server", "udp": "udp", "ok": "ok", "esp": "esp",
}  # fmt: skip

#: Values of which some fit any key and most fit none; strings are those that cannot be names.
BAD: list[object] = [
    3, -1, 1.5, -0.5, float("nan"), 70000, True, {"a": "b"}, [3], [True], ["x", 3], [["x"]],
]  # fmt: skip

#: Words where only certain words are allowed.
WRONG_WORDS: dict[str, list[object]] = {
    "kernel": ["ESP", "x", ["esp"]],
    "family": [5, "4", 4.5],
    "upper": ["", "sctp", "ICMP"],
    "expect": ["fine", "OK", ["ok"], "lost"],
    "host": [["alice", "bob"]],
    "wire": ["", "espp", "esp+esp-null", [], ["esp", "nothing"], ["nothing", "esp"], ["esp", "x"]],
    "sysctl": ["", ["a=1", ""]],
    "knobs": ["", "x", ["a=1", "x"]],
    "matrix": [{"x": []}, {"x": 1}, {"x": "y"}],
    "exclude": [{}, [1]],
    "hosts": [{"alice": 1}, {"alice": "x"}],
    "steps": [{}, [1], [[]]],
}


def read(data: dict[str, object], folder: Path) -> bool:
    """Whether the reader accepts a document that tomllib has read."""
    lines = Lines("")
    table = Table(data, (), str(folder / "x.rig.toml"), lines)
    try:
        table.check_keys(schema.TOP)
        for _ in document._cases(table, data, lines):
            pass
    except ScenarioError:
        return False
    return True


def with_top(**keys: object) -> dict[str, object]:
    base = {"links": GOOD["links"][0], "variables": VARIABLES}
    return {**base, **{key.replace("_", "-"): value for key, value in keys.items()}}


def with_host(host: dict[str, object]) -> dict[str, object]:
    return with_top(hosts={"alice": host, "bob": {"setkey": "flush;"}})


def with_step(step: dict[str, object]) -> dict[str, object]:
    """Return a document with a step that may need a host, and a background command."""
    server = {"run": "sleep 9", "host": "bob", "name": "server"}
    before = [] if "run" in step or "stream" in step else [server]
    return with_top(steps=[*before, step])


def least(kind: str) -> dict[str, object]:
    """Return a step of a kind with nothing that could be left out."""
    needed = {
        "log": {"name": "server"},
        **{key: {"host": "alice"} for key in ("setkey", "file", "sysctl", "run", "wait")},
    }
    return {kind: GOOD[kind][-1], **needed.get(kind, {})}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("scenarios")
    (path / "x.setkey").write_text("flush;\n")
    return path


def places() -> Iterator[tuple[str, Any, str]]:
    """Yield each place of a key: what makes a document of its table, its least table, the key."""
    for key in schema.TOP:
        yield f"top-{key}", (lambda table: {**with_top(), **table}, {}), key
    for key in schema.HOST:
        yield f"host-{key}", (with_host, {}), key
    for kind in schema.KINDS:
        expectation = () if kind == "say" else schema.EXPECTATION
        for key in (kind, *schema.KINDS[kind], *expectation):
            yield f"{kind}-{key}", (with_step, least(kind)), key


PLACES = [pytest.param(place, key, id=name) for name, place, key in places()]


@pytest.mark.parametrize(("place", "key"), PLACES)
def test_reader_and_schema_accept_the_same_values(place: Any, key: str, folder: Path) -> None:
    make, table = place
    if key == "on":
        data = make({**table, key: GOOD[key][0]})
        assert not read(data, folder)
        assert complaints(data)
        table = {**table, "wire": "esp"}
    for value in GOOD[key]:
        data = make({**table, key: value})
        assert read(data, folder), value
        assert complaints(data) == []
    for value in (*WRONG_WORDS.get(key, []), *BAD):
        data = make({**table, key: value})
        assert read(data, folder) == (not complaints(data)), value


@pytest.mark.parametrize("make", [with_host, with_step, lambda table: {**with_top(), **table}])
@pytest.mark.parametrize("key", ["titel", "stekey", "x", "${text}"])
def test_unknown_keys_are_refused_by_both(make: Any, key: str, folder: Path) -> None:
    data = make({"ping": "alice -> bob", key: 1} if make is with_step else {key: 1})
    assert not read(data, folder)
    assert complaints(data)


@pytest.mark.parametrize("kind", schema.KINDS)
def test_a_step_takes_the_keys_of_its_kind_only(kind: str, folder: Path) -> None:
    every = {key for more in schema.KINDS.values() for key in more} | {*schema.KINDS}
    every |= {*schema.EXPECTATION} if kind == "say" else set()
    for key in sorted(every - {kind, *schema.KINDS[kind]}):
        data = with_step({**least(kind), key: GOOD[key][0]})
        assert not read(data, folder), key
        assert complaints(data), key


@pytest.mark.parametrize("pair", [("setkey", "file"), ("mirror", "setkey"), ("mirror", "file")])
def test_a_host_has_one_source_of_its_script(pair: tuple[str, str], folder: Path) -> None:
    data = with_host({key: GOOD[key][-1] for key in pair})
    assert not read(data, folder)
    assert complaints(data)


@st.composite
def spoilt(draw: st.DrawFn) -> dict[str, object]:
    """Draw a document: each key with a good value, a wrong word, or one of another type."""

    def table(keys: tuple[str, ...], given: dict[str, object]) -> dict[str, object]:
        chosen = draw(st.lists(st.sampled_from([*keys, "x"]), max_size=4, unique=True))
        made = dict(given)
        for key in chosen:
            good = GOOD.get(key, [1])
            wrong = [*WRONG_WORDS.get(key, []), *BAD] if draw(st.integers(0, 7)) == 0 else good
            made[key] = draw(st.sampled_from(wrong))
        return made

    steps: list[object] = [{"run": "x", "host": "bob", "name": "server"}]
    for _ in range(draw(st.integers(0, 2))):
        kind = draw(st.sampled_from([*schema.KINDS]))
        keys = tuple(key for key in schema.KINDS[kind] if key != "name")
        step = table((*keys, *schema.EXPECTATION), least(kind))
        if kind in ("run", "stream"):
            step["name"] = f"name{len(steps)}"
        steps.append(step)
    host = table(tuple(key for key in schema.HOST if key != "mirror"), {})
    top = tuple(
        key for key in schema.TOP if key not in ("hosts", "steps", "variables", "matrix", "exclude")
    )
    return table(top, {**with_top(), "hosts": {"alice": host, "bob": {}}, "steps": steps})


@given(spoilt())
def test_spoilt_documents_are_refused_by_both_or_by_none(
    folder: Path, data: dict[str, object]
) -> None:
    assert read(data, folder) == (not complaints(data))


SCENARIOS = {
    **{kind: gallery.path_of(kind).read_text() for kind in gallery.kinds()},
    "command": test_rig_command.GOOD,
    "command-esp": test_rig_command.ESP,
    "console": test_rig_console.TEXT,
    "up": test_rig_up.TEXT,
    "plugin": test_scenario_plugin.SCENARIO,
    "plugin-host": test_scenario_plugin.HERE,
}


@pytest.mark.parametrize("text", SCENARIOS.values(), ids=SCENARIOS)
def test_scenarios_are_valid(text: str) -> None:
    assert complaints(tomllib.loads(text)) == []


def test_the_command_prints_it() -> None:
    done = CliRunner().invoke(rig, ["schema"])
    assert done.exit_code == 0
    assert json.loads(done.stdout) == schema.SCHEMA
