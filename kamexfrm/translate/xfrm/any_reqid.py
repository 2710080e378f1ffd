"""Which entries use SAs of any reqid."""

from kamexfrm.model.policy import Direction, IpsecRequest, Level, PolicyType, SecurityPolicy


def is_any_reqid(request: IpsecRequest) -> bool:
    """Whether a request uses an SA of any reqid."""
    return request.level is not Level.UNIQUE and not request.reqid


def has_any_reqid(policy: SecurityPolicy) -> bool:
    """Whether an entry has outbound requests that use SAs of any reqid."""
    return (
        policy.direction is Direction.OUT
        and policy.type is PolicyType.IPSEC
        and any(map(is_any_reqid, policy.requests))
    )
