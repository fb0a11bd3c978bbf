"""Inputs made from seeds: mutated, spliced, repeated, and now and then plain noise.

Promises: the same seed gives the same inputs. One in twenty thousand is up to a million characters long.
"""

import random
from collections.abc import Iterator, Sequence

HUGE_BYTES = 1_000_000
ONE_HUGE_IN = 20_000
_PIECES = [
    piece.encode()
    for piece in (
        "@", ".", "..", '"', "\\", "(", ")", "<", ">", ",", ";", ":", "[", "]", " ", "\t", "\r", "\n", "\r\n", "\x00",
        "\x7f", "\x85", "\u200b", "\u2028", "\ufeff", "\u3000", "＠", "．", "。", "あ", "é", "e\u0301", "İ", "ß", "ﬀ", "ſ",
        "xn--", "xn--a", "🐦", "\u0600", "%40", "+", "=", "'", "`", "docomo.ne.jp", "@ezweb.ne.jp", "a" * 64, "b." * 40,
        "0", "9", "-", "--", "_", "|", "$(x)", "=1+1",
    )
] + [b"\xff", b"\xc3", b"\xed\xa0\x80", b"\x81", b"\xe3\x81", b"\xfe\xff", b"\xef\xbb\xbf"]  # fmt: skip


def made_from(seeds: Sequence[bytes], count: int, seed: int) -> Iterator[bytes]:
    """``count`` inputs; the seeds themselves come first."""
    chance = random.Random(seed)
    yield from seeds[:count]
    for number in range(len(seeds), count):
        if number % ONE_HUGE_IN == ONE_HUGE_IN - 1:
            yield _huge(chance, seeds)
        else:
            made = chance.choice(seeds)
            for _ in range(chance.randint(1, 5)):
                made = _mutated(chance, made, seeds)
            yield made


def _huge(chance: random.Random, seeds: Sequence[bytes]) -> bytes:
    piece = chance.choice([*_PIECES, *seeds]) or b"a"
    around = chance.choice(seeds), chance.choice(seeds)
    return (around[0] + piece * (HUGE_BYTES // len(piece) + 1) + around[1])[: HUGE_BYTES + 100]


def _mutated(chance: random.Random, given: bytes, seeds: Sequence[bytes]) -> bytes:
    at = chance.randint(0, len(given))
    to = min(len(given), at + chance.randint(0, 8))
    match chance.randint(0, 7):
        case 0:  # something in
            return given[:at] + chance.choice(_PIECES) + given[at:]
        case 1:  # something instead
            return given[:at] + chance.choice(_PIECES) + given[to:]
        case 2:  # something out
            return given[:at] + given[to:]
        case 3:  # something again
            return given[:to] + given[at:to] * chance.randint(1, 30) + given[to:]
        case 4:  # another's end
            other = chance.choice(seeds)
            return given[:at] + other[chance.randint(0, len(other)) :]
        case 5:  # a flipped bit
            return given[:at] + bytes([given[at] ^ (1 << chance.randint(0, 7))]) + given[at + 1 :] if to > at else given
        case 6:  # an arbitrary character
            return (
                given[:at]
                + chr(chance.choice((chance.randrange(0xD800), chance.randrange(0xE000, 0x110000)))).encode()
                + given[at:]
            )
        case _:  # other case
            return given.swapcase()
