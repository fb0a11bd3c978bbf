"""An address is found in whatever a mail, a file or a message of the belt makes of it, and nobody else's is."""

import base64
import quopri
import tracemalloc

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from services.api.people_jobs import mentions
from services.api.people_jobs.mentions import Mentions

TARO = Mentions(["taro@example.jp", '"a..b"@docomo.ne.jp', "太郎@example.jp"])


@pytest.mark.parametrize(
    "text",
    ["taro@example.jp", "To: <TARO@Example.JP>", "mailto:taro@example.jp?x", "?email=taro%40example.jp&", "%22taro%40example.jp%22",
     "user taro@example.jp.", "a,taro@example.jp;b", "x\\ntaro@example.jp", '{"e": "\\"a..b\\"@docomo.ne.jp"}', "太郎@example.jp"],
)  # fmt: skip
def test_address_is_found_in_text(text: str) -> None:
    """In headers, URLs, sentences, JSON; whatever the case."""
    assert TARO.in_text(text)
    assert TARO.in_bytes(text.encode())


@pytest.mark.parametrize(
    "text",
    ["jimtaro@example.jp", "x.taro@example.jp", "taro@example.jp.example.com", "taro@example.jpx", "taro@example", "", "tarot"],
)  # fmt: skip
def test_other_addresses_are_not_found(text: str) -> None:
    """Those that only contain it."""
    assert not TARO.in_text(text)
    assert not TARO.in_bytes(text.encode())


def test_address_is_found_however_it_is_encoded() -> None:
    """Quoted-printable with soft breaks, base64, UTF-16, zstd, and zstd around base64."""
    plain = f"{'x' * 60} To: taro@example.jp {'y' * 60}".encode()
    encoded = base64.encodebytes(plain)
    packed = zstandard.ZstdCompressor().compress(b"header\n\n" + encoded)
    soft = b"Hello =E3=81=82 taro=\r\n@example.jp"
    for content in (plain, encoded, packed, soft, quopri.encodestring(plain), plain.decode().encode("utf-16")):
        assert TARO.in_bytes(content)
        assert not Mentions(["nobody@example.jp"]).in_bytes(content)


def test_mentions_are_replaced() -> None:
    """Each of them, and nothing beside them."""
    assert TARO.without("taro@example.jp, x-taro@example.jp, TARO@example.jp", "-") == "-, x-taro@example.jp, -"


def test_nobody_is_found_nowhere() -> None:
    """No address, no mention."""
    assert not Mentions([]).in_text("taro@example.jp")
    assert not Mentions([]).in_bytes(b"")


@given(st.binary(max_size=2000))
def test_any_bytes_get_an_answer(content: bytes) -> None:
    """What is broken is searched as it is; an address put into it is found where nothing touches it."""
    assert TARO.in_bytes(content) in (True, False)
    if not content.startswith(b"\x28\xb5\x2f\xfd"):
        assert TARO.in_bytes(content + b" <taro@example.jp>")


def test_broken_zstd_is_searched_as_it_is() -> None:
    """A frame that does not unpack."""
    assert TARO.in_bytes(b"\x28\xb5\x2f\xfd junk taro@example.jp")


def test_zstd_that_unpacks_without_end_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """What anybody may mail to us takes no more memory than the bound: the rest is not looked at."""
    monkeypatch.setattr(mentions, "MAX_UNPACKED_BYTES", 1 << 20)
    bomb = zstandard.ZstdCompressor().compress(b" " * (1 << 26) + b"taro@example.jp")
    tracemalloc.start()
    found = TARO.in_bytes(bomb)
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert not found
    assert peak_bytes < 1 << 24


@pytest.mark.parametrize("word", ["boundary=aaaaaaaaaaaaaaaaaaaa" + "b" * n for n in range(4)])
def test_base64_below_a_line_of_letters_is_read(word: str) -> None:
    """The end of a header shifts nothing, whatever its length."""
    assert TARO.in_bytes(f"Content-Type: text/plain; {word}\n\n".encode() + base64.encodebytes(b"To: taro@example.jp!"))
