"""Findings about the text: what cannot be read, what swallows a statement, names, flushes."""

import re
from collections.abc import Iterator
from pathlib import PurePath

from kamexfrm.errors import Place
from kamexfrm.operator.check.codes import Finding
from kamexfrm.operator.check.reading import Chunk, Configuration, Source
from kamexfrm.setkey import statements as s
from kamexfrm.setkey.errors import ScriptError
from kamexfrm.setkey.lexer import COMMANDS

#: Where files are loaded from at boot.
_BOOT_FOLDERS = ("/etc/kamexfrm",)
_BOOT_FILES = ("/etc/ipsec-tools.conf", "/etc/racoon/setkey.conf")

_QUOTED_OR_COMMENT = re.compile(r'"[^"]*"|#[^\n]*')
_COMMAND = re.compile(rf"(?:^|[;\n])\s*(?:{'|'.join(COMMANDS)})\b")
_AFTER = re.compile(rf"\s*(?:#[^\n]*\n\s*)*(?:{'|'.join(COMMANDS)})\b")


def text_findings(configuration: Configuration) -> Iterator[Finding]:
    """Yield the findings of all files."""
    for source in configuration.sources:
        yield from map(_error, source.errors)
        for chunk in source.chunks():
            yield from _swallowed(chunk)
        yield from _names(source)
        yield from _flush(source)


def _error(error: ScriptError) -> Finding:
    place = error.place or Place("-", 1)
    reason = error.reason or (error.hints[:1] and error.hints[0]) or "parse failed"
    token = f" at `{error.token}'" if error.token else ""
    hints = [hint for hint in error.hints if hint != reason]
    cure = "; ".join(hints) or "setkey(8) describes the language"
    return Finding("KX001", place, place.line, f"{reason}{token}", cure)


def _swallowed(chunk: Chunk) -> Iterator[Finding]:
    """Find semicolons in a comment or text, behind which the next line begins a statement."""
    for token in _QUOTED_OR_COMMENT.finditer(chunk.text):
        is_text = token[0][0] == '"'
        inside = token[0][1:]
        if is_text and not ("\n" in inside and _COMMAND.search(inside)):
            continue
        if not is_text and not (";" in inside and _AFTER.match(chunk.text, token.end())):
            continue
        lines = chunk.text.count("\n", 0, token.start())
        column = token.start() - chunk.text.rfind("\n", 0, token.start())
        place = Place(
            chunk.place.file,
            chunk.place.line + lines,
            column if lines else chunk.place.column + token.start(),
        )
        if is_text:
            message = "a text in quotation marks goes over statements on further lines"
            cure = "close the quotation mark that is opened here"
        else:
            message = (
                "the semicolon of this statement is in the comment, so the next line is part of it"
            )
            cure = "put the semicolon before the #"
        yield Finding("KX024", place, place.line, message, cure)


def _names(source: Source) -> Iterator[Finding]:
    several = {name: found for name, found in source.names.items() if len(found) > 1}
    if not several:
        return
    for chunk in source.chunks():
        for name in re.findall(r"[A-Za-z0-9:][A-Za-z0-9:%.-]*", chunk.text):
            addresses = several.pop(name, None)
            if addresses is None:
                continue
            families = {":" in address for address in addresses}
            what = "of both families" if len(families) > 1 else "of one family"
            shown = ", ".join(addresses[:3])
            message = f"{name} has {len(addresses)} addresses {what}: {shown}"
            cure = "write the address that is meant, or -4 or -6 before the names"
            end = chunk.place.line + chunk.text.count("\n")
            yield Finding("KX023", chunk.place, end, message, cure)


def _flush(source: Source) -> Iterator[Finding]:
    path = PurePath(source.file)
    is_boot = source.file in _BOOT_FILES or str(path.parent) in _BOOT_FOLDERS
    if is_boot or source.file in ("-", "/dev/stdin"):
        return
    for statement in source.statements:
        if isinstance(statement, s.Flush | s.SpdFlush):
            message = "this deletes all that is loaded, also what other files made"
            cure = (
                "if it is the host's whole configuration, put it into /etc/kamexfrm; else delete"
                " the entries one by one, or use kamexfrm apply"
            )
            yield Finding("KX025", statement.place, statement.end_line, message, cure)
            return
