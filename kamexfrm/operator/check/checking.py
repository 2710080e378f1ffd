"""Checks a configuration, with its peer's if there is one."""

from collections.abc import Collection

from kamexfrm.operator.check.codes import Finding
from kamexfrm.operator.check.pair_rules import pair_findings, peer_findings
from kamexfrm.operator.check.policy_rules import policy_findings
from kamexfrm.operator.check.reading import Configuration, silenced
from kamexfrm.operator.check.rehearsing import rejections
from kamexfrm.operator.check.sa_rules import sa_findings
from kamexfrm.operator.check.text_rules import text_findings


def check(
    configuration: Configuration,
    peer: Configuration | None = None,
    ignore: Collection[str] = (),
) -> list[Finding]:
    """Return the findings in the order of files and lines, without those that are ignored."""
    found = [*text_findings(configuration), *rejections(configuration)]
    found += sa_findings(configuration)
    found += policy_findings(configuration)
    found += pair_findings(configuration)
    if peer is not None:
        found += peer_findings(configuration, peer)
    sources = (*configuration.sources, *(peer.sources if peer else ()))
    ignored = {source.file: source.ignored() for source in sources}
    order = {source.file: at for at, source in reversed(list(enumerate(sources)))}
    kept = {f for f in found if f.code not in ignore and not silenced(f, ignored)}
    return sorted(kept, key=lambda f: (order.get(f.place.file, 0), f.place, f.code, f.message))
