"""How ``setkey -D``, ``dump`` and ``get`` print an SA: in full, in short, and as plain data."""

from __future__ import annotations

import time

from kamexfrm.model.association import Key, Lifetime, SadEntry, SaFlag, SaState, key_name
from kamexfrm.model.policy import IpsecProtocol, SecurityContext
from kamexfrm.setkey.dates import format_date

TYPE_CHECKING = False  # typing takes long to load
if TYPE_CHECKING:
    from typing import Any

    from kamexfrm.model.association import LinuxParts

#: The head of the short form (``-l``).
SHORT_HEADER = "time p   s spi      ltime   src -> dst\n"

#: The flags of an SA and PF_KEY's numbers of them (SADB_SAFLAGS_*).
_FLAGS = (
    (int(SaFlag.NOECN), 0x80000000),
    (int(SaFlag.DECAP_DSCP), 0x40000000),
    (int(SaFlag.NOPMTUDISC), 0x20000000),
)

#: The flag of ESN: FreeBSD's SADB_X_SAFLAGS_ESN, which PF_KEY on Linux lacks.
_ESN = 0x400

_KEY_LINE = 32  # bytes


def format_sa(
    entry: SadEntry,
    *,
    sequence: int,
    pid: int,
    ports: bool = False,
    keys: bool = True,
    wrap: bool = True,
    now: int | None = None,
) -> str:
    """Return an SA as ipsec-tools prints it.

    ``sequence`` is the message's place in the dump, the last one's is 0. ``ports`` is ``-p``.
    Without ``keys`` their lengths are shown instead. Without ``wrap`` a key is one line, however
    long. ``now`` is in seconds since the epoch.
    """
    now = int(time.time()) if now is None else now
    sa = entry.association
    source, destination = f"{sa.source}", f"{sa.destination}"
    if ports:
        source, destination = f"{source}[0]", f"{destination}[0]"
    if sa.nat_traversal:
        source = f"{source}[{sa.nat_traversal.source_port}]"
        destination = f"{destination}[{sa.nat_traversal.destination_port}]"
    lines = [
        f"{source} {destination} ",
        f"\t{_protocol_name(entry)} mode={_mode_name(entry)} spi={sa.spi}(0x{sa.spi:08x})"
        f" reqid={sa.reqid}(0x{sa.reqid:08x})",
    ]
    if sa.nat_traversal and sa.nat_traversal.original_address:
        lines.append(f"\tNAT OA={sa.nat_traversal.original_address}")
    if sa.compression:
        # Differs from ipsec-tools: the line ends here.
        lines.append(f"\tC: {key_name(sa.compression)} ")
    lines += _key_lines("E", sa.encryption, keys, wrap)
    lines += _key_lines("A", sa.authentication, keys, wrap)
    age = now - entry.created if entry.created else 0
    hard, soft = sa.hard, sa.soft
    lines += (
        f"\tseq=0x{entry.sequence:08x} replay={sa.replay_window} flags=0x{_flags(entry):08x}"
        f" state={entry.state.name.lower()} ",
        f"\tcreated: {format_date(entry.created)}\tcurrent: {format_date(now)}",
        f"\tdiff: {age}(s)\thard: {hard.addtime}(s)\tsoft: {soft.addtime}(s)",
        f"\tlast: {format_date(entry.last_used)}\thard: {hard.usetime}(s)\tsoft: {soft.usetime}(s)",
        f"\tcurrent: {entry.bytes}(bytes)\thard: {hard.bytes}(bytes)\tsoft: {soft.bytes}(bytes)",
        f"\tallocated: {entry.packets}\thard: {hard.allocations}\tsoft: {soft.allocations}",
    )
    if sa.label:
        from kamexfrm.setkey.dump_context import context_lines  # rarely needed

        lines += context_lines(sa.label)
    if sa.linux:
        lines += linux_lines(sa.linux)
    lines.append(f"\tsadb_seq={sequence} pid={pid} refcnt=0\n")
    return "\n".join(lines)


def format_sa_short(entry: SadEntry, *, now: int | None = None) -> str:
    """Return the line of ``setkey -D -l``: time, protocol, state, SPI, age/limit, addresses."""
    now = int(time.time()) if now is None else now
    sa = entry.association
    name = "#9" if sa.protocol is IpsecProtocol.IPCOMP else sa.protocol.name.lower()
    state = {SaState.LARVAL: "L", SaState.MATURE: "M", SaState.DYING: "D", SaState.DEAD: "d"}
    minutes, seconds = divmod(now % 3600, 60)
    age = now - entry.created if entry.created else 0
    return (
        f"{minutes:02}{seconds:02} {name:3} {state[entry.state]} {sa.spi:08x} "
        f"{_short(age):>3}/{_short(sa.hard.addtime):<3} {sa.source} -> {sa.destination}\n"
    )


def _short(seconds: int) -> str:
    return str(seconds) if seconds < 1000 else "big"


def linux_lines(linux: LinuxParts) -> list[str]:
    """Return a line for each thing that an SA has on Linux alone."""
    from kamexfrm.model.scope_text import linux_words  # rarely needed
    from kamexfrm.setkey.dump_sp import format_selector

    words = linux_words(linux._replace(selector=None))
    if linux.selector:
        words.insert(0, f"sel {format_selector(linux.selector)}")
    return [f"\t{word}" for word in words]


def linux_to_dict(linux: LinuxParts) -> dict[str, Any]:
    """Return what an SA has on Linux alone as plain data."""
    from kamexfrm.model.scope_text import device_name, mark_to_dict
    from kamexfrm.setkey.dump_sp import selector_to_dict

    return {
        "selector": selector_to_dict(linux.selector) if linux.selector else None,
        "device": device_name(linux.interface) if linux.interface else None,
        "mark": mark_to_dict(linux.mark),
        "output_mark": mark_to_dict(linux.output_mark),
        "if_id": linux.if_id or None,
        "direction": linux.direction.name.lower() if linux.direction else None,
        "offload": device_name(linux.offload.interface) if linux.offload else None,
        "nat_keepalive": linux.nat_keepalive or None,
        "processor": linux.processor,
    }


def _key_lines(letter: str, key: Key | None, shown: bool, wrap: bool) -> list[str]:
    """Return the lines of a key in words of four bytes; of an algorithm without one the name."""
    if key is None:
        return []
    if not key.material:
        # Differs from ipsec-tools: a line for null, so that the SA can be made from what is shown.
        return [f"\t{letter}: {key_name(key)} "]
    if not shown:
        return [f"\t{letter}: {key_name(key)}  ({len(key.material) * 8} bits)"]
    return [f"\t{letter}: {key_name(key)}  {key_rows(key.material, wrap)}"]


def key_rows(material: bytes, wrap: bool) -> str:
    """Return a key in words of four bytes; with ``wrap`` a long one takes several lines."""
    size = len(material)
    if size <= _KEY_LINE or not wrap:
        return material.hex(" ", -4)
    # Differs from ipsec-tools: a line that goes on begins with a tab.
    return "\n\t ".join(
        material[at : at + _KEY_LINE].hex(" ", -4) for at in range(0, size, _KEY_LINE)
    )


def _flags(entry: SadEntry) -> int:
    flags = int(entry.association.flags)
    number = sum(shown for flag, shown in _FLAGS if flags & flag) if flags else 0
    return number | _ESN if entry.association.esn else number


def _protocol_name(entry: SadEntry) -> str:
    return "esp-udp" if entry.association.nat_traversal else entry.association.protocol.name.lower()


def _mode_name(entry: SadEntry) -> str:
    if entry.mode_number is not None:
        return str(entry.mode_number)
    return entry.association.mode.name.lower()


def sa_to_dict(entry: SadEntry, *, keys: bool = False) -> dict[str, Any]:
    """Return an SA as plain data for JSON; with ``keys`` the keys themselves too.

    Times are seconds since the epoch or None, limits are None where there is none, lengths bits.
    """
    sa = entry.association
    nat = sa.nat_traversal
    return {
        "source": str(sa.source),
        "destination": str(sa.destination),
        "protocol": sa.protocol.name.lower(),
        "spi": sa.spi,
        "mode": _mode_name(entry),
        "kernel_mode": entry.kernel_mode.name.lower(),
        "reqid": sa.reqid,
        "state": entry.state.name.lower(),
        "replay_window": sa.replay_window,
        "esn": sa.esn,
        "sequence": entry.sequence,
        "encryption": _key_to_dict(sa.encryption, keys),
        "authentication": _key_to_dict(sa.authentication, keys),
        "compression": _key_to_dict(sa.compression, keys),
        "created": entry.created or None,
        "last_used": entry.last_used or None,
        "bytes": entry.bytes,
        "packets": entry.packets,
        "hard": _lifetime_to_dict(sa.hard),
        "soft": _lifetime_to_dict(sa.soft),
        "nat_traversal": nat
        and {
            "source_port": nat.source_port,
            "destination_port": nat.destination_port,
            "original_address": nat.original_address and str(nat.original_address),
        },
        "context": _context_to_dict(sa.label) if sa.label else None,
        "noecn": SaFlag.NOECN in sa.flags,
        "decap_dscp": SaFlag.DECAP_DSCP in sa.flags,
        "nopmtudisc": SaFlag.NOPMTUDISC in sa.flags,
        "flags": int(sa.flags),
        **(linux_to_dict(sa.linux) if sa.linux else {}),
    }


def _context_to_dict(context: SecurityContext) -> dict[str, Any]:
    from kamexfrm.setkey.dump_context import context_to_dict  # rarely needed

    return context_to_dict(context)


def _key_to_dict(key: Key | None, shown: bool) -> dict[str, Any] | None:
    if key is None:
        return None
    found: dict[str, Any] = {"algorithm": key_name(key), "key_bits": len(key.material) * 8}
    if key.icv_bits:
        found["icv_bits"] = key.icv_bits
    if shown:
        found["key"] = key.material.hex()
    return found


def _lifetime_to_dict(lifetime: Lifetime) -> dict[str, int | None]:
    return {
        "packets": lifetime.allocations or None,
        "bytes": lifetime.bytes or None,
        "seconds": lifetime.addtime or None,
        "seconds_of_use": lifetime.usetime or None,
    }
