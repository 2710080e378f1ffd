"""``kamexfrm status``: one screen about a namespace, problems first."""

import gc
import sys
import time
from itertools import islice
from typing import Any

import click

from kamexfrm.cli import options
from kamexfrm.cli.trouble import Command, kernel
from kamexfrm.command_line import printable
from kamexfrm.model.knobs import KNOBS, FamilyKnobs
from kamexfrm.model.policy import Owner
from kamexfrm.model.statement_text import shown_policy, shown_sa
from kamexfrm.operator import status as looking
from kamexfrm.operator.status_sad import SaStatus

#: Entries of each database on the screen, unless --all is given.
SCREEN = 20

#: Characters of a lifetime's bar.
_BAR = 10

_COLOURS = {"error": "red", "warning": "yellow", "note": "cyan"}
_CLEAR = "\x1b[H\x1b[2J"


@click.command(cls=Command)
@click.option("-a", "--all", "everything", is_flag=True, help="Show all policies and SAs.")
@click.option("-w", "--watch", is_flag=True, help="Draw it again every two seconds.")
@click.option("-q", "--quiet", is_flag=True, help="Print the problems alone.")
@options.as_json
@options.netns
def status(everything: bool, watch: bool, quiet: bool, as_json: bool) -> None:
    """Show variables, policies and what serves them, and SAs, with problems first."""
    gc.disable()  # nothing here makes cycles, and there may be fifty thousand entries
    most = None if everything or as_json else SCREEN
    with kernel() as opened:
        while True:
            found = looking.look(opened, most)
            if as_json:
                _print_json(found, one_line=watch)
            else:
                clear = _CLEAR if watch and sys.stdout.isatty() else ""
                click.echo(clear + _screen(found, most, quiet=quiet), nl=False)
            if not watch:
                return
            sys.stdout.flush()
            time.sleep(2)


# The screen


def _screen(found: looking.Status, most: int | None, *, quiet: bool) -> str:
    lines = [*_problems(found)]
    if not quiet:
        lines += [*_knobs(found), *_policies(found, most), *_sas(found, most)]
    return "".join(f"{printable(line, chr(9) + chr(27))}\n" for line in lines)


def _problems(found: looking.Status) -> list[str]:
    if not found.problems:
        return ["no problems"]
    lines = []
    for severity, text, cure in found.problems:
        lines.append(f"{click.style(severity, fg=_COLOURS[severity])}: {printable(text, '')}")
        lines.append(f"    -> {cure}")
    if found.counts.unnamed:
        lines.append(f"and {found.counts.unnamed} more policies without an SA: --all shows them")
    return lines


def _knobs(found: looking.Status) -> list[str]:
    lines = ["", click.style("variables", bold=True)]
    for word, knobs in (("IPv4", found.knobs.inet), ("IPv6", found.knobs.inet6)):
        does = "pass" if knobs.def_policy else "are discarded"
        lines.append(
            f"  {word}: packets without a policy {does}; level default means {_means(knobs)}"
        )
    return lines


def _means(knobs: FamilyKnobs) -> str:
    levels = {
        "ESP transport": knobs.esp_trans_deflev,
        "ESP tunnel": knobs.esp_net_deflev,
        "AH transport": knobs.ah_trans_deflev,
        "AH tunnel": knobs.ah_net_deflev,
    }
    if len(set(levels.values())) == 1:
        return "use" if knobs.esp_trans_deflev == 1 else "require"
    return ", ".join(f"{w} {'use' if v == 1 else 'require'}" for w, v in levels.items())


def _policies(found: looking.Status, most: int | None) -> list[str]:
    counts = found.counts
    title = f"policies: {counts.policies}"
    if counts.foreign:
        title += f", {counts.foreign} of other programs"
    if counts.sockets:
        title += f", and {counts.sockets} of sockets"
    lines = ["", click.style(title, bold=True)]
    for policy in found.policies:
        entry = policy.entry
        if entry.twin:
            continue
        used = f"used {_ago(entry.last_used)}" if entry.last_used else "never used"
        statement = shown_policy(entry.policy).removeprefix("spdadd ").removesuffix(";")
        by = "" if entry.owner is Owner.OURS else f", {policy.owner}"
        lines.append(f"  {statement}")
        lines.append(f"      spid={entry.id}, {used}{by}")
        for request, level, spi, several in policy.served:
            sa = "no SA" if spi is None else f"SA 0x{spi:08x}"
            more = f" and {several - 1} more" if several > 1 else ""
            lines.append(f"      {request}: {level}, {sa}{more}")
    return [*lines, *_rest(counts.policies, most)]


def _sas(found: looking.Status, most: int | None) -> list[str]:
    lines = ["", click.style(f"SAs: {found.counts.sas}", bold=True)]
    for entry, state, share in islice(found.sas, most):
        age = _duration(time.time() - entry.created) if entry.created else "?"
        statement = shown_sa(entry.association).removeprefix("add ").removesuffix(";")
        used = f"used {_ago(entry.last_used)}" if entry.last_used else "never used"
        lines.append(f"  {statement}")
        line = f"      {entry.state.name.lower()}, age {age}, {entry.bytes} bytes,"
        line += f" {entry.packets} packets, {used}"
        if share is not None:
            line += f", lifetime {_bar(share)} {share * 100:.0f} %"
        lines.append(line)
        errors = ", ".join(
            f"{count} {word}"
            for word, count in zip(
                ("outside the window", "repeated", "failed authentication"),
                state.statistics,
                strict=True,
            )
            if count
        )
        if errors:
            lines.append(f"      errors: {errors}")
    return [*lines, *_rest(found.counts.sas, most)]


def _rest(count: int, most: int | None) -> list[str]:
    if most is None or count <= most:
        return []
    return [f"  and {count - most} more: --all shows them"]


def _bar(share: float) -> str:
    full = round(share * _BAR)
    return f"[{'#' * full}{'.' * (_BAR - full)}]"


def _ago(when: int) -> str:
    return f"{_duration(time.time() - when)} ago"


def _duration(seconds: float) -> str:
    seconds = max(0, int(seconds))
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"


# The document


def _print_json(found: looking.Status, *, one_line: bool) -> None:
    from kamexfrm.operator.document import document, iter_text

    whole = document(
        "status",
        problems=[problem._asdict() for problem in found.problems],
        knobs={knob.name: found.knobs.value(knob) for knob in KNOBS},
        policies=map(_policy_member, found.policies),
        sas=map(_sa_member, found.sas),
        counters=found.counters,
        sockets=found.counts.sockets,
    )
    for piece in iter_text(whole, one_line=one_line):
        click.echo(piece, nl=False)


def _policy_member(policy: looking.PolicyStatus) -> dict[str, Any]:
    entry = policy.entry
    return {
        "position": policy.position,
        "id": entry.id,
        "text": shown_policy(entry.policy),
        "direction": entry.policy.direction.name.lower(),
        "owner": entry.owner.name.lower(),
        "made_by": policy.owner,
        "automatic_fwd": entry.twin,
        "created": entry.created or None,
        "last_used": entry.last_used or None,
        "requests": [served._asdict() for served in policy.served],
    }


def _sa_member(sa: SaStatus) -> dict[str, Any]:
    entry, state, share = sa
    association = entry.association
    esn, plain = state.replay_esn, state.replay
    last = esn or plain
    high = (esn.oseq_hi << 32, esn.seq_hi << 32) if esn else (0, 0)
    errors = state.statistics
    return {
        "spi": association.spi,
        "protocol": association.protocol.name.lower(),
        "source": str(association.source),
        "destination": str(association.destination),
        "text": shown_sa(association),
        "state": entry.state.name.lower(),
        "created": entry.created or None,
        "last_used": entry.last_used or None,
        "bytes": entry.bytes,
        "packets": entry.packets,
        "lifetime_over": None if share is None else round(share, 4),
        "replay": {
            "window": association.replay_window,
            "out": high[0] + last.oseq if last else 0,
            "in": high[1] + last.seq if last else 0,
        },
        "errors": {
            "outside_window": errors.replay_window,
            "repeated": errors.replay,
            "failed_authentication": errors.integrity_failed,
        },
    }
