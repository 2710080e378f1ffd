"""What policies and SAs have on Linux alone, written as setkey reads it and as plain data."""

from kamexfrm.model.association import LinuxParts
from kamexfrm.model.policy import Mark, Scope


def device_name(interface: int) -> str:
    """Return a device's name in this network namespace; of one that is gone its index.

    A forged index may be negative, or wider than the C call takes: it is printed as it is.
    """
    from _socket import if_indextoname  # rarely needed

    try:
        return if_indextoname(interface)
    except (OSError, OverflowError):
        return str(interface)


def format_mark(mark: Mark) -> str:
    """Return a mark with its mask, which is left out where it has all bits.

    >>> format_mark(Mark(5, 0xFF)), format_mark(Mark(5))
    ('0x5/0xff', '0x5')
    """
    return f"0x{mark.value:x}" + ("" if mark.mask == 0xFFFFFFFF else f"/0x{mark.mask:x}")


def mark_to_dict(mark: Mark | None) -> dict[str, int] | None:
    """Return a mark as plain data."""
    return None if mark is None else {"value": mark.value, "mask": mark.mask}


def scope_words(scope: Scope) -> str:
    """Return what narrows a selector as spdadd takes it, each word after a space.

    >>> scope_words(Scope(mark=Mark(5), if_id=7))
    ' mark 0x5 if_id 7'
    """
    words = f" dev {device_name(scope.interface)}" if scope.interface else ""
    if scope.mark:
        words += f" mark {format_mark(scope.mark)}"
    return words + f" if_id {scope.if_id}" if scope.if_id else words


def linux_words(linux: LinuxParts) -> list[str]:
    """Return what an SA has, but for its selector, as options that ``add`` takes."""
    words = []
    if linux.interface:
        words.append(f"dev {device_name(linux.interface)}")
    if linux.mark:
        words.append(f"mark {format_mark(linux.mark)}")
    if linux.output_mark:
        words.append(f"output-mark {format_mark(linux.output_mark)}")
    if linux.if_id:
        words.append(f"if_id {linux.if_id}")
    if linux.direction:
        words.append(f"dir {linux.direction.name.lower()}")
    if linux.offload:
        words.append(f"-hwif {device_name(linux.offload.interface)}")
    if linux.nat_keepalive:
        words.append(f"nat-keepalive-interval {linux.nat_keepalive}")
    if linux.processor is not None:
        words.append(f"pcpu-num {linux.processor}")
    if linux.numbers:
        sent, received, seen = linux.numbers
        words.append(f"oseq {sent} iseq {received} ibits 0x{seen:x}")
    return words
