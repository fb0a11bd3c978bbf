"""Tokens in URLs: what is issued reads back, and nothing else does."""

import hashlib
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hayabin.domain.token import Purpose, TokenInvalid, TokenKey, TokenProblem, TokenRing, UnsubscribeClaim

OLD = TokenKey(1, b"o" * 32)
NEW = TokenKey(2, b"n" * 64)
RING = TokenRing((OLD, NEW), active=2)
U32 = st.integers(0, 2**32 - 1)
U64 = st.integers(0, 2**64 - 1)
URL_SAFE = string.ascii_letters + string.digits + "-_"


def every_single_change(token: str) -> list[str]:
    """Every token that differs in one character, by any character of the alphabet and some of outside it."""
    return [
        token[:at] + other + token[at + 1 :]
        for at in range(len(token))
        for other in URL_SAFE + "=+/ .é"
        if other != token[at]
    ]


@given(U64)
def test_tracking_token_issued_reads_back(message_id: int) -> None:
    """Any ledger id survives the way through a URL, in 28 characters that need no escaping."""
    token = RING.issue_tracking(message_id)
    assert RING.read_tracking(token) == message_id
    assert len(token) == 28
    assert set(token) <= set(URL_SAFE)


@given(st.builds(UnsubscribeClaim, U32, U32, U64, U64))
def test_unsubscribe_token_issued_reads_back(claim: UnsubscribeClaim) -> None:
    """The claim is whole in the token itself: no ledger row is needed to serve it."""
    assert RING.read_unsubscribe(RING.issue_unsubscribe(claim)) == claim


def test_tracking_token_any_character_changed_refused() -> None:
    """No single change of a tracking token reads, whatever its place or character."""
    for changed in every_single_change(RING.issue_tracking(81985529216486895)):
        with pytest.raises(TokenInvalid):
            RING.read_tracking(changed)


def test_unsubscribe_token_any_character_changed_refused() -> None:
    """The same for unsubscribe tokens, whose last character has four unused bits that must stay zero."""
    for changed in every_single_change(RING.issue_unsubscribe(UnsubscribeClaim(7, 8, 9, 10))):
        with pytest.raises(TokenInvalid):
            RING.read_unsubscribe(changed)


def test_link_mac_any_character_changed_refused() -> None:
    """The same for the MAC of a dynamic destination."""
    for changed in every_single_change(RING.link_mac(5, 3, "https://shop.example/?u=5")):
        with pytest.raises(TokenInvalid):
            RING.check_link_mac(5, 3, "https://shop.example/?u=5", changed)


@given(U64, U32, st.text(alphabet=st.characters(), max_size=80))
def test_link_mac_issued_is_accepted_for_that_link_alone(message_id: int, link: int, url: str) -> None:
    """The MAC binds mail, link and destination: a change of any one of them is refused."""
    mac = RING.link_mac(message_id, link, url)
    RING.check_link_mac(message_id, link, url, mac)
    for other in (
        (message_id ^ 1, link, url),
        (message_id, link ^ 1, url),
        (message_id, link, url + "x"),
        (message_id, link, "https://evil.example/"),
    ):
        with pytest.raises(TokenInvalid):
            RING.check_link_mac(*other, mac)


def test_link_mac_number_out_of_range_refused() -> None:
    """A link number from a URL that fits no link is a refusal, not a crash."""
    mac = RING.link_mac(1, 0, "https://shop.example/")
    for link in (-1, 2**32):
        with pytest.raises(TokenInvalid):
            RING.check_link_mac(1, link, "https://shop.example/", mac)


@given(st.text(max_size=60))
def test_reading_any_text_raises_token_invalid_only(text: str) -> None:
    """Whatever arrives in a URL gives the one refusal."""
    for read in (RING.read_tracking, RING.read_unsubscribe, lambda mac: RING.check_link_mac(1, 2, "u", mac)):
        with pytest.raises(TokenInvalid):
            read(text)


@given(st.sampled_from((28, 50)).flatmap(lambda n: st.text(alphabet=URL_SAFE, min_size=n, max_size=n)))
def test_reading_well_formed_but_unsigned_text_is_refused(text: str) -> None:
    """The right length and alphabet do not make a token."""
    with pytest.raises(TokenInvalid):
        RING.read_tracking(text)
    with pytest.raises(TokenInvalid):
        RING.read_unsubscribe(text)


def test_token_of_rotated_key_reads_until_the_key_leaves_the_ring() -> None:
    """Rotation keeps old mails' links alive; taking the key out ends them, with its own reason."""
    token = TokenRing((OLD,), active=1).issue_tracking(42)
    assert RING.read_tracking(token) == 42
    with pytest.raises(TokenInvalid) as refused:
        TokenRing((NEW,), active=2).read_tracking(token)
    assert refused.value.reason is TokenProblem.UNKNOWN_KEY


def test_token_of_other_secret_with_same_key_id_is_forged() -> None:
    """The key id alone opens nothing."""
    token = TokenRing((TokenKey(2, b"x" * 32),), active=2).issue_tracking(42)
    with pytest.raises(TokenInvalid) as refused:
        RING.read_tracking(token)
    assert refused.value.reason is TokenProblem.FORGED


def test_mac_of_one_purpose_is_refused_for_another() -> None:
    """A MAC that somebody can see in one place is worth nothing in another."""
    sealed = RING.seal(b"\x02" + b"\x00" * 8, Purpose.TRACKING)
    for purpose in set(Purpose) - {Purpose.TRACKING}:
        with pytest.raises(TokenInvalid):
            RING.open(sealed, purpose)


def test_purpose_values_fit_blake2b_person() -> None:
    """Every purpose is a distinct ``person`` of at most 16 bytes."""
    for purpose in Purpose:
        assert len(purpose.value.encode()) <= hashlib.blake2b.PERSON_SIZE


def test_token_wire_form_is_pinned() -> None:
    """Tokens in mails that are out must read in every later release: these were issued by the first."""
    assert RING.issue_tracking(1) == "AgAAAAAAAAABk1I9U2pTeSSNs9VD"
    assert RING.link_mac(1, 2, "https://shop.example/") == "AkZxpSpiPcS-ws1MrQ"
    assert RING.issue_unsubscribe(UnsubscribeClaim(1, 2, 3, 4)) == "AgAAAAEAAAACAAAAAAAAAAMAAAAAAAAABJfeys-c4QTE5ipSvw"


@pytest.mark.parametrize(("key_id", "secret"), [(-1, b"s" * 32), (256, b"s" * 32), (1, b"s" * 31), (1, b"s" * 65)])
def test_token_key_out_of_bounds_refused(key_id: int, secret: bytes) -> None:
    """A short secret or an id that is no byte stops the start, not the first mail."""
    with pytest.raises(ValueError, match="key"):
        TokenKey(key_id, secret)


def test_token_ring_inconsistent_refused() -> None:
    """Two keys of one id, or an active key that is not there, stop the start."""
    with pytest.raises(ValueError, match="same id"):
        TokenRing((OLD, TokenKey(1, b"z" * 32)), active=1)
    with pytest.raises(ValueError, match="active"):
        TokenRing((OLD,), active=9)


def test_token_key_repr_hides_the_secret() -> None:
    """A key in a log line or traceback shows its id alone."""
    assert "ooo" not in repr(OLD)


@given(st.integers(0, 2**64 - 1), st.text(max_size=40))
def test_confirm_token_holds_for_its_mail_and_address_alone(message_id: int, address: str) -> None:
    """It says which mail it is of, and is refused for any other address or purpose."""
    token = RING.issue_confirm(message_id, address)
    assert RING.look_at_confirm(token) == message_id
    RING.check_confirm(token, address)
    for other in (address + "x", address.swapcase() + " "):
        with pytest.raises(TokenInvalid):
            RING.check_confirm(token, other)
    with pytest.raises(TokenInvalid):
        RING.read_tracking(token)
    with pytest.raises(TokenInvalid):
        RING.check_confirm(RING.issue_tracking(message_id), address)


@given(st.text(max_size=60))
def test_confirm_token_of_any_text_raises_token_invalid_only(text: str) -> None:
    """Whatever stands in the path, nothing else comes out."""
    for read in (RING.look_at_confirm, lambda token: RING.check_confirm(token, "a@b.example")):
        with pytest.raises(TokenInvalid):
            read(text)
