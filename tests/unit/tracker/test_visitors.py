"""Who is at the other end: addresses that are claimed, and how far they are believed."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.requests import Request

from services.tracker.visitors import Network, Visitors, networks_of


def request(peer: str, *forwarded: str, agent: str = "") -> Request:
    """A request from a peer, with fields X-Forwarded-For."""
    headers = [(b"x-forwarded-for", value.encode("latin-1", "replace")) for value in forwarded]
    headers.append((b"user-agent", agent.encode("latin-1", "replace")))
    scope = {"type": "http", "method": "GET", "path": "/", "query_string": b"", "headers": headers}
    return Request({**scope, "client": (peer, 1)})


OURS = networks_of("192.0.2.0/24, 2001:db8:1::/48")


@pytest.mark.parametrize(
    ("trusted", "forwarded", "ip"),
    [
        ((), ["203.0.113.9"], "192.0.2.1"),
        (OURS, ["203.0.113.9"], "203.0.113.9"),
        (OURS, ["198.51.100.7, 203.0.113.9"], "203.0.113.9"),
        (OURS, ["198.51.100.7", "203.0.113.9, 192.0.2.7"], "203.0.113.9"),
        (OURS, [], "192.0.2.1"),
        (OURS, ["203.0.113.9:4711"], "203.0.113.9"),
        (OURS, ["[2001:db8::9]:443"], "2001:db8::9"),
        (OURS, ["192.0.2.9"], "192.0.2.1"),
        (OURS, ["::ffff:203.0.113.9"], "203.0.113.9"),
        (OURS, ["<script>"], ""),
    ],
)
def test_address_is_believed_as_far_as_our_own_proxies_go(
    trusted: tuple[Network, ...], forwarded: list[str], ip: str
) -> None:
    """What a client puts into the field itself stands further left, and counts for nothing."""
    assert Visitors(trusted).ip(request("192.0.2.1", *forwarded)) == ip


def test_network_of_ipv6_is_what_one_household_has() -> None:
    """A /64 counts as one; IPv4 as it is."""
    assert Visitors.network("2001:db8::1:2") == Visitors.network("2001:db8::ffff") == "2001:db8::/64"
    assert Visitors.network("192.0.2.1") == "192.0.2.1"


@given(st.text(max_size=400), st.text(max_size=400))
def test_anything_that_is_sent_gives_texts_that_can_be_kept(forwarded: str, agent: str) -> None:
    """No header field raises, and what is kept is printable and bounded."""
    asked = request("192.0.2.1", forwarded, agent=agent)
    ip = Visitors(OURS).ip(asked)
    assert len(ip) <= 45
    Visitors.network(ip)
    said = Visitors.user_agent(asked)
    assert len(said) <= 300
    assert said.isprintable()
