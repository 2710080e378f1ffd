"""Characters that look like plain ones, or like nothing, and what to write in their place.

Word processors, web pages and input methods put them into files. Loaded where an error is worded.
"""

import re
import unicodedata

_LOOKALIKES = {
    "\ufeff": "this is a byte order mark: save the file without it",
    **dict.fromkeys("\u2010\u2011\u2012\u2013\u2014\u2212", "this is no plain minus sign: write -"),
    **dict.fromkeys("\u201c\u201d\u201e\u00ab\u00bb", 'this is no plain quotation mark: write "'),
    **dict.fromkeys("\u300c\u300d\u300e\u300f", 'this is no plain quotation mark: write "'),
    **dict.fromkeys("\u2018\u2019", "this is no plain apostrophe"),
    **dict.fromkeys("\u2044\u2215", "this is no plain slash: write /"),
    "\u061b": "this is no plain semicolon: write ;",
    "\u00a0": "this is a blank that does not break: write a plain one",
}

#: What may hold any character: a text in quotation marks and a comment.
_FREE = re.compile(r'"[^"]*"|#[^\n]*')
_ODD = re.compile(r"[^\t\n\r -~]")


def odd_character(word: str) -> str:
    """Return a hint about a character that stands in the place of a plain one, or nothing."""
    if len(word) != 1 or not _ODD.match(word):
        return ""
    known = _LOOKALIKES.get(word)
    if known:
        return known
    number = f"U+{ord(word):04X}"
    plain = unicodedata.normalize("NFKC", word)
    match unicodedata.category(word):
        case "Cs":
            return f"the byte 0x{ord(word) & 0xFF:02x} here is no UTF-8"
        case "Cc" | "Cf":
            return f"this is a character that does not show, {number}: take it out"
        case "Zs" | "Zl" | "Zp":
            return f"this is no plain blank but {number}: write a plain one"
        case _ if len(plain) == 1 and plain.isascii():
            return f"this only looks like {plain}, it is {number}: write {plain}"
        case _:
            name = unicodedata.name(word, "no character of ASCII").lower()
            return f"this is {name}, {number}: only texts in quotation marks may have it"


def odd_character_in(text: str, shown: str) -> str:
    """Return a hint about the first such character of a statement, or nothing.

    ``shown`` is the text with its keys masked: a letter or digit that may belong to one is not
    told.
    """
    found = _ODD.search(_FREE.sub("", text))
    if found is None:
        return ""
    if found[0].isalnum() and found[0] not in shown:
        return "a key without quotation marks is 0x and hexadecimal digits"
    return odd_character(found[0])
