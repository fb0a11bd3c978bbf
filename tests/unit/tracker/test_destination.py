"""Where a click may lead: only to http and https URLs that are safe in a header field, and only with our signature."""

import re
from urllib.parse import urlsplit

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from hayabin.content.destination import write_destination
from hayabin.domain.token import TokenKey, TokenRing
from services.tracker.destination import dynamic_destination, to_location

RING = TokenRing((TokenKey(1, b"t" * 32),), active=1)
URL = "https://shop.example/a?b=c&d=%E3%81%82#e"


@pytest.mark.parametrize(
    ("url", "location"),
    [
        ("https://shop.example", "https://shop.example"),
        (URL, URL),
        ("  http://shop.example/a b|c  ", "http://shop.example/a%20b%7Cc"),
        ("https://日本語.jp/パス?q=あ", "https://xn--wgv71a119e.jp/%E3%83%91%E3%82%B9?q=%E3%81%82"),
        ("https://日本語.jp:8443/", "https://xn--wgv71a119e.jp:8443/"),
        ("HTTP://shop.example/?next=http://other.example", "http://shop.example/?next=http://other.example"),
        ("http://[::1]:8080/x", "http://[::1]:8080/x"),
    ],
)
def test_location_of_good_url_is_the_same_place_in_ascii(url: str, location: str) -> None:
    """Escapes that the author wrote stay; only what a header field can not carry is escaped."""
    assert to_location(url) == location


@pytest.mark.parametrize(
    "url",
    [
        "",
        "javascript:alert(1)",
        "data:text/html,x",
        "ftp://shop.example/",
        "//evil.example/",
        "/path",
        "https:///path",
        "https:evil.example",
        "https:\\\\evil.example",
        "https://good.example\\@evil.example/",
        "https://good.example/\r\nSet-Cookie: a=b",
        "https://good.exa\nmple/",
        "https://good.example/\x00",
        "https://good.example:99999/",
        "https://good example/",
        "https://\udcff.example/",
        "https://good.example/\ud800",
        "https://" + "a" * 9000,
    ],
)
def test_location_of_bad_url_is_none(url: str) -> None:
    """Other schemes, relative references, line ends, backslashes and over-long URLs lead nowhere."""
    assert to_location(url) is None


@settings(deadline=None)
@given(st.text() | st.from_regex(r"https?://[^\n]{0,40}", fullmatch=True))
@example("http://０/")
@example("http://[")
def test_location_of_any_text_is_safe_in_a_header_field(text: str) -> None:
    """Whatever goes in, what comes out is an absolute http(s) URL of printable ASCII, or None."""
    location = to_location(text)
    if location is not None:
        assert re.fullmatch(r"https?://[\x21-\x7e]+", location)
        assert urlsplit(location).hostname


def test_dynamic_destination_with_its_mac_is_the_url() -> None:
    """What the renderer signed for this mail and link is where the click leads."""
    mac = RING.link_mac(7, 2, URL)
    assert dynamic_destination(RING, 7, 2, write_destination(URL), mac) == URL


def test_dynamic_destination_of_other_mail_link_or_url_is_none() -> None:
    """A signature can not be carried to another mail, another link or another destination."""
    encoded, mac = write_destination(URL), RING.link_mac(7, 2, URL)
    assert dynamic_destination(RING, 8, 2, encoded, mac) is None
    assert dynamic_destination(RING, 7, 3, encoded, mac) is None
    assert dynamic_destination(RING, 7, 2, write_destination("https://evil.example/"), mac) is None
    assert dynamic_destination(RING, 7, 2, encoded, "") is None
    assert dynamic_destination(RING, 7, 2, "", mac) is None


def test_dynamic_destination_signed_but_not_http_is_none() -> None:
    """A merge value that we signed is still no way to run a script."""
    url = "javascript:alert(1)"
    assert dynamic_destination(RING, 7, 2, "amF2YXNjcmlwdDphbGVydCgxKQ", RING.link_mac(7, 2, url)) is None


@settings(deadline=None)
@given(st.text(max_size=200), st.text(max_size=40))
def test_dynamic_destination_of_anything_unsigned_is_none(encoded: str, mac: str) -> None:
    """Without our MAC there is no destination, and no input raises."""
    assert dynamic_destination(RING, 7, 2, encoded, mac) is None
