"""Encode a policy as netlink XFRM, and decode it again. No socket is opened."""

from kamexfrm import xfrm
from kamexfrm.net import AF_INET, IPPROTO_ESP, Address

NLM_F_REQUEST = 1


def main() -> None:
    """Show the bytes of a policy, and what they decode to."""
    here, there = Address.parse("10.0.0.1"), Address.parse("10.0.0.2")
    selector = xfrm.Selector(there, here, family=AF_INET, destination_prefix=32, source_prefix=32)
    anywhere = Address.unspecified(AF_INET)
    template = xfrm.Template(
        anywhere, anywhere, IPPROTO_ESP, xfrm.XFRM_MODE_TRANSPORT, family=AF_INET
    )
    policy = xfrm.Policy(selector, xfrm.XFRM_POLICY_OUT, templates=(template,))

    payload = xfrm.encode_policy(policy)
    wire = xfrm.message(xfrm.XfrmMsg.NEWPOLICY, NLM_F_REQUEST, 1, payload)
    print(f"{len(wire)} bytes: {wire[:24].hex(' ')} ...")

    [message] = xfrm.split_messages(wire)
    decoded = xfrm.decode_policy(message.payload)
    print(f"from {decoded.selector.source} to {decoded.selector.destination}")
    print(decoded == policy)


if __name__ == "__main__":
    main()
