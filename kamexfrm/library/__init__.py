"""What programs import: IPsec of a network namespace as Python objects.

Floor 8. ``import kamexfrm`` gives the names of this package. ``open`` gives an ``Ipsec``, and
``events`` gives ``Events``; the other functions make objects of the model from text and from
ipaddress objects. What is listed prints as setkey's statements, without keys.
"""

from typing import TYPE_CHECKING

from kamexfrm.lazy import exports

if TYPE_CHECKING:
    from kamexfrm.library.event_stream import Events, events
    from kamexfrm.library.ipsec import Ipsec, open
    from kamexfrm.library.knobs import FamilyKnobs, KnobAttributes
    from kamexfrm.library.objects import (
        address,
        key,
        packet,
        policy,
        sa,
        sa_from_text,
        sa_id,
        to_ipaddress,
    )
else:
    __getattr__, __dir__ = exports(
        __name__,
        {
            "event_stream": "Events events",
            "ipsec": "Ipsec open",
            "knobs": "FamilyKnobs KnobAttributes",
            "objects": "address key packet policy sa sa_from_text sa_id to_ipaddress",
        },
    )

__all__ = [
    "Events",
    "FamilyKnobs",
    "Ipsec",
    "KnobAttributes",
    "address",
    "events",
    "key",
    "open",
    "packet",
    "policy",
    "sa",
    "sa_from_text",
    "sa_id",
    "to_ipaddress",
]
