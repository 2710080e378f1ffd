"""Setkey's statements as requests of the engine."""

from collections.abc import Iterator

from kamexfrm.engine import requests
from kamexfrm.errors import UnsupportedError, invalid
from kamexfrm.model.association import SaId
from kamexfrm.setkey import statements as s
from kamexfrm.setkey.parser import parse


def requests_of(text: str) -> Iterator[requests.Write]:
    """Yield what statements ask the kernel to write, in their order.

    Raises LanguageError for a mistake, KamexfrmError (EINVAL) for a statement that only prints, and
    UnsupportedError for what Linux lacks.
    """
    for statement in parse(text):
        if isinstance(statement, s.Exit):
            return
        yield from _of(statement)


def _of(statement: s.Statement) -> Iterator[requests.Write]:
    match statement:
        case s.SpdAdd(_, _, policy):
            replace = isinstance(statement, s.SpdUpdate)
            yield requests.SpdAdd(policy, replace=replace, cookie=statement)
        case s.Add(_, _, word, associations):
            _need(associations, word)
            for association in associations:
                replace = isinstance(statement, s.Update)
                yield requests.SaAdd(association, replace, statement)
        case s.SpdDelete(_, _, selector, direction, label):
            yield requests.SpdDelete(selector, direction, cookie=statement, label=label)
        case s.SpdDeleteId(_, _, id):
            yield requests.SpdDeleteId(id, statement)
        case s.SpdFlush():
            yield requests.SpdFlush(statement)
        case s.Delete(_, _, word, _, id):
            _need(id, word)
            if id is not None:
                yield requests.SaDelete(id, statement)
        case s.DeleteAll(_, _, pairs, protocols):
            for source, destination in pairs:
                for protocol in protocols:
                    yield requests.SaDeleteAll(source, destination, protocol, statement)
        case s.Flush(_, _, protocols):
            for protocol in protocols:
                yield requests.SaFlush(protocol, statement)
        case s.Tagged():
            raise UnsupportedError("Linux has no packet tags of PF")
        case _:
            raise invalid(
                f"line {statement.end_line}: this statement writes nothing:"
                " get_sa() and get_policy() read"
            )


def named_sa(text: str) -> SaId:
    """Return the SA that ``get SRC DST PROTOCOL SPI`` names, with or without ``get`` and ``;``.

    Raises LanguageError, and KamexfrmError (EINVAL) for text that names anything else.
    """
    match _only("get", text):
        case s.Get(ids=(id,)):
            return id
    raise invalid("this names not one SA: SRC DST PROTOCOL SPI")


def named_policy(text: str) -> s.SpdGet | s.SpdGetId:
    """Return the policy that ``spdget SELECTOR -P DIRECTION`` names, or ``spdget spid=N``.

    ``spdget`` and ``;`` may be left out. Raises LanguageError, and KamexfrmError (EINVAL) for text
    that names anything else.
    """
    match _only("spdget", text):
        case (s.SpdGet() | s.SpdGetId()) as found:
            return found
    raise invalid("this names not one policy: SELECTOR -P DIRECTION, or spid=N")


def _only(word: str, text: str) -> s.Statement | None:
    """Return the one statement of a text, the first word and the semicolon given or not."""
    words = text.strip().rstrip(";")
    found = list(parse(f"{'' if words.startswith(f'{word} ') else f'{word} '}{words};"))
    return found[0] if len(found) == 1 else None


def _need(found: object, word: str) -> None:
    if not found:
        raise UnsupportedError(f"Linux XFRM has no {word or 'SA without a protocol'}")
