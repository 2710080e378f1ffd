"""PF_KEY messages as text, the way ipsec-tools' libipsec shows them for setkey -v and -x.

The form is that of version 0.9.1 byte for byte (key_debug.c kdebug_sadb()) but for two things: a
key is masked, and an extension that the original does not know does not end the message.
"""

from collections.abc import Iterator
from typing import Final

from kamexfrm import pfkey
from kamexfrm.net import AF_INET6

#: Extensions of which the original shows the head only.
_SILENT: Final = (pfkey.Sensitivity, pfkey.SpiRange, pfkey.KmPrivate)

_UINT32 = 0xFFFFFFFF


def format_message(message: pfkey.SadbMsg, dialect: pfkey.Dialect = pfkey.LINUX) -> str:
    """Return a message as lines, without the blank one that setkey prints after it.

    An X_PROMISC message is shown with the message inside it.
    """
    if message.inner is not None:
        words = len(pfkey.encode(message, dialect)) // 8
        return _head(message, words) + format_message(message.inner, dialect)
    sizes = [len(pfkey.encode_extension(e, dialect)) // 8 for e in message.extensions]
    text = [_head(message, 2 + sum(sizes))]
    for extension, words in zip(message.extensions, sizes, strict=True):
        number = _number(extension, dialect)
        text.append(f"sadb_ext{{ len={words} type={number} }}\n")
        text += _extension(extension, number, dialect)
    return "".join(text)


def _head(message: pfkey.SadbMsg, words: int) -> str:
    return (
        f"sadb_msg{{ version={pfkey.PF_KEY_V2} type={message.type:d} errno={message.errno} "
        f"satype={message.satype:d}\n"
        f"  len={words} reserved={message.reserved} seq={message.seq} pid={message.pid}\n"
    )


def _number(extension: pfkey.Extension, dialect: pfkey.Dialect) -> int:
    if isinstance(extension, pfkey.UnknownExtension):
        return extension.number
    return dialect.number_of(type(extension))


def _extension(extension: pfkey.Extension, number: int, dialect: pfkey.Dialect) -> Iterator[str]:
    match extension:
        case pfkey.Sa():
            yield f"sadb_sa{{ spi={extension.spi} replay={extension.replay} "
            yield f"state={extension.state:d}\n  auth={extension.auth} "
            yield f"encrypt={extension.encrypt} flags=0x{extension.flags:08x} }}\n"
        case pfkey.Lifetime():
            # The original cuts all four to 32 bits.
            yield f"sadb_lifetime{{ alloc={extension.allocations}, "
            yield f"bytes={extension.bytes & _UINT32}\n"
            yield f"  addtime={extension.addtime & _UINT32}, "
            yield f"usetime={extension.usetime & _UINT32} }}\n"
        case pfkey.AddressExtension():
            reserved = extension.reserved.to_bytes(2, dialect.byte_order).hex()
            yield f"sadb_address{{ proto={extension.proto} prefixlen={extension.prefixlen} "
            yield f"reserved=0x{reserved} }}\n"
            yield _sockaddr(extension.sockaddr, dialect)
        case pfkey.KeyExtension():
            yield f"sadb_key{{ bits={extension.key.bits} reserved={extension.reserved}\n"
            yield f"  key={masked_key(extension.key.bits // 8)} }}\n"
        case pfkey.Sa2():
            yield f"sadb_x_sa2{{ mode={extension.mode:d} reqid={extension.reqid}\n"
            yield f"  reserved1={extension.reserved1} reserved2={extension.reserved2} "
            yield f"sequence={extension.sequence} }}\n"
        case pfkey.NatTType():
            yield f"sadb_x_nat_t_type{{ type={extension.type} }}\n"
        case pfkey.NatTPort():
            yield f"sadb_x_nat_t_port{{ port={extension.port} }}\n"
        case _:
            yield from _longer_extension(extension, number, dialect)


def _longer_extension(
    extension: pfkey.Extension, number: int, dialect: pfkey.Dialect
) -> Iterator[str]:
    match extension:
        case pfkey.Policy():
            yield from _policy(extension, dialect)
        case pfkey.Identity():
            yield from _identity(extension)
        case pfkey.Proposal():
            yield from _proposal(extension)
        case pfkey.Supported():
            yield "sadb_sup{\n"
            for row in extension.algorithms:
                yield f"  {{ id={row.id} ivlen={row.ivlen} min={row.minbits} max={row.maxbits} }}\n"
            yield "}\n"
        case pfkey.KmAddress():
            reserved = extension.reserved.to_bytes(4, dialect.byte_order).hex()
            yield f"sadb_x_kmaddress{{ reserved=0x{reserved} }}\n"
            yield _sockaddr(extension.local, dialect) + _sockaddr(extension.remote, dialect)
        case pfkey.Packet():
            yield f"sadb_x_packet{{ copylen={len(extension.packet)}\n"
            yield f"  packet={_hexadecimal(extension.packet)} }}\n"
        case _ if not isinstance(extension, _SILENT):
            # Differs from ipsec-tools: there, what follows an unknown extension is not shown.
            yield f"kdebug_sadb: invalid ext_type {number} was passed.\n"


def _policy(policy: pfkey.Policy, dialect: pfkey.Dialect) -> Iterator[str]:
    yield f"sadb_x_policy{{ type={policy.type:d} dir={policy.direction:d} "
    # Differs from ipsec-tools: the flags, as NetBSD shows them.
    yield f"flags=0x{policy.reserved:02x} id={policy.id:x} priority={policy.priority} }}\n"
    for request in policy.requests:
        length = len(request.encode(dialect))
        yield f" {{ len={length} proto={request.proto} mode={request.mode:d} "
        yield f"level={request.level:d} reqid={request.reqid}\n"
        yield _sockaddr(request.source, dialect) + _sockaddr(request.destination, dialect)
        yield " }\n"


def _identity(identity: pfkey.Identity) -> Iterator[str]:
    side = "src" if isinstance(identity, pfkey.IdentitySrc) else "dst"
    yield f"sadb_ident_{side}{{ type={identity.type:d} id={identity.id}"
    if identity.data:
        text = identity.data.partition(b"\0")[0]
        shown = "".join(chr(b) if 0x20 <= b < 0x7F else f"\\{b:03o}" for b in text)
        yield f'\n  str="{shown}"'
    yield " }\n"


def _proposal(proposal: pfkey.Proposal) -> Iterator[str]:
    yield f"sadb_prop{{ replay={proposal.replay}\n"
    for comb in proposal.combs:
        yield f"sadb_comb{{ auth={comb.auth} encrypt={comb.encrypt} "
        yield f"flags=0x{comb.flags:04x} reserved=0x{comb.reserved:08x}\n"
        yield f"  auth_minbits={comb.auth_minbits} auth_maxbits={comb.auth_maxbits} "
        yield f"encrypt_minbits={comb.encrypt_minbits} encrypt_maxbits={comb.encrypt_maxbits}\n"
        yield f"  soft_alloc={comb.soft_allocations} hard_alloc={comb.hard_allocations} "
        yield f"soft_bytes={comb.soft_bytes} hard_bytes={comb.hard_bytes}\n"
        # These four are times; the original's words for them are the ones above.
        yield f"  soft_alloc={comb.soft_addtime} hard_alloc={comb.hard_addtime} "
        yield f"soft_bytes={comb.soft_usetime} hard_bytes={comb.hard_usetime} }}\n"
    yield "}\n"


def _sockaddr(sockaddr: pfkey.AnySockaddr | None, dialect: pfkey.Dialect) -> str:
    if sockaddr is None:
        return ""
    if isinstance(sockaddr, pfkey.RawSockaddr):
        family = int.from_bytes(sockaddr.data[:2], dialect.byte_order)
        return f"sockaddr{{ len={sockaddr.size} family={family}  }}\n"
    address = sockaddr.address
    family = dialect.wire_family(address.family)
    text = f"sockaddr{{ len={sockaddr.size} family={family} port={sockaddr.port}\n"
    if address.family == AF_INET6:
        flow = sockaddr.flowinfo.to_bytes(4, "big")
        text += f"  flowinfo=0x{int.from_bytes(flow, dialect.byte_order):08x}, "
        text += f"scope_id=0x{sockaddr.scope_id:08x}\n"
    return f"{text}{_hexadecimal(address.packed)}  }}\n"


def _words(digits: str) -> str:
    """Cut digits into groups of four bytes, each after a space, and lines of 32 bytes."""
    lines = (digits[at : at + 64] for at in range(0, len(digits), 64))
    return "\n".join(
        "".join(f" {line[at : at + 8]}" for at in range(0, len(line), 8)) for line in lines
    )


def _hexadecimal(data: bytes) -> str:
    return _words(data.hex())


def masked_key(size: int) -> str:
    """Return what is shown for a key of ``size`` bytes: its length, not its bytes."""
    # Differs from ipsec-tools: it prints the key. Keys are for setkey -D alone to print.
    return _words(".." * size)
