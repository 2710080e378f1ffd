"""A page as a tree of elements; texts are escaped when the tree is written."""

from collections.abc import Iterable
from typing import TypeAlias
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

from kamexfrm.command_line import printable

Child: TypeAlias = "str | Element | Iterable[Child] | None"


def element(tag: str, *children: Child, **attributes: str | float) -> Element:
    r"""Return an element.

    ``class_`` stands for class and ``text_anchor`` for text-anchor. A text's characters that are
    not printable are shown as ``\x1b``.
    """
    names = {name.rstrip("_").replace("_", "-"): value for name, value in attributes.items()}
    made = Element(tag, {name: _attribute(value) for name, value in names.items()})
    _append(made, children)
    return made


def _attribute(value: str | float) -> str:
    return printable(value) if isinstance(value, str) else f"{value:g}"


def _append(parent: Element, children: Iterable[Child]) -> None:
    for child in children:
        if child is None:
            continue
        if isinstance(child, Element):
            parent.append(child)
        elif isinstance(child, str):
            _append_text(parent, printable(child))
        else:
            _append(parent, child)


def _append_text(parent: Element, text: str) -> None:
    if len(parent):
        parent[-1].tail = (parent[-1].tail or "") + text
    else:
        parent.text = (parent.text or "") + text


def written(root: Element) -> str:
    """Return a tree as HTML."""
    return ElementTree.tostring(root, encoding="unicode", method="html")
