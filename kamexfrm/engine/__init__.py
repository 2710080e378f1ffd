"""The engine: writes and reads the kernel's IPsec databases with KAME's meaning.

``Engine`` takes write requests as typed objects, carries them out in batches, and returns the
rejected ones in a ``Written``. Its reads return what ``kamexfrm.model`` has for SAs, policies and
knobs. ``set_policy`` gives a socket a policy of its own.

Read on in this order: ``requests``, ``engine``, ``writer`` (a queue under the namespace's lock),
``session`` (what one write of a queue knows), ``transactions`` (sending and rollback), then what
each request does: ``spd_add``, ``spd_delete``, ``sad``, ``knobs``.
"""

from kamexfrm.lazy import exports

TYPE_CHECKING = False  # typing takes long to load
if TYPE_CHECKING:
    from kamexfrm.engine.engine import Engine
    from kamexfrm.engine.requests import (
        MAX_ACTING,
        MAX_REQUESTS,
        IncompleteWrite,
        Rejected,
        SaAdd,
        SaDelete,
        SaDeleteAll,
        SaFlush,
        SetKnob,
        SpdAdd,
        SpdDelete,
        SpdDeleteId,
        SpdFlush,
        Write,
        Written,
    )
    from kamexfrm.engine.socket_policy import option_value, set_policy
    from kamexfrm.engine.writer import Reconciled
else:
    __getattr__, __dir__ = exports(
        __name__,
        {
            "engine": "Engine",
            "requests": "MAX_ACTING MAX_REQUESTS IncompleteWrite Rejected SaAdd SaDelete"
            " SaDeleteAll SaFlush SetKnob SpdAdd SpdDelete SpdDeleteId SpdFlush Write Written",
            "socket_policy": "option_value set_policy",
            "writer": "Reconciled",
        },
    )

__all__ = [
    "MAX_ACTING",
    "MAX_REQUESTS",
    "Engine",
    "IncompleteWrite",
    "Reconciled",
    "Rejected",
    "SaAdd",
    "SaDelete",
    "SaDeleteAll",
    "SaFlush",
    "SetKnob",
    "SpdAdd",
    "SpdDelete",
    "SpdDeleteId",
    "SpdFlush",
    "Write",
    "Written",
    "option_value",
    "set_policy",
]
