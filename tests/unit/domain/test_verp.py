"""Signed return paths and Message-IDs: what comes back names our mail, or nothing."""

import re
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hayabin.domain.token import TokenInvalid, TokenKey, TokenProblem, TokenRing, UnsubscribeClaim
from hayabin.domain.verp import (
    VerpClaim,
    issue_message_id,
    issue_return_path,
    looks_like_return_path,
    looks_like_unsubscribe_address,
    read_message_id,
    read_return_path,
    read_unsubscribe_address,
    unsubscribe_address,
)

RING = TokenRing((TokenKey(1, b"r" * 32), TokenKey(7, b"s" * 32)), active=7)
U64 = st.integers(0, 2**64 - 1)
U16 = st.integers(0, 2**16 - 1)
OTHERS = "abcdefghijklmnopqrstuvwxyz0123456789-.=@ \u212a"  # with the Kelvin sign, whose lower case is "k"


@given(U64, U16, st.booleans())
def test_return_path_issued_reads_back_in_either_case(message_id: int, attempt: int, shouted: bool) -> None:
    """Message and attempt come home, also through a system that writes everything in capitals."""
    address = issue_return_path(message_id, attempt, RING, "bounce.example.jp")
    assert read_return_path(address.upper() if shouted else address, RING) == VerpClaim(message_id, attempt)
    assert looks_like_return_path(address)


@given(U64, U16)
def test_return_path_is_a_short_dot_atom(message_id: int, attempt: int) -> None:
    """The local part needs no quoting and stays within the 64 octets of RFC 5321 §4.5.3.1.1."""
    local = issue_return_path(message_id, attempt, RING, "b.example").partition("@")[0]
    assert re.fullmatch(r"b-[a-z2-7]{37}", local)


def test_return_path_any_character_changed_refused() -> None:
    """No single change of the local part reads, except the case of a letter."""
    address = issue_return_path(123456789, 3, RING, "b.example")
    for at in range(address.index("@")):
        for other in OTHERS:
            if other != address[at]:
                with pytest.raises(TokenInvalid):
                    read_return_path(address[:at] + other + address[at + 1 :], RING)


@given(U64)
def test_message_id_issued_reads_back(message_id: int) -> None:
    """With brackets as in the header, without them as some reports quote it, with white space, in capitals."""
    field = issue_message_id(message_id, RING, "example.jp")
    assert field.startswith(f"<{message_id}.")
    for spelling in (field, field[1:-1], f" {field}\r\n", field.upper()):
        assert read_message_id(spelling, RING) == message_id


def test_message_id_any_character_changed_refused() -> None:
    """No single change before the @ reads: neither the number nor the MAC can be moved to another row."""
    field = issue_message_id(1024, RING, "example.jp")
    for at in range(1, field.index("@")):
        for other in OTHERS:
            if other != field[at]:
                with pytest.raises(TokenInvalid):
                    read_message_id(field[:at] + other + field[at + 1 :], RING)


def test_letter_that_lower_cases_into_the_alphabet_refused() -> None:
    """The Kelvin sign becomes a ``k`` in lower case; it is another spelling, so it is no return path or Message-ID."""
    addresses = (issue_return_path(number, 1, RING, "b.example") for number in range(1000))
    fields = (issue_message_id(number, RING, "b.example") for number in range(1000))
    with pytest.raises(TokenInvalid):
        read_return_path(next(text for text in addresses if "k" in text).replace("k", "\u212a"), RING)
    with pytest.raises(TokenInvalid):
        read_message_id(next(text for text in fields if "k" in text).replace("k", "\u212a"), RING)


def test_message_id_second_spelling_of_the_number_refused() -> None:
    """A leading zero, or a number beyond 64 bits, is not a Message-ID of ours."""
    field = issue_message_id(5, RING, "example.jp")
    for other in ("<05.", f"<{2**64 + 5}."):
        with pytest.raises(TokenInvalid):
            read_message_id(field.replace("<5.", other), RING)


def test_message_id_is_the_same_for_every_attempt() -> None:
    """A retry is the same mail: its Message-ID depends on ledger id and key alone."""
    assert issue_message_id(5, RING, "example.jp") == issue_message_id(5, RING, "example.jp")
    assert issue_return_path(5, 1, RING, "b.example") != issue_return_path(5, 2, RING, "b.example")


@given(st.text(max_size=80))
def test_reading_any_text_raises_token_invalid_only(text: str) -> None:
    """Whatever stands in an envelope or a reported header gives the one refusal."""
    for read in (read_return_path, read_message_id):
        for dressed in (text, f"b-{text}@b.example", f"<{text}.aaaaaaaaaaaaaaaaaaaaa@x>"):
            with pytest.raises(TokenInvalid):
                read(dressed, RING)


def test_return_path_of_retired_key_is_refused_by_name() -> None:
    """The report of a bounce to a retired key says so, instead of calling it forged."""
    address = issue_return_path(1, 1, RING, "b.example")
    with pytest.raises(TokenInvalid) as refused:
        read_return_path(address, TokenRing((TokenKey(1, b"r" * 32),), active=1))
    assert refused.value.reason is TokenProblem.UNKNOWN_KEY


def test_return_path_over_long_address_refused() -> None:
    """A signed local part before an endless domain is not looked at."""
    address = issue_return_path(1, 1, RING, "b" * 400 + ".example")
    assert not looks_like_return_path(address)
    with pytest.raises(TokenInvalid):
        read_return_path(address, RING)


def test_return_path_attempt_out_of_range_raises() -> None:
    """An attempt number that does not fit is a fault of the caller, and loud."""
    with pytest.raises(struct.error):
        issue_return_path(1, 2**16, RING, "b.example")


def test_wire_forms_are_pinned() -> None:
    """Bounces come days, complaints come months after the mail: these forms must read in every later release."""
    assert issue_return_path(1, 2, RING, "b.example") == "b-a4aaaaaaaaaaaaiaakaw44vkoan4l3vf7yupy@b.example"
    assert issue_message_id(1, RING, "b.example") == "<1.a4psgn3u7n5kvxwjikefm@b.example>"


U32 = st.integers(0, 2**32 - 1)


@given(st.builds(UnsubscribeClaim, U32, U32, U64, U64), st.booleans())
def test_unsubscribe_address_reads_back_in_any_case(claim: UnsubscribeClaim, shouted: bool) -> None:
    """Person, list and mail come home, also in capitals; the local part is a dot-atom of at most 64 octets."""
    address = unsubscribe_address(RING.seal_unsubscribe(claim), "bounce.example.jp")
    assert re.fullmatch(r"u-[a-z2-7]{60}@bounce\.example\.jp", address)
    assert read_unsubscribe_address(address.upper() if shouted else address, RING) == claim
    assert looks_like_unsubscribe_address(address)
    assert not looks_like_return_path(address)


def test_unsubscribe_address_any_character_changed_refused() -> None:
    """No letter of the local part can be another one."""
    address = unsubscribe_address(RING.seal_unsubscribe(UnsubscribeClaim(7, 8, 9, 10)), "b.example")
    local = address.partition("@")[0]
    for place, character in enumerate(local):
        for other in OTHERS:
            if other == character:
                continue
            with pytest.raises(TokenInvalid):
                read_unsubscribe_address(f"{local[:place]}{other}{local[place + 1 :]}@b.example", RING)
