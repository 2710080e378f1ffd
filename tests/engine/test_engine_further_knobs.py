"""The knobs beyond ipsec(4)'s ten: what new SAs and SPIs come to, and where the values are kept."""

from typing import Any

import pytest

from kamexfrm.algorithms import Kind, by_name, written_icv
from kamexfrm.engine.requests import SaAdd, SetKnob, SpdFlush
from kamexfrm.errors import UnsupportedError
from kamexfrm.kernel.fake import FakeKernel
from kamexfrm.model.association import Key, SaFlag, SecurityAssociation
from kamexfrm.model.knobs import Knobs, knob
from kamexfrm.model.policy import IpsecProtocol, Mode
from kamexfrm.net import Address
from kamexfrm.translate.xfrm.marker import MARKER_ID, Marker, marker_policy
from kamexfrm.xfrm import (
    XFRM_STATE_AF_UNSPEC,
    XFRM_STATE_NOECN,
    XFRM_STATE_NOPMTUDISC,
    State,
    XfrmMsg,
    encode_policy,
)
from tests.engine.engine_samples import (
    A6,
    B6,
    ESP,
    IN,
    IPCOMP,
    OUT,
    TRANSPORT,
    TUNNEL,
    UNIQUE,
    A,
    Asker,
    B,
    association,
    image,
    ipsec,
    marker_of,
    perform,
    request,
)

DFBIT, ECN, ECN6 = "net.inet.ipsec.dfbit", "net.inet.ipsec.ecn", "net.inet6.ipsec6.ecn"
SPI_MIN, SPI_MAX = "net.key.spi_minval", "net.key.spi_maxval"
LARVAL, SHA256 = "net.key.larval_lifetime", "net.key.sha256_icv"


@pytest.fixture
def fake() -> Asker:
    return Asker(FakeKernel())


def write(asker: Asker, **values: int) -> None:
    """Write knobs by their constants' names here."""
    asker.must(*[SetKnob(knob(globals()[name]), value) for name, value in values.items()])


def state(asker: Asker, spi: int) -> State:
    return next(s for s in asker.kernel.states() if s.spi == spi)


def flags(asker: Asker, spi: int) -> int:
    return state(asker, spi).flags & ~XFRM_STATE_AF_UNSPEC


def sa(spi: int, mode: Mode, **fields: Any) -> SaAdd:
    return SaAdd(association(spi, mode, **fields))


# Tunnels


def test_dfbit_and_ecn_are_flags_of_tunnels_made_from_then_on(fake: Asker) -> None:
    six = {"source": A6, "destination": B6}
    fake.must(sa(1, TUNNEL), sa(2, TUNNEL, **six))
    write(fake, DFBIT=0)
    fake.must(sa(3, TUNNEL), sa(4, TUNNEL, **six), sa(5, TRANSPORT))
    write(fake, ECN=0)
    fake.must(sa(6, TUNNEL), sa(7, TUNNEL, **six), sa(8, TRANSPORT))
    write(fake, DFBIT=2, ECN6=0)
    fake.must(sa(9, TUNNEL), sa(10, TUNNEL, **six), sa(11, TRANSPORT, **six))
    write(fake, ECN=1, ECN6=1)
    fake.must(sa(12, TUNNEL), sa(13, TUNNEL, **six))
    df, ecn = XFRM_STATE_NOPMTUDISC, XFRM_STATE_NOECN
    expected = {3: df, 6: df | ecn, 9: ecn, 10: ecn}
    assert {n: flags(fake, n) for n in range(1, 14)} == {
        n: expected.get(n, 0) for n in range(1, 14)
    }


def test_knobs_and_sas_take_effect_in_the_order_of_the_requests(fake: Asker) -> None:
    off, on = SetKnob(knob(DFBIT), 0), SetKnob(knob(DFBIT), 2)
    fake.must(sa(1, TUNNEL), off, sa(2, TUNNEL), on, sa(3, TUNNEL))
    assert [flags(fake, n) for n in (1, 2, 3)] == [0, XFRM_STATE_NOPMTUDISC, 0]


def test_flags_that_somebody_asks_for_stay(fake: Asker) -> None:
    fake.must(sa(1, TUNNEL, flags=SaFlag.NOECN))
    write(fake, DFBIT=0)
    fake.must(sa(2, TUNNEL, flags=SaFlag.NOECN))
    assert flags(fake, 1) == XFRM_STATE_NOECN
    assert flags(fake, 2) == XFRM_STATE_NOECN | XFRM_STATE_NOPMTUDISC


def test_an_sa_of_mode_any_is_made_as_a_tunnel_would_be_and_stays_so(fake: Asker) -> None:
    fake.must(sa(1, Mode.ANY))
    write(fake, DFBIT=0)
    fake.must(sa(2, Mode.ANY, destination=A, source=B))
    write(fake, DFBIT=2)
    fake.add(ipsec(0, OUT, request(mode=TUNNEL)), ipsec(1, OUT, request(mode=TUNNEL, ends=(B, A))))
    assert [state(fake, n).mode for n in (1, 2)] == [1, 1]
    assert [flags(fake, n) for n in (1, 2)] == [0, XFRM_STATE_NOPMTUDISC]


# hmac-sha256


def digest(name: str, icv: int | None = None) -> dict[str, Key]:
    row = by_name(Kind.AUTHENTICATION, name)
    assert row
    return {"authentication": Key(row, bytes(32), written_icv(row) if icv is None else icv)}


def icv(asker: Asker, spi: int) -> int:
    found = state(asker, spi).authentication
    assert found
    return found.truncation_bits


def test_plain_hmac_sha256_is_as_long_as_the_knob_says_when_the_sa_is_made(fake: Asker) -> None:
    names = ("hmac-sha256", "hmac-sha2-256", "hmac-sha256-96", "hmac-sha256-128")
    for at, value in enumerate((96, 128)):
        write(fake, SHA256=value)
        fake.must(*[sa(16 * at + n, TUNNEL, **digest(name)) for n, name in enumerate(names, 1)])
    assert [icv(fake, n) for n in (1, 2, 3, 4)] == [96, 96, 96, 128]
    assert [icv(fake, n) for n in (17, 18, 19, 20)] == [128, 128, 96, 128]


def test_an_icv_that_is_given_as_a_number_stays(fake: Asker) -> None:
    write(fake, SHA256=128)
    fake.must(sa(1, TUNNEL, **digest("hmac-sha256", 96)))
    assert icv(fake, 1) == 96


def test_no_other_digest_follows_sha256_icv(fake: Asker) -> None:
    write(fake, SHA256=128)
    row = by_name(Kind.AUTHENTICATION, "hmac-sha512")
    assert row
    fake.must(sa(1, TUNNEL), sa(2, TUNNEL, authentication=Key(row, bytes(64))))
    assert (icv(fake, 1), icv(fake, 2)) == (96, 256)


# SPIs


def larval(protocol: IpsecProtocol = ESP, spi: int = 0, to: Address = B) -> SecurityAssociation:
    return SecurityAssociation(A, to, protocol, spi, TRANSPORT)


@pytest.mark.parametrize("ends", [(0x4000, 0x40FF), (0x40FF, 0x4000)])
def test_spis_are_chosen_between_the_two_knobs_whichever_is_greater(
    asker: Asker, ends: tuple[int, int]
) -> None:
    write(asker, SPI_MIN=ends[0], SPI_MAX=ends[1])
    found = {asker.engine.get_spi(larval()) for _ in range(4)}
    assert len(found) == 4
    assert all(0x4000 <= spi <= 0x40FF for spi in found)


def test_a_range_of_one_spi_gives_that_one(asker: Asker) -> None:
    write(asker, SPI_MIN=0xFFFFFFFF, SPI_MAX=0xFFFFFFFF)
    assert asker.engine.get_spi(larval()) == 0xFFFFFFFF


def test_an_spi_or_a_range_that_somebody_asks_for_is_used(asker: Asker) -> None:
    write(asker, SPI_MIN=0x4000, SPI_MAX=0x4000)
    assert asker.engine.get_spi(larval(spi=0x9000)) == 0x9000
    assert asker.engine.get_spi(larval(), 0x5000, 0x5000) == 0x5000


def test_the_range_for_ipcomp_ends_at_16_bits(fake: Asker) -> None:
    assert 0x100 <= fake.engine.get_spi(larval(IPCOMP)) <= 0xFFFF
    write(fake, SPI_MIN=0x10000, SPI_MAX=0x20000)
    assert fake.engine.get_spi(larval(IPCOMP)) == 0xFFFF


def test_larval_lifetime_is_the_kernels_and_holds_for_larval_sas_made_later(asker: Asker) -> None:
    asker.engine.get_spi(larval(spi=0x1000))
    write(asker, LARVAL=7)
    asker.engine.get_spi(larval(spi=0x1001))
    assert asker.kernel.larval_lifetime() == 7
    assert Asker(asker.kernel).engine.knobs() == Knobs(larval_lifetime=7)
    lives = {s.spi: s.lifetime.hard_add for s in asker.kernel.states()}
    assert lives == {0x1000: 30, 0x1001: 7}
    assert list(asker.kernel.policies()) == []


# Where they are kept


def test_further_knobs_are_kept_in_a_template_that_goes_with_them(asker: Asker) -> None:
    asker.add(ipsec(0, IN))
    assert asker.kernel.policy(MARKER_ID).templates == ()
    write(asker, DFBIT=0)
    assert len(asker.kernel.policy(MARKER_ID).templates) == 1
    write(asker, DFBIT=2)
    assert asker.kernel.policy(MARKER_ID).templates == ()


def test_a_further_knob_rewrites_no_entry(asker: Asker) -> None:
    asker.add(ipsec(0, IN), ipsec(1, OUT, request(mode=TUNNEL)))
    before = {p for p in image(asker.kernel) if not p.if_id}
    order = [p.index for p in asker.kernel.policies() if not p.if_id]
    write(asker, DFBIT=0, ECN=0, ECN6=0, SHA256=128, SPI_MIN=0x200, SPI_MAX=0x300)
    assert {p for p in image(asker.kernel) if not p.if_id} == before
    assert [p.index for p in asker.kernel.policies() if not p.if_id] == order


def test_further_knobs_outlive_flushes_and_whatever_else_is_written(asker: Asker) -> None:
    write(asker, DFBIT=0, SHA256=128, SPI_MIN=0x200)
    kept = Knobs(dfbit=0, sha256_icv=128, spi_minval=0x200)
    asker.add(ipsec(0, IN), ipsec(1, OUT, request(UNIQUE)))
    assert asker.engine.knobs() == kept
    asker.must(SpdFlush())
    assert asker.engine.knobs() == kept
    asker.turn("def_policy", 0)
    asker.add(ipsec(1))
    asker.must(SpdFlush())
    assert asker.engine.knobs() == kept._replace(inet=kept.inet._replace(def_policy=0))


def test_an_old_marker_without_a_template_has_them_where_they_start(asker: Asker) -> None:
    asker.turn("esp_trans_deflev", 2)
    asker.add(ipsec(0, IN))
    write(asker, SHA256=128)
    marker = asker.kernel.policy(MARKER_ID)
    perform(asker.kernel, XfrmMsg.UPDPOLICY, encode_policy(marker._replace(templates=())))
    other = Asker(asker.kernel)
    assert other.engine.knobs() == Knobs()._replace(inet=Knobs().inet._replace(esp_trans_deflev=2))
    other.add(ipsec(1))
    assert marker_of(asker.kernel).order == 2


@pytest.mark.parametrize(
    "forged",
    [
        {"spi": 0xFF},
        {"reqid": 0},
        {"source": Address(10, bytes((1, 1, 1, 96)).ljust(16, b"\0"))},
        {"source": Address(10, bytes((2, 1, 1, 100)).ljust(16, b"\0"))},
        {"source": Address(10, bytes((2, 1, 1, 96, 2)).ljust(16, b"\0"))},
        {"source": Address(10, bytes((2, 1, 1, 96, 1, 1)).ljust(16, b"\0"))},
        {"destination": B6},
        {"share": 0x80},
    ],
    ids=str,
)
def test_a_broken_template_makes_the_marker_unreadable_and_untouched(
    asker: Asker, forged: dict[str, Any]
) -> None:
    asker.add(ipsec(0))
    policy = marker_policy(Marker(Knobs(dfbit=0)))
    broken = policy._replace(templates=(policy.templates[0]._replace(**forged),))
    perform(asker.kernel, XfrmMsg.UPDPOLICY, encode_policy(broken))
    before = image(asker.kernel)
    other = Asker(asker.kernel)
    with pytest.raises(UnsupportedError, match="cannot be read"):
        other.engine.knobs()
    with pytest.raises(UnsupportedError):
        other.ask(SetKnob(knob(DFBIT), 2))
    assert image(asker.kernel) == before
    assert len(other.entries()) == 1


def test_further_knobs_that_were_lost_are_put_back_by_whoever_saw_them(asker: Asker) -> None:
    write(asker, DFBIT=0, SPI_MAX=0x1FF)
    known = marker_of(asker.kernel)
    perform(asker.kernel, XfrmMsg.FLUSHPOLICY)
    other = Asker(asker.kernel)
    assert other.engine.reconcile(known).restored
    assert Asker(asker.kernel).engine.knobs() == Knobs(dfbit=0, spi_maxval=0x1FF)
