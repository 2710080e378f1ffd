"""The codes of findings, each with its severity and what it is about.

kamexfrm-check(8) has the same table, with an example of each that a test runs.
"""

from enum import IntEnum
from typing import NamedTuple

from kamexfrm.errors import Place


class Severity(IntEnum):
    """How bad a finding is: the larger the worse."""

    NOTE = 1
    WARNING = 2
    ERROR = 3


class Finding(NamedTuple):
    """One finding: where, what, and what to do; ``end_line`` is where its statement ends."""

    code: str
    place: Place
    end_line: int
    message: str
    cure: str

    @property
    def severity(self) -> Severity:
        """The severity, which the code has."""
        return CODES[self.code][0]


_E, _W, _N = Severity.ERROR, Severity.WARNING, Severity.NOTE

#: Severity and title of each code.
CODES: dict[str, tuple[Severity, str]] = {
    "KX001": (_E, "a statement that cannot be read"),
    "KX002": (_E, "a statement that is rejected"),
    "KX003": (_W, "host bits under a prefix"),
    "KX004": (_W, "an SA without its reverse"),
    "KX005": (_W, "in and out that do not mirror"),
    "KX006": (_W, "a policy that no SA can serve"),
    "KX007": (_N, "an SA that no policy uses"),
    "KX008": (_W, "an entry that is shadowed"),
    "KX009": (_W, "neighbour discovery is swallowed"),
    "KX010": (_W, "level default that may leak"),
    "KX011": (_N, "level use that may leak"),
    "KX012": (_W, "a broken algorithm"),
    "KX013": (_W, "encryption without authentication"),
    "KX014": (_W, "a counter mode without replay protection"),
    "KX015": (_E, "a counter mode's key used twice"),
    "KX016": (_W, "a key of repeated or counted bytes"),
    "KX017": (_W, "a reserved SPI"),
    "KX018": (_N, "an SPI used twice"),
    "KX019": (_N, "hmac-sha256 with 96 bits"),
    "KX020": (_E, "more than five requests"),
    "KX021": (_W, "AH inside ESP or IPComp"),
    "KX022": (_W, "a soft lifetime that is not below the hard one"),
    "KX023": (_W, "a name with several addresses"),
    "KX024": (_W, "a comment or quotation mark that swallows a statement"),
    "KX025": (_N, "a flush in a file that is not loaded at boot"),
    "KX026": (_W, "def_policy 0 without exemptions"),
    "KX027": (_E, "an SA that the peer lacks or has otherwise"),
    "KX028": (_E, "a policy that the peer lacks or has otherwise"),
    "KX029": (_N, "a key used for several SAs"),
    "KX030": (_N, "an old cipher of 64-bit blocks"),
}
