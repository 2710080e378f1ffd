"""What words of other systems for algorithms are here: those of IKE daemons, routers and kernels.

``aes256gcm16`` of strongSwan, ``esp-sha-hmac`` of Cisco, ``AES128`` of Windows, ``cbc(aes)`` of
Linux's own crypto API. They are told in hints only: what a word says about a key and an ICV is not
always what the algorithm of that name here has. Loaded where an error is worded.
"""

import re

from kamexfrm.algorithms import Kind, by_kernel_name, by_name, of_another_system

_FULL_SHA256 = "hmac-sha256-128, or hmac-sha256 with an ICV of 96 bits"

#: ICVs of GCM and CCM, in octets and in bits; another number is the size of a key.
_ICVS = {"8": 8, "12": 12, "16": 16, "64": 8, "96": 12}

#: A pattern for the whole word, in lower case and with dashes, and what is meant by it.
_CIPHERS = (
    (r"(des-)?(3des|des3|triple-?des|tripledes|des-?ede3?)(-ede3?)?(-cbc)?", "3des-cbc"),
    (r"des(-iv(32|64))?(-cbc)?", "des-cbc"),
    (r"(aes|rijndael)(-?cbc)?(-?(128|192|256))?(-?cbc)?(-(128|192|256))?", "aes-cbc"),
    (r"aes-?(ctr|icm|counter)(-?\d+)?|aes-?\d+-?(ctr|icm)", "aes-ctr"),
    (r"(aes-?(\d+-?)?)?gmac(-?\d+)?|null-auth-aes-gmac|null-aes-\d+-gmac", "aes-gmac"),
    (r"chacha-?(20)?(-?poly-?(1305)?)?", "chacha20-poly1305"),
    (r"(cast|cast5|cast128|cast-128)(-?\d+)?(-cbc)?", "cast128-cbc"),
    (r"(blowfish|bf)(-?\d+)?(-cbc)?", "blowfish-cbc"),
    (r"(camellia|twofish|serpent)-?(\d+)?-?(cbc)?(-?\d+)?", r"\1-cbc"),
    (r"null(-enc(r|ryption)?)?|none|enc-null", "null"),
    (r"(seed|aria|sm4|skipjack|idea|rc[456]|mars|safer)(-?\d+)?(-?cbc)?", "aes-gcm-16 or aes-cbc"),
)
_DIGESTS = (
    (r"(hmac-?)?sha-?256-truncbug", "hmac-sha256"),
    (r"(hmac-?)?sha-?2?-?256(-?(96))", "hmac-sha256-96"),
    (r"(hmac-?)?sha-?2?-?256(-?\d+)?", _FULL_SHA256),
    (r"(hmac-?)?sha-?2?-?(384|512)(-?\d+)?", r"hmac-sha\2"),
    (r"(hmac-?)?sha-?1?(-?(96|160))?", "hmac-sha1"),
    (r"(hmac-?|keyed-?)?md-?5(-?(96|128))?", "hmac-md5"),
    (r"(hmac-?)?(rmd|ripemd)-?(160)?(-?\d+)?", "hmac-ripemd160"),
    (r"(aes-?)?xcbc(-mac)?(-?\d+)?", "aes-xcbc-mac"),
    (r"(aes-?)?cmac(-?\d+)?", "aes-cmac"),
    (r"null|none|non-auth|no-auth", "null"),
    (r"(aes-?)?(\d+-?)?gmac(-?\d+)?", "-E aes-gmac, which authenticates alone"),
    (r"tcp-?md-?5", "tcp-md5"),
    (r"(chacha20-?)?poly-?1305", "-E chacha20-poly1305, which authenticates too"),
)
_GCM_OR_CCM = re.compile(r"(?:aes-?)?(?:(?:128|192|256)-?)?(gcm|ccm)-?(\d*)(?:-?(?:128|192|256))?")
_ROUTERS = re.compile(r"^(?:esp|ah)-|-hmac$")


def meant_encryption(word: str) -> str:
    """Return the word here for a cipher of another system, or nothing."""
    plain = _plain(word)
    for kind in (Kind.ENCRYPTION, Kind.AEAD):
        row = by_name(kind, plain) or by_kernel_name(kind, word.lower(), 128)
        if row is not None and row.kernel:
            return row.name
    found = _GCM_OR_CCM.fullmatch(plain)
    if found:
        return f"aes-{found[1]}-{_ICVS.get(found[2], 16)}"
    return _match(plain, _CIPHERS) or _with_key_size(plain)


def _with_key_size(plain: str) -> str:
    found = of_another_system(Kind.ENCRYPTION, plain)
    return found[0].name if found and found[0].kernel else ""


def meant_authentication(word: str) -> str:
    """Return the word here for a digest of another system, or nothing."""
    row = by_kernel_name(Kind.AUTHENTICATION, word.lower())
    if row is not None and row.kernel:
        return _FULL_SHA256 if row.name == "hmac-sha256" else row.name
    return _match(_plain(word), _DIGESTS)


def _plain(word: str) -> str:
    return _ROUTERS.sub("", word[:40].lower().replace("_", "-"))


def _match(plain: str, table: tuple[tuple[str, str], ...]) -> str:
    for pattern, meant in table:
        found = re.fullmatch(pattern, plain)
        if found:
            return found.expand(meant)
    return ""
