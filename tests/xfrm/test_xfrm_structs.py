"""The struct layouts against ctypes, which lays C structs out by the platform's own rules."""

import ctypes as ct
from typing import Any

import pytest

from kamexfrm.xfrm import netlink, structs
from kamexfrm.xfrm.structs import Layout

u8, u16, u32, u64, i32 = ct.c_uint8, ct.c_uint16, ct.c_uint32, ct.c_uint64, ct.c_int32
xfrm_address = u32 * 4


def declare(name: str, **fields: type) -> type[ct.Structure]:
    """Make a C struct of fields in order."""
    return type(name, (ct.Structure,), {"_fields_": list(fields.items())})


selector = declare(
    "xfrm_selector", daddr=xfrm_address, saddr=xfrm_address, dport=u16, dport_mask=u16, sport=u16,
    sport_mask=u16, family=u16, prefixlen_d=u8, prefixlen_s=u8, proto=u8, ifindex=i32, user=u32,
)  # fmt: skip
identity = declare("xfrm_id", daddr=xfrm_address, spi=u32, proto=u8)
lifetime_cfg = declare("xfrm_lifetime_cfg", limits=u64 * 8)
lifetime_cur = declare("xfrm_lifetime_cur", counts=u64 * 4)
policy_info = declare(
    "xfrm_userpolicy_info", sel=selector, lft=lifetime_cfg, curlft=lifetime_cur, priority=u32,
    index=u32, dir=u8, action=u8, flags=u8, share=u8,
)  # fmt: skip
sa_info = declare(
    "xfrm_usersa_info", sel=selector, id=identity, saddr=xfrm_address, lft=lifetime_cfg,
    curlft=lifetime_cur, stats=u32 * 3, seq=u32, reqid=u32, family=u16, mode=u8, replay_window=u8,
    flags=u8,
)  # fmt: skip
sa_id = declare("xfrm_usersa_id", daddr=xfrm_address, spi=u32, family=u16, proto=u8)

LAYOUTS: dict[str, tuple[Layout, type[ct.Structure]]] = {
    "selector": (structs.SELECTOR, selector),
    "lifetime": (structs.LIFETIME_CURRENT, lifetime_cur),
    "policy": (structs.USERPOLICY_INFO, policy_info),
    "policy id": (
        structs.USERPOLICY_ID, declare("xfrm_userpolicy_id", sel=selector, index=u32, dir=u8),
    ),
    "template": (
        structs.USER_TMPL,
        declare(
            "xfrm_user_tmpl", id=identity, family=u16, saddr=xfrm_address, reqid=u32, mode=u8,
            share=u8, optional=u8, aalgos=u32, ealgos=u32, calgos=u32,
        ),
    ),
    "state": (structs.USERSA_INFO, sa_info),
    "state id": (structs.USERSA_ID, sa_id),
    "event id": (
        structs.AEVENT_ID,
        declare("xfrm_aevent_id", sa_id=sa_id, saddr=xfrm_address, flags=u32, reqid=u32),
    ),
    "report": (structs.USER_REPORT, declare("xfrm_user_report", proto=u8, sel=selector)),
    "mapping": (
        structs.USER_MAPPING,
        declare(
            "xfrm_user_mapping", id=sa_id, reqid=u32, old_saddr=xfrm_address,
            new_saddr=xfrm_address, old_sport=u16, new_sport=u16,
        ),
    ),
    "migrate": (
        structs.USER_MIGRATE,
        declare(
            "xfrm_user_migrate", old_daddr=xfrm_address, old_saddr=xfrm_address,
            new_daddr=xfrm_address, new_saddr=xfrm_address, proto=u8, mode=u8, reserved=u16,
            reqid=u32, old_family=u16, new_family=u16,
        ),
    ),
    "kmaddress": (
        structs.USER_KMADDRESS,
        declare(
            "xfrm_user_kmaddress", local=xfrm_address, remote=xfrm_address, reserved=u32,
            family=u16,
        ),
    ),
    "filter": (
        structs.ADDRESS_FILTER,
        declare(
            "xfrm_address_filter", saddr=xfrm_address, daddr=xfrm_address, family=u16, splen=u8,
            dplen=u8,
        ),
    ),
    "offload": (structs.USER_OFFLOAD, declare("xfrm_user_offload", ifindex=i32, flags=u8)),
    "encap": (
        structs.ENCAP_TMPL,
        declare(
            "xfrm_encap_tmpl", encap_type=u16, encap_sport=u16, encap_dport=u16,
            encap_oa=xfrm_address,
        ),
    ),
    "replay": (structs.REPLAY_STATE, declare("xfrm_replay_state", oseq=u32, seq=u32, bitmap=u32)),
    "replay esn": (structs.REPLAY_STATE_ESN, declare("xfrm_replay_state_esn", words=u32 * 6)),
    "algorithm": (structs.ALGO, declare("xfrm_algo", alg_name=u8 * 64, key_len=u32)),
    "algorithm with icv": (
        structs.ALGO_WITH_ICV, declare("xfrm_algo_auth", alg_name=u8 * 64, key_len=u32, trunc=u32),
    ),
    "mark": (structs.MARK, declare("xfrm_mark", v=u32, m=u32)),
    "policy type": (
        structs.USERPOLICY_TYPE,
        declare("xfrm_userpolicy_type", type=u8, reserved1=u16, reserved2=u8),
    ),
    "context": (
        structs.USER_SEC_CTX,
        declare("xfrm_user_sec_ctx", len=u16, exttype=u16, ctx_alg=u8, ctx_doi=u8, ctx_len=u16),
    ),
    "default": (structs.USERPOLICY_DEFAULT, declare("xfrm_userpolicy_default", dirs=u8 * 3)),
    "spd info": (structs.SPDINFO, declare("xfrmu_spdinfo", counts=u32 * 6)),
    "buckets": (structs.HASH_INFO, declare("xfrmu_sadhinfo", now=u32, maximum=u32)),
    "threshold": (structs.HASH_THRESHOLD, declare("xfrmu_spdhthresh", lbits=u8, rbits=u8)),
    "netlink": (
        netlink.HEADER, declare("nlmsghdr", len=u32, type=u16, flags=u16, seq=u32, pid=u32),
    ),
}  # fmt: skip

#: Structs that the codec writes in pieces: what follows the first piece, and where.
PIECES = {
    "acquire": (
        declare(
            "xfrm_user_acquire", id=identity, saddr=xfrm_address, sel=selector, policy=policy_info,
            algos=u32 * 3, seq=u32,
        ),
        (structs.ACQUIRE_HEAD, structs.USERPOLICY_INFO, structs.ACQUIRE_TAIL),
        ("policy", "algos"),
    ),
    "expire": (
        declare("xfrm_user_expire", state=sa_info, hard=u8),
        (structs.USERSA_INFO, structs.HARD),
        ("hard",),
    ),
    "policy expire": (
        declare("xfrm_user_polexpire", pol=policy_info, hard=u8),
        (structs.USERPOLICY_INFO, structs.HARD),
        ("hard",),
    ),
    "spi range": (
        declare("xfrm_userspi_info", info=sa_info, min=u32, max=u32),
        (structs.USERSA_INFO, structs.USERSPI_RANGE),
        ("min",),
    ),
}  # fmt: skip


def used(kind: Any, offset: int = 0) -> list[tuple[int, int]]:
    """Return (offset, size) of the scalars in a C type, those of nested structs included."""
    if not issubclass(kind, ct.Structure):
        return [(offset, ct.sizeof(kind))]
    found = []
    for name, inner, *_ in kind._fields_:
        found += used(inner, offset + getattr(kind, name).offset)
    return found


@pytest.mark.parametrize("name", LAYOUTS)
def test_a_layout_has_its_fields_and_its_padding_where_c_has_them(name: str) -> None:
    layout, kind = LAYOUTS[name]
    assert layout.size == ct.sizeof(kind)
    pattern = bytes(1 + i % 255 for i in range(layout.size))
    expected = bytearray(layout.size)
    for offset, size in used(kind):
        expected[offset : offset + size] = pattern[offset : offset + size]
    assert layout.pack(*layout.unpack(pattern)) == bytes(expected)


@pytest.mark.parametrize("name", PIECES)
def test_a_struct_in_pieces_has_them_where_c_has_them(name: str) -> None:
    kind, pieces, later = PIECES[name]
    offsets = [getattr(kind, field).offset for field in later]
    sizes = [piece.size for piece in pieces]
    assert sum(sizes) == ct.sizeof(kind)
    assert offsets == [sum(sizes[: i + 1]) for i in range(len(later))]
