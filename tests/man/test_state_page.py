"""kamexfrm-state(5) says what the code does: where in the kernel the state is."""

import re
from collections.abc import Iterator

from kamexfrm.model.knobs import FURTHER_KNOBS, Knobs
from kamexfrm.model.policy import Level
from kamexfrm.rig import Host
from kamexfrm.translate.xfrm import marker, tag
from tests.man.manual_source import configure, page, rows, section

STATE_PAGE = page("kamexfrm-state.5")


def test_the_markers_template_in_the_state_page_is_the_markers() -> None:
    text = section(STATE_PAGE, "MARKER, SIDECARS AND CATCH-ALLS")
    said = {name: (field, octets) for field, octets, name in rows(text, "Field")}
    assert said.pop("zero") == ("source", "5-15")
    kept = [knob for knob in FURTHER_KNOBS if knob.field != "larval_lifetime"]
    assert set(said) == {knob.name for knob in kept}
    values, knobs = {}, Knobs()
    for knob in kept:
        few = knob.numbers if knob.high < 1000 else (knob.low + 1,)
        values[knob.name] = next(n for n in few if n != Knobs().value(knob))
        knobs = knobs.replace(knob, values[knob.name])
    [template] = marker.marker_policy(marker.Marker(knobs)).templates
    for name, (field, octets) in said.items():
        found = getattr(template, field)
        assert (found.packed[int(octets)] if field == "source" else found) == values[name]


#: How kamexfrm-state(5) calls the four words, in the order of ``struct xfrm_lifetime_cfg``.
LIMITS = ("soft bytes", "hard bytes", "soft packets", "hard packets")


def bits(cell: str) -> int:
    """Return the mask of ``39-32``."""
    high, low = (int(number) for number in cell.split("-"))
    return (1 << high + 1) - (1 << low)


def layout(table: list[list[str]]) -> Iterator[tuple[int, int, list[str]]]:
    """Yield word, mask and the other cells of the rows of a layout."""
    return ((LIMITS.index(limit), bits(cell), rest) for limit, cell, *rest in table)


def test_the_tags_layout_in_the_state_page_is_the_tags() -> None:
    table = rows(section(STATE_PAGE, "THE TAG"), "Limit")
    empty = tag.policy_words(tag.PolicyTag(0, 0))
    seen = [0, 0, 0, 0]
    fields = []
    for word, mask, (field, content) in layout(table):
        assert not seen[word] & mask, field
        seen[word] |= mask
        shift = (mask & -mask).bit_length() - 1
        if field in ("magic", "version"):
            assert empty[word] & mask == int(content, 0) << shift
        elif field == "zero":
            forged = list(empty)
            forged[word] |= mask & -mask
            assert tag.read_policy_words((forged[0], forged[1], forged[2], forged[3])).broken
        else:
            full = tag.PolicyTag(0, 0)._replace(**{field: mask >> shift})
            words = tag.policy_words(full)
            assert [a ^ b for a, b in zip(words, empty, strict=True)] == [
                mask if at == word else 0 for at in range(4)
            ]
            fields.append(field)
    assert seen == [(1 << 64) - 1] * 4
    assert sorted(fields) == sorted(tag.PolicyTag._fields)
    assert f"a tag of {len(LIMITS) * 64} bits" in STATE_PAGE


def test_the_flags_in_the_state_page_are_those_that_a_tag_may_have() -> None:
    table = rows(section(STATE_PAGE, "THE TAG"), "Flag")
    known = 0
    for value, name, _ in table:
        assert getattr(tag, name) == int(value, 0)
        known |= int(value, 0)
    for shift in range(16):
        words = tag.policy_words(tag.PolicyTag(0, 0, 1 << shift))
        assert bool(tag.read_policy_words(words).tag) == bool(known & 1 << shift)


def test_the_share_byte_in_the_state_page_is_that_of_templates() -> None:
    text = section(STATE_PAGE, "THE TAG").partition("byte of each template")[2]
    table = {name: (int(value, 0), says) for value, name, says in rows(text, "Bit")}
    assert tag.share_of(tag.ShareTag(0)) == table["tag"][0]
    for name in ("endpoints", "trigger", "transparent"):
        flag = tag.share_of(tag.ShareTag(0)._replace(**{name: True}))
        assert flag == table["tag"][0] | table[name][0]
    assert set(tag.ShareTag._fields) | {"tag"} == set(table)
    mask, says = table["level"]
    assert tag.share_of(tag.ShareTag(mask)) == table["tag"][0] | mask
    assert says == ", ".join(f"{level.value} {level.name.lower()}" for level in Level)


def test_the_markers_layout_in_the_state_page_is_the_markers() -> None:
    text = section(STATE_PAGE, "MARKER, SIDECARS AND CATCH-ALLS")
    masks = {says: (word, mask) for word, mask, (says,) in layout(rows(text, "Limit"))}
    none = marker.Marker(reqid=0)
    empty = marker.marker_words(none)
    full = (1 << 32) - 1

    def touched(changed: marker.Marker) -> list[int]:
        words = marker.marker_words(changed)
        return [a ^ b for a, b in zip(words, empty, strict=True)]

    def said(beginning: str) -> list[int]:
        [(word, mask)] = [masks[says] for says in masks if says.startswith(beginning)]
        return [mask if at == word else 0 for at in range(4)]

    assert touched(none._replace(last_priority=full)) == said("priority of")
    assert touched(none._replace(order=(1 << 48) - 1)) == said("last insertion number")
    assert touched(none._replace(flags=marker.MarkerFlag(0xFFFF))) == said("flags")
    assert touched(none._replace(reqid=full)) == said("last generated reqid")
    assert touched(none._replace(last_kernel_priority=full)) == said("kernel priority of")
    assert touched(none._replace(sa_digest=full)) == said("checksum of the SAs")
    for family, name in (("inet6", "variables of IPv6"), ("inet", "variables of IPv4")):
        ups = Knobs()._replace(**{family: getattr(Knobs(), family)._replace(def_policy=0)})
        changed = touched(none._replace(knobs=ups))
        mask = next(filter(None, said(name)))
        assert mask.bit_count() == 9
        assert changed == [0, 0, 1 << mask.bit_length() - 1, 0]
    flags = text.partition("The flags are")[2].partition(".Pp")[0]
    for value, word in (
        (marker.MarkerFlag.HAS_TUNNEL_USE, "tunnels"),
        (marker.MarkerFlag.HAS_MODE_ANY, "SAs of mode any"),
        (marker.MarkerFlag.UNFINISHED, "unfinished"),
        (marker.MarkerFlag.HAS_REQID_SA, "SAs with a reqid"),
        (marker.MarkerFlag.HAS_ANY_REQID, "requests without"),
        (marker.MarkerFlag.OWN_DEFAULT, "own default"),
    ):
        assert f"\n{value} {word}" in flags


def test_the_numbers_in_the_state_page_are_those_of_the_code() -> None:
    for number in (
        tag.MARKER_IF_ID,
        tag.SIDECAR_IF_ID,
        tag.CATCH_ALL_USER,
        tag.sa_user(True),
        tag.sa_user(False),
        tag.sa_user(True, by_program=True),
        0xFFFFFFFF,
    ):
        assert f"0x{number:08x}" in STATE_PAGE


def test_the_dump_in_the_state_page_is_what_ip_prints(namespace: Host) -> None:
    sample = section(STATE_PAGE, "AS SEEN BY IP-XFRM(8)")
    sample = sample.partition(".Bd -literal -offset 2n\n")[2].partition(".Ed")[0]
    configure(namespace, "spdadd 10.0.0.1 10.0.0.2 any -P out ipsec esp/transport//require;")
    created = re.compile(r"limit: soft \d+\(packets\)")
    shown = created.sub("limit", namespace.run(["ip", "-s", "xfrm", "policy"], check=True).stdout)
    for line in sample.splitlines():
        kept = created.sub("limit", line.strip()).removesuffix("...").strip()
        assert kept in shown
