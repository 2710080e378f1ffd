"""The one table of algorithms: every name, PF_KEY number, key size, ICV length and kernel name.

Floor 1. Parsers, checkers, printers and both codecs' translators read this table and nothing else.
Sizes are bits. Sources: RFC 2367 section 3.5, the SADB_*ALG numbers of KAME and Linux
(net/pfkeyv2.h), Linux net/xfrm/xfrm_algo.c for the kernel's names and the ICV that PF_KEY gave.
"""

from enum import IntEnum

from kamexfrm.records import NamedTuple


class Kind(IntEnum):
    """What an algorithm does."""

    AUTHENTICATION = 1
    ENCRYPTION = 2
    AEAD = 3
    COMPRESSION = 4


class Algorithm(NamedTuple):
    """One row: ``name`` is the one that dumps print, ``aliases`` further spellings of input.

    ``number`` is the PF_KEY number of its kind as Linux, KAME (final), FreeBSD and NetBSD have it,
    0 where they have none or use it for another one.
    ``key_bits`` holds (minimum, maximum, step): AEAD and counter keys count their salt.
    ``icv_bits`` is the ICV that Linux uses for SAs made through PF_KEY, ``iv_bits`` the length of
    the IV. ``kernel`` is the Linux crypto API's name, empty where Linux has none.
    """

    kind: Kind
    name: str
    number: int
    key_bits: tuple[int, int, int]
    kernel: str
    icv_bits: int = 0
    iv_bits: int = 0
    aliases: tuple[str, ...] = ()

    @property
    def key_sizes(self) -> tuple[int, ...]:
        """All allowed key sizes in bits, in rising order."""
        low, high, step = self.key_bits
        return tuple(range(low, high + 1, step or 8)) if high else (0,)

    @property
    def takes_key(self) -> bool:
        """Whether the algorithm has a key at all."""
        return self.key_bits[1] > 0

    def accepts(self, bits: int) -> bool:
        """Whether a key of this many bits is within the table's minimum and maximum."""
        return self.key_bits[0] <= bits <= self.key_bits[1]


_A, _E, _X, _C = Kind.AUTHENTICATION, Kind.ENCRYPTION, Kind.AEAD, Kind.COMPRESSION


def _sha2(bits: int) -> tuple[str, ...]:
    """Return the other names of hmac-sha384 and hmac-sha512: with 2, with half the bits."""
    return f"hmac-sha2-{bits}", f"hmac-sha{bits}-{bits // 2}"


TABLE: tuple[Algorithm, ...] = (
    Algorithm(_A, "hmac-md5", 2, (128, 128, 0), "hmac(md5)", 96, aliases=("hmac-md5-96",)),
    Algorithm(_A, "hmac-sha1", 3, (160, 160, 0), "hmac(sha1)", 96, aliases=("hmac-sha1-96",)),
    Algorithm(_A, "hmac-sha256", 5, (256, 256, 0), "hmac(sha256)", 96, aliases=("hmac-sha2-256",)),
    Algorithm(_A, "hmac-sha384", 6, (384, 384, 0), "hmac(sha384)", 192, aliases=_sha2(384)),
    Algorithm(_A, "hmac-sha512", 7, (512, 512, 0), "hmac(sha512)", 256, aliases=_sha2(512)),
    Algorithm(_A, "hmac-ripemd160", 8, (160, 160, 0), "hmac(rmd160)", 96),
    Algorithm(_A, "aes-xcbc-mac", 9, (128, 128, 0), "xcbc(aes)", 96),
    Algorithm(_A, "aes-cmac", 0, (128, 128, 0), "cmac(aes)", 96, aliases=("aes-cmac-96",)),
    Algorithm(_A, "sm3", 10, (256, 256, 0), "hmac(sm3)", 96),
    Algorithm(_A, "md5", 249, (128, 128, 0), "", 96, aliases=("keyed-md5",)),
    Algorithm(_A, "sha", 250, (160, 160, 0), "", 96, aliases=("keyed-sha1",)),
    Algorithm(_A, "null", 251, (0, 0, 0), "digest_null", 0),
    Algorithm(_A, "tcp-md5", 252, (8, 640, 8), ""),
    Algorithm(_E, "des-cbc", 2, (64, 64, 0), "cbc(des)", iv_bits=64, aliases=("des",)),
    Algorithm(
        *(_E, "3des-cbc", 3, (192, 192, 0), "cbc(des3_ede)"),
        iv_bits=64,
        aliases=("des-ede3-cbc", "3des", "des3-cbc", "3des-ede-cbc"),
    ),
    Algorithm(
        *(_E, "cast128-cbc", 6, (40, 128, 8), "cbc(cast5)"),
        iv_bits=64,
        aliases=("cast128", "cast5-cbc", "cast-cbc"),
    ),
    Algorithm(
        _E, "blowfish-cbc", 7, (40, 448, 8), "cbc(blowfish)", iv_bits=64, aliases=("blowfish",)
    ),
    Algorithm(_E, "null", 11, (0, 0, 0), "ecb(cipher_null)"),
    Algorithm(
        _E, "aes-cbc", 12, (128, 256, 64), "cbc(aes)", iv_bits=128, aliases=("rijndael-cbc",)
    ),
    Algorithm(_E, "aes-ctr", 13, (160, 288, 64), "rfc3686(ctr(aes))", iv_bits=64),
    Algorithm(_E, "camellia-cbc", 22, (128, 256, 64), "cbc(camellia)", iv_bits=128),
    Algorithm(_E, "camellia-ctr", 0, (160, 288, 64), "", iv_bits=64),
    Algorithm(_E, "serpent-cbc", 252, (128, 256, 64), "cbc(serpent)", iv_bits=128),
    Algorithm(_E, "twofish-cbc", 253, (128, 256, 64), "cbc(twofish)", iv_bits=128),
    Algorithm(_X, "aes-gcm-16", 20, (160, 288, 64), "rfc4106(gcm(aes))", 128, 64, ("aes-gcm",)),
    Algorithm(_X, "aes-gcm-12", 19, (160, 288, 64), "rfc4106(gcm(aes))", 96, 64),
    Algorithm(_X, "aes-gcm-8", 18, (160, 288, 64), "rfc4106(gcm(aes))", 64, 64),
    Algorithm(_X, "aes-ccm-16", 16, (152, 280, 64), "rfc4309(ccm(aes))", 128, 64, ("aes-ccm",)),
    Algorithm(_X, "aes-ccm-12", 0, (152, 280, 64), "rfc4309(ccm(aes))", 96, 64),
    Algorithm(_X, "aes-ccm-8", 14, (152, 280, 64), "rfc4309(ccm(aes))", 64, 64),
    Algorithm(_X, "aes-gmac", 23, (160, 288, 64), "rfc4543(gcm(aes))", 128, 64, ("null-aes-gmac",)),
    Algorithm(
        *(_X, "chacha20-poly1305", 15, (288, 288, 0), "rfc7539esp(chacha20,poly1305)", 128, 64),
        aliases=("chacha20poly1305",),
    ),
    Algorithm(_C, "oui", 1, (0, 0, 0), ""),
    Algorithm(_C, "deflate", 2, (0, 0, 0), "deflate"),
    Algorithm(_C, "lzs", 3, (0, 0, 0), ""),
)

#: Names that fix the ICV of hmac-sha256: spelling -> ICV bits.
SHA256_SPELLINGS = {"hmac-sha256-96": 96, "hmac-sha256-128": 128}

#: Names under which other kernels' tables know one of ours.
_KERNEL_ALIASES = {
    "rfc3686(ctr(aes))": ("ctr(aes)",),
    "hmac(rmd160)": ("hmac(ripemd160)", "rmd160", "ripemd160"),
    "hmac(md5)": ("md5",),
    "hmac(sha1)": ("sha1",),
    "hmac(sha256)": ("sha256",),
    "cbc(des)": ("des",),
    "cbc(des3_ede)": ("des3_ede",),
    "cbc(aes)": ("aes",),
    "cbc(blowfish)": ("blowfish",),
    "cbc(twofish)": ("twofish",),
    "cbc(serpent)": ("serpent",),
    "cbc(cast5)": ("cast5",),
    "cbc(camellia)": ("camellia",),
    "ecb(cipher_null)": ("cipher_null",),
}


def _by_name() -> dict[tuple[Kind, str], Algorithm]:
    names = {(row.kind, spelling): row for row in TABLE for spelling in (row.name, *row.aliases)}
    sha256 = names[_A, "hmac-sha256"]
    for spelling, bits in SHA256_SPELLINGS.items():
        names[_A, spelling] = sha256._replace(name=spelling, icv_bits=bits, aliases=())
    return names


_BY_NAME = _by_name()
_BY_NUMBER = {(row.kind, row.number): row for row in TABLE if row.number}
_BY_KERNEL = {
    (row.kind, name): row
    for row in reversed(TABLE)
    if row.kernel
    for name in (*_KERNEL_ALIASES.get(row.kernel, ()), row.kernel)
}


def by_name(kind: Kind, name: str) -> Algorithm | None:
    """Return the row that a setkey word names, or None; the word's case matters."""
    return _BY_NAME.get((kind, name))


def of_another_system(kind: Kind, name: str) -> tuple[Algorithm, int] | None:
    """Return the row that another system's word names with the bits of its key, 0 for any.

    >>> found = of_another_system(Kind.ENCRYPTION, "aes-128-cbc")
    >>> found and (found[0].name, found[1])
    ('aes-cbc', 128)
    """
    for bits in ("128", "192", "256"):
        before, there, after = name.partition(bits)
        if not there:
            continue
        cipher, mode = before.strip("-"), after.strip("-")
        if not mode and kind is Kind.ENCRYPTION and "-" not in cipher:
            mode = "cbc"
        row = by_name(kind, "-".join(filter(None, (cipher, mode))))
        if row is not None and row.key_bits[2] == 64:
            return row, int(bits)
    row = by_name(kind, f"{name}-cbc")
    return (row, 0) if row is not None and kind is Kind.ENCRYPTION else None


def by_number(kind: Kind, number: int) -> Algorithm | None:
    """Return the row with this PF_KEY number, or None."""
    return _BY_NUMBER.get((kind, number))


def by_kernel_name(kind: Kind, name: str, icv_bits: int = 0) -> Algorithm | None:
    """Return the row with this kernel name, or None for one that setkey has no name for.

    Of several that differ in their ICV it is the one with ``icv_bits``, if there is one.
    """
    found = _BY_KERNEL.get((kind, name))
    if found is None or kind is not Kind.AEAD or found.icv_bits == icv_bits:
        return found
    same = (row for row in TABLE if (row.kernel, row.icv_bits) == (found.kernel, icv_bits))
    return next(same, found)


def written_icv(algorithm: Algorithm) -> int:
    """Return the bits of the ICV that an algorithm's name fixes in new SAs.

    It is 0 for hmac-sha256 without a number: there net.key.sha256_icv decides.
    """
    return 0 if algorithm.name == "hmac-sha256" else algorithm.icv_bits


def spellings(kind: Kind) -> tuple[str, ...]:
    """Return all words that input may use for a kind, for parsers and their suggestions."""
    return tuple(name for row_kind, name in _BY_NAME if row_kind is kind)
