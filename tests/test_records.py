"""``kamexfrm.records.NamedTuple`` is what ``typing.NamedTuple`` is, but for what it loads."""

import copy
import pickle
from typing import Any
from typing import NamedTuple as Original

import pytest

from kamexfrm.records import NamedTuple


class Mine(NamedTuple):
    """A record."""

    first: int
    second: str = "b"
    third: tuple[int, ...] = ()

    @property
    def double(self) -> int:
        """Twice the first."""
        return self.first * 2


class Theirs(Original):
    """A record."""

    first: int
    second: str = "b"
    third: tuple[int, ...] = ()

    @property
    def double(self) -> int:
        """Twice the first."""
        return self.first * 2


BOTH = [Mine, Theirs]


@pytest.mark.parametrize("kind", BOTH)
def test_a_record_is_a_tuple_with_names(kind: Any) -> None:
    one = kind(1, third=(3,))
    assert one == (1, "b", (3,))
    assert (one.first, one.second, one.third, one.double) == (1, "b", (3,), 2)
    assert repr(one) == f"{kind.__name__}(first=1, second='b', third=(3,))"
    assert hash(one) == hash((1, "b", (3,)))
    assert one._replace(second="c") == (1, "c", (3,))
    assert one._asdict() == {"first": 1, "second": "b", "third": (3,)}
    assert kind._make([4, 5, 6]) == (4, 5, 6)
    assert pickle.loads(pickle.dumps(one)) == one  # noqa: S301 (our own)
    assert type(copy.deepcopy(one)) is kind
    match one:
        case kind(first, second):
            assert (first, second) == (1, "b")
        case _:
            pytest.fail("no match")


@pytest.mark.parametrize("kind", BOTH)
@pytest.mark.parametrize(
    ("call", "error"),
    [
        (lambda kind: kind(), TypeError),
        (lambda kind: kind(1, 2, 3, 4), TypeError),
        (lambda kind: kind(1, fourth=4), TypeError),
        (lambda kind: kind._make([1]), TypeError),
        (lambda kind: kind(1)._replace(fourth=4), (TypeError, ValueError)),
        (lambda kind: setattr(kind(1), "first", 2), AttributeError),
        (lambda kind: setattr(kind(1), "fourth", 2), AttributeError),
    ],
)
def test_what_is_wrong_is_refused(kind: Any, call: Any, error: Any) -> None:
    with pytest.raises(error):
        call(kind)


def test_all_that_a_class_tells_is_the_same() -> None:
    for name in ("_fields", "_field_defaults", "__match_args__", "__doc__", "__annotations__"):
        assert getattr(Mine, name) == getattr(Theirs, name)
    assert Mine.__new__.__defaults__ == Theirs.__new__.__defaults__
    assert vars(Mine)["__slots__"] == vars(Theirs)["__slots__"] == ()
    with pytest.raises(TypeError, match="default"):
        exec("class Wrong(NamedTuple):\n    first: int = 1\n    second: int\n")  # noqa: S102
