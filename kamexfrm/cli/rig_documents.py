"""JSON documents of cases and of rigs that are up; kamexfrm-json(7) describes them."""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from kamexfrm.operator.document import document

if TYPE_CHECKING:
    from kamexfrm.rig.scenario.plan import Case
    from kamexfrm.rig.scenario.run.holder import Held


def cases_document(cases: "Iterable[Case]") -> dict[str, Any]:
    """Return the document of ``kamexfrm rig list``."""
    rows = [
        {
            "file": case.file,
            "case": case.name,
            "title": case.title,
            "hosts": list(case.hosts),
            "steps": len(case.steps),
            "needs": list(case.needs),
        }
        for case in cases
    ]
    return document("rig-list", cases=rows)


def rigs_document(rigs: "Iterable[Held]") -> dict[str, Any]:
    """Return the document of ``kamexfrm rig ls``."""
    rows = [
        {
            "name": rig.name,
            "case": rig.case,
            "hosts": list(rig.hosts),
            "process": rig.process,
            "guest": bool(rig.shared),
        }
        for rig in rigs
    ]
    return document("rig-ls", rigs=rows)


def dump_document(rig: "Held", hosts: Mapping[str, Any]) -> dict[str, Any]:
    """Return the document of ``kamexfrm rig dump``, of each host's document of its status."""
    return document("rig-dump", name=rig.name, hosts=dict(hosts))
