"""Words of other systems for algorithms: the hint of the error leads to one that works."""

import re

import pytest

from kamexfrm.algorithms import Kind, by_name
from tests.setkey.setkey_reading import script_error

CIPHERS = {
    "aes-gcm-16": "aes128gcm16 aes256gcm128 esp-gcm aes_gcm rfc4106(gcm(aes))",
    "aes-gcm-12": "aes128gcm96 aes-gcm-96",
    "aes-gcm-8": "aes256gcm64 aes192gcm8",
    "aes-ccm-16": "aes128ccm16 aes128ccm128",
    "aes-ccm-8": "aes128ccm64",
    "aes-cbc": "AES AES128 AES-CBC-128 AES-CBC aes_cbc esp-aes esp-aes-256 cbc(aes) Rijndael",
    "aes-ctr": "aes-icm-128 AES128-CTR",
    "3des-cbc": "3DES esp-3des tripledes triple-des des_ede3 cbc(des3_ede)",
    "des-cbc": "DES esp-des des-iv64 des_iv32",
    "chacha20-poly1305": "chacha20 ChaCha20Poly1305",
    "null": "none NULL esp-null null_enc",
    "blowfish-cbc": "blowfish128 BLOWFISH",
    "aes-cbc or aes-gcm-16": "skipjack idea rc5-cbc seed-cbc aria-cbc",
}
DIGESTS = {
    "hmac-sha1": "sha1 SHA1 sha-1 hmac_sha1 esp-sha-hmac ah-sha-hmac HMAC-SHA1 sha1_160 hmac(sha1)",
    "hmac-md5": "esp-md5-hmac MD5 hmac_md5 md5_128 HMAC-MD5",
    "hmac-sha256-128": "sha256 sha2_256 esp-sha256-hmac hmac-sha2-256-128 hmac-sha256-256 SHA256",
    "hmac-sha256": "hmac-sha256-truncbug",
    "hmac-sha384": "sha384 sha2_384",
    "hmac-sha512": "sha512 esp-sha512-hmac",
    "hmac-ripemd160": "rmd160 ripemd160 hmac-rmd160",
    "aes-xcbc-mac": "aesxcbc aes-xcbc AES-XCBC-MAC-96",
    "aes-cmac": "aescmac cmac AES_CMAC",
    "null": "none non_auth",
    "-E aes-gmac": "aes-gmac aes-128-gmac aes128gmac",
    "-E chacha20-poly1305": "poly1305",
}
CASES = [
    *((f"esp 0x1000 -E {word}", want) for want, words in CIPHERS.items() for word in words.split()),
    *((f"ah 0x1000 -A {word}", want) for want, words in DIGESTS.items() for word in words.split()),
]


@pytest.mark.parametrize(("words", "wanted"), CASES, ids=[words for words, _ in CASES])
def test_the_hint_names_what_works_here(words: str, wanted: str) -> None:
    error = script_error(f"add 10.0.0.1 10.0.0.2 {words} 0x{'00' * 16};")
    [hint] = error.hints
    for name in wanted.split(" or "):
        assert re.search(rf"(?<![\w-]){re.escape(name)}(?![\w-])", hint)
        kinds = [kind for kind in Kind if by_name(kind, name.removeprefix("-E "))]
        assert kinds


def test_a_word_of_nobody_is_sent_to_the_page() -> None:
    error = script_error("add 10.0.0.1 10.0.0.2 esp 0x1000 -E xyzzy 0x00;")
    assert error.hints == ("setkey(8) has a table of all algorithms",)
