"""Whence a request comes: the socket, and proxies of ours."""

import ipaddress

import pytest
from fastapi import Request
from hypothesis import given
from hypothesis import strategies as st

from services.api.peer import networks_of, peer_of, within

TRUSTED = networks_of(["10.0.0.0/8", "fd00::/8"])


def request_from(peer: str | None, *forwarded: str) -> Request:
    """A request of a socket, with lines of X-Forwarded-For."""
    headers = [(b"x-forwarded-for", line.encode("latin-1", "replace")) for line in forwarded]
    return Request({"type": "http", "headers": headers, "client": None if peer is None else (peer, 1)})


@pytest.mark.parametrize(
    ("peer", "forwarded", "wanted"),
    [
        ("192.0.2.1", [], "192.0.2.1"),
        ("192.0.2.1", ["198.51.100.1"], "192.0.2.1"),
        ("::ffff:192.0.2.1", [], "192.0.2.1"),
        ("10.0.0.1", ["198.51.100.1"], "198.51.100.1"),
        ("::ffff:10.0.0.1", ["198.51.100.1"], "198.51.100.1"),
        ("10.0.0.1", ["192.0.2.9, 198.51.100.1, 10.0.0.2"], "198.51.100.1"),
        ("10.0.0.1", ["192.0.2.9", "198.51.100.1"], "198.51.100.1"),
        ("10.0.0.1", ["[2001:db8::1]:443"], "2001:db8::1"),
        ("10.0.0.1", ["198.51.100.1:50123"], "198.51.100.1"),
        ("10.0.0.1", ["10.0.0.2, 10.0.0.3"], "10.0.0.1"),
        ("10.0.0.1", [], "10.0.0.1"),
        ("10.0.0.1", ["198.51.100.1, unknown"], ""),
        ("10.0.0.1", [""], ""),
        ("testclient", [], ""),
        (None, ["192.0.2.1"], ""),
    ],
)
def test_peer_is_the_rightmost_address_that_is_no_proxy(peer: str | None, forwarded: list[str], wanted: str) -> None:
    """Lines are read as one list, from the right; what cannot be read is no address."""
    assert peer_of(request_from(peer, *forwarded), TRUSTED) == wanted


@given(st.ip_addresses(), st.lists(st.text(max_size=40), max_size=4))
def test_forwarded_lines_of_strangers_change_nothing(address: ipaddress.IPv4Address, forwarded: list[str]) -> None:
    """Whatever is written there, and nothing fails over it."""
    peer = peer_of(request_from(str(address), *forwarded), ())
    assert within(peer, networks_of([str(address).partition("%")[0]])) or getattr(address, "ipv4_mapped", None)
    peer_of(request_from("10.0.0.1", *forwarded), TRUSTED)
