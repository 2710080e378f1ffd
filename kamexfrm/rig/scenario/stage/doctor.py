"""What this machine has for running scenarios, and how to get what is missing."""

import contextlib
import dataclasses
import os
import shutil

from kamexfrm.rig import guest
from kamexfrm.rig.probe import kernel_has_ah, kernel_has_esp
from kamexfrm.rig.scenario.stage import kernels
from kamexfrm.rig.scenario.stage.kernel_notes import notes_of


@dataclasses.dataclass(frozen=True, slots=True)
class Finding:
    """One check and its result; ``cure`` is what to do if it failed, ``note`` how to use it."""

    key: str
    what: str
    well: bool
    cure: str = ""
    note: str = ""

    def as_json(self) -> dict[str, object]:
        """Return what ``json.dumps`` takes."""
        return dataclasses.asdict(self)


def findings() -> list[Finding]:
    """Check namespaces, this kernel's ESP and AH, the guest, both kernels, and useful programs."""
    found = []
    privileged = kernels.may_make_namespaces()
    by_user = not privileged and kernels.may_make_user_namespaces()
    found.append(
        _finding(
            "namespaces",
            "network namespaces" + (" (in a user namespace)" if by_user else ""),
            privileged or by_user,
            "be root, or allow user namespaces: sysctl kernel.unprivileged_userns_clone=1",
        )
    )
    release = os.uname().release
    for name, has in (("esp", kernel_has_esp), ("ah", kernel_has_ah)):
        found.append(
            _finding(
                name,
                f"{name.upper()} in the running kernel {release}",
                privileged and has(),
                f"modprobe -a {name}4 {name}6, if its configuration has INET_{name.upper()}; "
                "the guest does without",
            )
        )
    try:
        guest.check()
        trouble = ""
    except guest.GuestError as error:
        trouble = str(error)
    found.append(
        _finding(
            "guest",
            "a guest kernel",
            not trouble,
            f"{trouble} (Debian: apt install user-mode-linux kmod)",
        )
    )
    found += _notes(os.uname().release, "running")
    with contextlib.suppress(guest.GuestError):
        found += _notes(guest.release(), "guest")
    for program, use in (
        ("ip", "iproute2: looking around"),
        ("tc", "iproute2: traffic control by hand"),
        ("wireshark", "reading captures with --pcap"),
    ):
        found.append(_finding(program, f"{program} ({use})", _has(program), "optional"))
    tshark = _finding(
        "tshark",
        "tshark (the same, without a window)",
        _has("tshark"),
        "optional: Debian's package tshark",
    )
    return [*found, dataclasses.replace(tshark, note=_key_table_note())]


def _key_table_note() -> str:
    """Return where Wireshark and tshark read keys of ESP, and which option has them decrypt."""
    base = os.environ.get("XDG_CONFIG_HOME") or os.path.expanduser("~/.config")
    return (
        f"to decrypt ESP, copy the .esp_sa file of --pcap to {base}/wireshark/esp_sa, then: "
        "tshark -o esp.enable_encryption_decode:TRUE -r FILE.pcap"
    )


def _notes(release: str, which: str) -> list[Finding]:
    """Return what a kernel does otherwise than Linux 6.1, one finding for each."""
    notes = notes_of(release)
    like = f"Linux {release} ({which}) treats packets as Linux 6.1 does"
    if not notes:
        return [_finding(f"differences-{which}", like, True, "")]
    text = "; ".join(f"{note.title}: {note.text}" for note in notes)
    return [_finding(f"differences-{which}", like, False, f"{text}. See CAVEATS in ipsec(4)")]


def able(found: list[Finding]) -> bool:
    """Whether packets can be protected somehow: a guest, or namespaces with ESP."""
    well = {finding.key for finding in found if finding.well}
    return "guest" in well or {"namespaces", "esp", "ah"} <= well


def _finding(key: str, what: str, well: bool, cure: str) -> Finding:
    return Finding(key, what, well, "" if well else cure)


def _has(program: str) -> bool:
    path = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
    return shutil.which(program, path=path) is not None
