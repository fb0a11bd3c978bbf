"""Addresses of servers in settings."""

import pytest

from hayabin.domain.server_address import server_address


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("192.0.2.1", ("192.0.2.1", 53)),
        ("192.0.2.1:5353", ("192.0.2.1", 5353)),
        ("2001:db8::1", ("2001:db8::1", 53)),
        ("[2001:db8::1]", ("2001:db8::1", 53)),
        ("[2001:db8::1]:5353", ("2001:db8::1", 5353)),
    ],
)
def test_server_address_each_form_read(text: str, read: tuple[str, int]) -> None:
    """IPv4 and IPv6, with and without a port."""
    assert server_address(text, 53) == read


@pytest.mark.parametrize("text", ["", "ns.example", "192.0.2.1:x", "192.0.2.1:0", "192.0.2.1:70000", "[::1", "[::1]x5"])
def test_server_address_anything_else_refused(text: str) -> None:
    """A name, a port that is none, an open bracket."""
    with pytest.raises(ValueError, match=r".+"):
        server_address(text, 53)
