"""REGISTER's lists: both, in Linux's order, of what the kernel has."""

import errno

from kamexfrm import pfkey
from kamexfrm.algorithms import Kind
from kamexfrm.pfkey import SadbEalg, SadbMsg, SadbSatype, SadbType
from kamexfrm.translate.pfkey.register import NAMEABLE, supported
from kamexfrm.translate.xfrm.probe import available
from tests.translate.pfkey_vectors import VECTORS

REQUEST = SadbMsg(SadbType.SADB_REGISTER, SadbSatype.SADB_X_SATYPE_IPCOMP, seq=4, pid=0x4B41)
ALL = tuple(row for row in NAMEABLE if row.name != "sm3")  # 6.1 has none


def test_the_lists_are_linuxs_with_aes_gcm_at_their_end() -> None:
    recorded = VECTORS["register-ipcomp"].heard[0]
    reply = supported(REQUEST, ALL)
    assert reply.get(pfkey.SupportedAuth) == recorded.get(pfkey.SupportedAuth)
    encrypt = reply.require(pfkey.SupportedEncrypt).algorithms
    assert encrypt[:-1] == recorded.require(pfkey.SupportedEncrypt).algorithms
    assert encrypt[-1] == pfkey.Algorithm(SadbEalg.SADB_X_EALG_AES_GCM_ICV16, 8, 160, 288)
    assert (reply.satype, reply.seq, reply.pid) == (recorded.satype, recorded.seq, recorded.pid)


def test_both_lists_are_there_though_one_is_empty() -> None:
    reply = supported(REQUEST, ())
    assert reply.require(pfkey.SupportedAuth).algorithms == ()
    assert reply.require(pfkey.SupportedEncrypt).algorithms == ()
    assert pfkey.decode(pfkey.encode(reply)) == reply


def test_what_the_kernel_does_not_know_by_name_is_missing() -> None:
    refusals = [(0, errno.ENOSYS), (1, errno.EPROTONOSUPPORT)]
    assert available(NAMEABLE, refusals) == NAMEABLE[1:]


def test_only_what_pf_key_can_name_is_asked_for() -> None:
    numbers = [(row.kind is Kind.AUTHENTICATION, row.number) for row in NAMEABLE]
    assert len(set(numbers)) == len(numbers)
    assert all(row.kernel for row in NAMEABLE)
