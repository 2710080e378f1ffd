"""Runs: the answers at the beginning of a datagram, whole and unread."""

from random import Random

from kamexfrm.xfrm import (
    NLM_F_DUMP_INTR,
    NLM_F_MULTI,
    NLMSG_DONE,
    XfrmMsg,
    make_run,
    message,
    read_run,
    split_messages,
)

KIND, OTHER = int(XfrmMsg.NEWPOLICY), int(XfrmMsg.NEWSA)


def _message(
    payload: bytes, *, kind: int = KIND, flags: int = NLM_F_MULTI, number: int = 7
) -> bytes:
    return message(kind, flags, number, payload, pid=99)


def test_a_run_is_what_the_messages_are_one_by_one() -> None:
    random = Random(1)
    for _ in range(2000):
        parts = [
            _message(
                random.randbytes(random.choice((8, 8, 8, 8, 12, 5, 0))),
                kind=random.choice((KIND,) * 20 + (OTHER, NLMSG_DONE)),
                flags=random.choice((NLM_F_MULTI,) * 20 + (NLM_F_DUMP_INTR,)),
                number=random.choice((7,) * 30 + (8,)),
            )
            for _ in range(random.randrange(9))
        ]
        data = b"".join(parts)
        run = read_run(data, KIND, 7)
        expected = []
        for each in split_messages(data):
            if (each.type, each.sequence) != (KIND, 7) or each.flags & NLM_F_DUMP_INTR:
                break
            expected.append(bytes(each.payload))
        assert list(run.payloads()) == expected[: run.count]
        assert [run.payload(at) for at in range(run.count)] == expected[: run.count]
        assert bool(run.count) == bool(expected)  # the rest is read message by message
        assert data.startswith(run.data)


def test_a_length_that_cannot_be_ends_a_run() -> None:
    whole = _message(bytes(8)) * 3
    for at in (0, 24, 48):
        for length in (0, 7, 15, 200):
            data = whole[:at] + bytes((length,)) + whole[at + 1 :]
            assert read_run(data, KIND, 7).data == data[:at]
    for end in range(72):
        assert read_run(whole[:end], KIND, 7).data == whole[: end // 24 * 24]


def test_messages_of_one_length_are_known_to_be() -> None:
    assert read_run(_message(bytes(8)) * 3 + _message(b"", kind=NLMSG_DONE), KIND, 7).length == 24
    assert read_run(_message(bytes(8)) + _message(bytes(32)), KIND, 7).length == 0
    assert make_run(KIND, [bytes(8)] * 2).length == 24
    assert make_run(KIND, [bytes(8), bytes(4)]).length == 0
    assert make_run(KIND, []).count == 0
