"""Serpent and Twofish from their papers, bytes in, bytes out: no library of ours has them.

Sources: Anderson, Biham, Knudsen, "Serpent: A Proposal for the Advanced Encryption Standard";
Schneier and others, "Twofish: A 128-Bit Block Cipher". Slow, and for tests only.
"""

import struct

_WORD = 0xFFFFFFFF


def _left(value: int, by: int) -> int:
    return ((value << by) | (value >> (32 - by))) & _WORD


def _right(value: int, by: int) -> int:
    return _left(value, 32 - by)


class Serpent:
    """Serpent with a key of up to 32 bytes."""

    _BOXES = tuple(
        tuple(int(digit, 16) for digit in row)
        for row in (
            "38f1a65bed42709c",
            "fc27905a1be86d34",
            "86793cafd1e40b52",
            "0fb8c963d124a75e",
            "1f83c0b6254a9e7d",
            "f52b4a9c03e8d671",
            "72c5846be91fd3a0",
            "1df0e82b74ca9356",
        )
    )
    _INVERSE = tuple(tuple(box.index(value) for value in range(16)) for box in _BOXES)

    def __init__(self, key: bytes) -> None:
        if len(key) < 32:
            key = (key + b"\1").ljust(32, b"\0")
        words = list(struct.unpack("<8I", key))
        for at in range(132):
            word = words[at] ^ words[at + 3] ^ words[at + 5] ^ words[at + 7] ^ 0x9E3779B9 ^ at
            words.append(_left(word, 11))
        words = words[8:]
        self._keys = [
            self._substitute(self._BOXES[(3 - at) % 8], words[at * 4 : at * 4 + 4])
            for at in range(33)
        ]

    @staticmethod
    def _substitute(box: tuple[int, ...], words: list[int]) -> list[int]:
        """Put each of the 32 columns of four bits through a box."""
        out = [0, 0, 0, 0]
        for bit in range(32):
            column = sum((words[row] >> bit & 1) << row for row in range(4))
            for row in range(4):
                out[row] |= (box[column] >> row & 1) << bit
        return out

    def decrypt(self, block: bytes) -> bytes:
        """Return the plain text of 16 bytes."""
        x = [a ^ b for a, b in zip(struct.unpack("<4I", block), self._keys[32], strict=True)]
        for at in range(31, -1, -1):
            if at < 31:
                x = self._unmix(x)
            x = self._substitute(self._INVERSE[at % 8], x)
            x = [a ^ b for a, b in zip(x, self._keys[at], strict=True)]
        return struct.pack("<4I", *x)

    @staticmethod
    def _unmix(words: list[int]) -> list[int]:
        a, b, c, d = words
        c, a = _right(c, 22), _right(a, 5)
        c ^= d ^ (b << 7 & _WORD)
        a ^= b ^ d
        d, b = _right(d, 7), _right(b, 1)
        d ^= c ^ (a << 3 & _WORD)
        b ^= a ^ c
        return [_right(a, 13), b, _right(c, 3), d]


def _field_product(left: int, right: int, polynomial: int) -> int:
    """Multiply in GF(2^8)."""
    product = 0
    while right:
        if right & 1:
            product ^= left
        left <<= 1
        if left & 0x100:
            left ^= polynomial
        right >>= 1
    return product


def _permutation(*tables: str) -> tuple[int, ...]:
    """Return one of Twofish's two fixed permutations of bytes from its four tables."""
    t = [[int(digit, 16) for digit in table] for table in tables]

    def rotated(nibble: int) -> int:
        return (nibble >> 1 | nibble << 3) & 15

    found = []
    for value in range(256):
        a, b = value >> 4, value & 15
        for first, second in ((t[0], t[1]), (t[2], t[3])):
            a, b = a ^ b, a ^ rotated(b) ^ (a << 3 & 15)
            a, b = first[a], second[b]
        found.append(b << 4 | a)
    return tuple(found)


class Twofish:
    """Twofish with a key of 16, 24 or 32 bytes."""

    _Q0 = _permutation(
        "817d6f320b59eca4", "ecb81235f4a6709d", "ba5e6d90c8f32471", "d7f4126e9b3085ca"
    )
    _Q1 = _permutation(
        "28bdf76e31940ac5", "1e2b4c376da5f908", "4c75169a0ed82b3f", "b951c3de647f208a"
    )
    _MDS = ("01ef5b5b", "5befef01", "ef5b01ef", "ef01ef5b")
    _RS = ("01a455875a58db9e", "a45682f31ec668e5", "02a1fcc147ae3d19", "a455875a58db9e03")
    #: Which permutations a byte goes through, from the last to the first.
    _ORDER = ((_Q1, _Q0, _Q0, _Q1, _Q1), (_Q0, _Q0, _Q1, _Q1, _Q0),
              (_Q1, _Q1, _Q0, _Q0, _Q0), (_Q0, _Q1, _Q1, _Q0, _Q1))  # fmt: skip

    def __init__(self, key: bytes) -> None:
        halves = struct.unpack(f"<{len(key) // 4}I", key)
        even, odd = halves[::2], halves[1::2]
        rs = [bytes.fromhex(row) for row in self._RS]
        self._box_key = [
            sum(self._sum(rs[row], key[at : at + 8], 0x14D) << (8 * row) for row in range(4))
            for at in range(0, len(key), 8)
        ][::-1]
        self._keys = []
        for at in range(20):
            a = self._h(2 * at * 0x01010101, even)
            b = _left(self._h((2 * at + 1) * 0x01010101, odd), 8)
            self._keys += [(a + b) & _WORD, _left((a + 2 * b) & _WORD, 9)]

    @staticmethod
    def _sum(row: bytes, column: bytes, polynomial: int) -> int:
        total = 0
        for left, right in zip(row, column, strict=True):
            total ^= _field_product(left, right, polynomial)
        return total

    def _h(self, word: int, keys: "tuple[int, ...] | list[int]") -> int:
        """Apply the paper's h: permutations with key bytes between, then the MDS matrix."""
        out = []
        for lane in range(4):
            value = word >> (8 * lane) & 255
            order = self._ORDER[lane]
            for at in range(len(keys) - 1, -1, -1):
                value = order[at + 1][value] ^ (keys[at] >> (8 * lane) & 255)
            out.append(order[0][value])
        rows = [bytes.fromhex(row) for row in self._MDS]
        return sum(
            self._sum(row, bytes(out), 0x169) << (8 * number) for number, row in enumerate(rows)
        )

    def decrypt(self, block: bytes) -> bytes:
        """Return the plain text of 16 bytes."""
        words = struct.unpack("<4I", block)
        # The last round's halves are not exchanged.
        a, b, c, d = (x ^ k for x, k in zip(words, self._keys[4:8], strict=True))
        for at in range(15, -1, -1):
            t0 = self._h(a, self._box_key)
            t1 = self._h(_left(b, 8), self._box_key)
            c = _left(c, 1) ^ ((t0 + t1 + self._keys[2 * at + 8]) & _WORD)
            d = _right(d ^ ((t0 + 2 * t1 + self._keys[2 * at + 9]) & _WORD), 1)
            if at:
                a, b, c, d = c, d, a, b
        plain = (x ^ k for x, k in zip((a, b, c, d), self._keys[:4], strict=True))
        return struct.pack("<4I", *plain)
