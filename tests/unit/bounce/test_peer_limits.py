"""The limits of the inbound server, with a clock in the hand."""

from hypothesis import given
from hypothesis import strategies as st

from services.bounce.peer_limits import PEERS_MAX, InboundLimits, PeerLimiter, Refusal, peer_of

PEERS = st.sampled_from(["192.0.2.1", "192.0.2.2", "2001:db8::/64"])


@given(st.lists(st.tuples(PEERS, st.booleans()), max_size=200))
def test_connections_are_never_above_the_limits(steps: list[tuple[str, bool]]) -> None:
    """Whatever the order of coming and going, each peer and the whole stay within bounds, and nobody is kept out wrongly."""
    limiter = PeerLimiter(InboundLimits(connections=5, connections_per_peer=3))
    held: dict[str, int] = {}
    for peer, comes in steps:
        if comes:
            refusal = limiter.connect(peer)
            if sum(held.values()) >= 5:
                assert refusal is Refusal.TOO_MANY_CONNECTIONS
            elif held.get(peer, 0) >= 3:
                assert refusal is Refusal.PEER_CONNECTIONS
            else:
                assert refusal is None
                held[peer] = held.get(peer, 0) + 1
        elif held.get(peer, 0) > 0:
            limiter.disconnect(peer)
            held[peer] -= 1


@given(st.lists(st.floats(0, 5), min_size=1, max_size=200))
def test_mails_in_any_minute_are_at_most_twice_the_share(waits_s: list[float]) -> None:
    """A token bucket: in any 60 seconds at most a full bucket and what flows in meanwhile."""
    limiter = PeerLimiter(InboundLimits(mails_per_peer_per_minute=10))
    now_s, admitted = 1000.0, []
    for wait_s in waits_s:
        now_s += wait_s
        if limiter.mail("192.0.2.1", now_s) is None:
            admitted.append(now_s)
    for begin in admitted:
        assert sum(1 for at in admitted if begin <= at < begin + 60) <= 20


def test_peer_over_its_rate_waits_while_others_do_not() -> None:
    """One noisy peer has used its share; another is served, and the first again after a while."""
    limiter = PeerLimiter(InboundLimits(mails_per_peer_per_minute=2))
    assert [limiter.mail("192.0.2.1", 0.0) for _ in range(3)] == [None, None, Refusal.PEER_RATE]
    assert limiter.mail("192.0.2.2", 0.0) is None
    assert limiter.mail("192.0.2.1", 30.0) is None
    assert limiter.mail("192.0.2.1", 30.0) is Refusal.PEER_RATE


def test_peer_that_was_quiet_for_long_has_one_share() -> None:
    """An hour of silence saves up no more than a minute's mails."""
    limiter = PeerLimiter(InboundLimits(mails_per_peer_per_minute=2))
    limiter.mail("192.0.2.1", 0.0)
    assert [limiter.mail("192.0.2.1", 3600.0) for _ in range(3)] == [None, None, Refusal.PEER_RATE]


def test_remembered_peers_are_bounded() -> None:
    """A sender with endless addresses does not fill the memory."""
    limiter = PeerLimiter(InboundLimits())
    for number in range(PEERS_MAX + 50):
        limiter.mail(str(number), 0.0)
    assert len(limiter._allowance) == PEERS_MAX


def test_peer_is_an_ipv4_address_or_an_ipv6_network() -> None:
    """The lower half of an IPv6 address is free to choose, so it does not make a new peer."""
    assert peer_of("192.0.2.1") == "192.0.2.1"
    assert peer_of("::ffff:192.0.2.1") == "192.0.2.1"
    assert peer_of("2001:db8::1") == peer_of("2001:db8::ffff:1") == "2001:db8::/64"
    assert peer_of("fe80::1%eth0") == "fe80::/64"
    assert peer_of("unknown") == "unknown"
