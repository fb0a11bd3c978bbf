"""The address parser: every case of the table in tests/corpus/address, and what must hold for any text."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from hayabin.domain.address import (
    MOBILE_CARRIERS,
    Address,
    AddressInvalid,
    AddressProblem,
    parse_address,
    plain_forms,
    wire_form,
)

TABLE = Path(__file__).parents[2] / "corpus" / "address" / "cases.jsonl"
CASES: list[dict[str, Any]] = [json.loads(line) for line in TABLE.read_text().splitlines()]
ATEXT = "abcXYZ019!#$%&'*+/=?^_`{|}~-"
LOCALS = st.text(alphabet=ATEXT + "..あé", min_size=1, max_size=20)
DOMAINS = st.sampled_from(["example.jp", "Example.COM", "例え.jp", "xn--r8jz45g.jp", *sorted(MOBILE_CARRIERS)[:6]])


def parse_or_none(text: str) -> Address | None:
    """The address, or None where it is refused."""
    try:
        return parse_address(text)
    except AddressInvalid:
        return None


@pytest.mark.parametrize("case", CASES, ids=lambda case: ascii(case["given"][:40]))
def test_address_of_the_table_parses_or_is_refused_as_written(case: dict[str, Any]) -> None:
    """Each line of the table holds: these wire and key forms, or this reason."""
    if "problem" in case:
        with pytest.raises(AddressInvalid) as refused:
            parse_address(case["given"])
        assert refused.value.reason == case["problem"]
    else:
        address = parse_address(case["given"])
        assert (address.wire, address.key) == (case["wire"], case["key"])
        assert address.given == case["given"].strip()


def test_address_table_covers_every_problem() -> None:
    """No reason exists that no line of the table shows."""
    assert {case["problem"] for case in CASES if "problem" in case} == set(AddressProblem)


@given(st.text(max_size=300))
@example("a@" + "b." * 490 + "c")
@example('"' + "a" * 900 + "@docomo.ne.jp")
def test_parse_any_text_gives_an_address_or_address_invalid(text: str) -> None:
    """Nothing else is ever raised, and what passes holds no character that could end an SMTP command or path."""
    address = parse_or_none(text)
    if address is not None:
        assert not set(address.wire) & set("\r\n\t <>()[],;:\\")
        assert address.domain.isascii()


@given(LOCALS, DOMAINS)
def test_parse_of_own_wire_form_gives_the_same_key(local: str, domain: str) -> None:
    """What went to RCPT and comes back in a DSN finds the same suppression key, and wire and key are stable."""
    address = parse_or_none(f"{local}@{domain}")
    if address is not None:
        again = parse_address(address.wire)
        assert (again.key, again.wire) == (address.key, address.wire)
        assert parse_address(address.key).key == address.key
        assert len(address.wire.encode()) <= 254


@given(LOCALS, DOMAINS)
def test_key_ignores_case_of_ascii_letters(local: str, domain: str) -> None:
    """However a person writes their address, uniqueness and suppression see one."""
    if local.isascii():
        keys = {
            found.key
            for spelling in (local, local.upper(), local.lower())
            if (found := parse_or_none(f"{spelling}@{domain}"))
        }
        assert len(keys) <= 1


@given(st.text(max_size=80) | st.builds("{}@{}".format, LOCALS, DOMAINS) | st.sampled_from([c["given"] for c in CASES]))
@example("a@b@example.jp")
@example("a@Example.JP")
@example("Taro@xn--r8jz45g.jp")
@example("taro@xn--a.jp")
@example(" a@example.jp")
@example("a" * 65 + "@example.jp")
@example("a@" + "b." * 125 + "jp")
@example("a@example.123")
def test_plain_forms_are_those_of_the_parser_or_none(text: str) -> None:
    """The short way for millions never says anything else than the parser: wire and key, or nothing at all."""
    forms = plain_forms(text)
    if forms is not None:
        address = parse_address(text)
        assert (address.given, address.wire, address.key) == (text, *forms)


def test_plain_forms_take_what_nearly_all_addresses_are() -> None:
    """The short way is taken: otherwise it would prove nothing that it never differs."""
    assert plain_forms("Taro.Yamada+news@Mail.Example.co.jp") == (
        "Taro.Yamada+news@mail.example.co.jp",
        "taro.yamada+news@mail.example.co.jp",
    )
    assert plain_forms("a..b@docomo.ne.jp") is None


def test_odd_dots_wire_form_follows_the_provider_policy() -> None:
    """Quoted by RFC 5321 unless a provider's policy says bare; a Dot-string is never quoted."""
    assert wire_form("a..b", "docomo.ne.jp") == '"a..b"@docomo.ne.jp'
    assert wire_form("a..b", "docomo.ne.jp", quote_odd_dots=False) == "a..b@docomo.ne.jp"
    assert wire_form("a.b", "docomo.ne.jp") == "a.b@docomo.ne.jp"


def test_address_flags_name_carrier_and_smtputf8() -> None:
    """The two facts that routing asks for."""
    assert parse_address("taro@docomo.ne.jp").is_japanese_mobile
    assert not parse_address("taro@example.jp").is_japanese_mobile
    assert parse_address("太郎@example.jp").needs_smtputf8
    assert not parse_address("taro@例え.jp").needs_smtputf8


def test_refusal_detail_leaves_the_address_out() -> None:
    """A refusal may be logged: reason and place, not the person."""
    with pytest.raises(AddressInvalid) as refused:
        parse_address("hanako..suzuki@example.jp")
    assert "hanako" not in str(refused.value)
