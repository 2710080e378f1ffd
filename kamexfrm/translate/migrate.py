"""X_MIGRATE, which moves a policy and its SAs to other addresses. Pure.

Its X_POLICY holds requests in pairs: the old and the new addresses of a tunnel (Linux af_key.c
pfkey_migrate(), ipsecrequests_to_migrate()). ``event`` makes the broadcast of it.
"""

from kamexfrm.errors import invalid
from kamexfrm.model.policy import Direction, IpsecRequest, Level
from kamexfrm.net import Address
from kamexfrm.pfkey import KmAddress, Policy, SadbMsg
from kamexfrm.translate.pfkey.parts import address_from_sockaddr
from kamexfrm.translate.pfkey.policy import direction_from_extension, requests_from_extension
from kamexfrm.translate.pfkey.spd import selector_from_message
from kamexfrm.translate.xfrm.numbers import direction_to_kernel, mode_to_kernel
from kamexfrm.translate.xfrm.policy_name import selector_to_kernel
from kamexfrm.xfrm import XFRM_MAX_DEPTH, Migrate, Move, PolicyId
from kamexfrm.xfrm import KmAddress as XfrmKmAddress


def migrate_from_message(message: SadbMsg) -> Migrate:
    """Return what an X_MIGRATE asks for; raises KamexfrmError (EINVAL)."""
    policy = message.require(Policy)
    selector = selector_from_message(message)
    direction = direction_to_kernel(direction_from_extension(policy, Direction.FWD))
    requests = requests_from_extension(policy, from_kernel=True)
    pairs = tuple(zip(requests[::2], requests[1::2], strict=False))
    if not pairs or len(requests) % 2 or len(pairs) > XFRM_MAX_DEPTH:
        raise invalid(f"{len(requests)} requests are no pairs of old and new ones")
    identity = PolicyId(selector_to_kernel(selector), index=0, direction=direction)
    return Migrate(identity, tuple(_move(*pair) for pair in pairs), _km_address(message))


def _move(old: IpsecRequest, new: IpsecRequest) -> Move:
    old_source, old_destination = _ends(old)
    new_source, new_destination = _ends(new)
    if (old.protocol, old.mode, old.reqid) != (new.protocol, new.mode, new.reqid):
        raise invalid("two requests of a pair differ in more than their addresses")
    return Move(
        old_destination,
        old_source,
        new_destination,
        new_source,
        int(old.protocol),
        mode_to_kernel(old.mode),
        old.reqid if old.level is Level.UNIQUE else 0,
        old_source.family,
        new_source.family,
    )


def _ends(request: IpsecRequest) -> tuple[Address, Address]:
    if request.source is None or request.destination is None:
        raise invalid("a request without the addresses to go from or to")
    return request.source, request.destination


def _km_address(message: SadbMsg) -> XfrmKmAddress | None:
    extension = message.get(KmAddress)
    if extension is None:
        return None
    local, remote = address_from_sockaddr(extension.local), address_from_sockaddr(extension.remote)
    if local.family != remote.family:
        raise invalid("key managers of two families")
    return XfrmKmAddress(local, remote, local.family)
