"""The address parser under inputs made from the corpus, and against what a public test set says of addresses."""

import json
import random
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hayabin.domain.address import MOBILE_CARRIERS, AddressInvalid, is_mobile_carrier, parse_address
from hayabin.domain.address_flags import AddressFlag, flags_of
from hayabin.domain.disposable_domains import DISPOSABLE_DOMAINS
from tests.fuzz.__main__ import fuzz
from tests.fuzz.inputs import made_from
from tests.fuzz.targets import TARGETS, feed_address

TABLE = Path(__file__).parents[2] / "corpus" / "addresses" / "isemail.jsonl"
CASES: list[dict[str, Any]] = [json.loads(line) for line in TABLE.read_text().splitlines()]
MAILABLE = ("valid", "dnsWarn")
"""What isemail says of addresses that have nothing unusual."""
UNUSUAL = ("rfc5321", "rfc5322", "cfws", "deprecated")


def test_address_fuzz_short_form_finds_nothing() -> None:
    """Twenty thousand inputs made from the corpus: no crash, no broken promise, none over time."""
    assert fuzz("address", 20_000, 1) == ""


def test_fuzz_inputs_of_a_seed_are_the_same_again() -> None:
    """A failure can be run again; another seed gives others; a huge one is among them."""
    seeds = TARGETS["address"].seeds()
    first = list(made_from(seeds, 20_000, 7))
    assert first == list(made_from(seeds, 20_000, 7))
    assert first != list(made_from(seeds, 20_000, 8))
    assert len(first) == 20_000
    assert max(map(len, first)) >= 1_000_000


def test_fuzz_names_the_input_that_breaks_a_promise(monkeypatch: pytest.MonkeyPatch) -> None:
    """Were a control character let through, the fuzz would say so, with the seed and the input."""
    monkeypatch.setattr("hayabin.domain.address._require_visible", lambda _given: None)
    failure = fuzz("address", 20_000, 1)
    assert failure.startswith("address, seed 1, input ")


@pytest.mark.parametrize("case", CASES, ids=lambda case: ascii(case["given"][:40]))
def test_address_of_the_public_set_is_judged_as_written(case: dict[str, Any]) -> None:
    """What we say of each of isemail's cases; where we differ from it, the case says why."""
    try:
        said = {"wire": parse_address(case["given"]).wire}
    except AddressInvalid as refused:
        said = {"problem": refused.reason.value}
    assert {name: case[name] for name in said} == said
    plain = case["isemail"].startswith(MAILABLE)
    assert ("why" in case) == (plain != ("wire" in case) or (case["isemail"].startswith(UNUSUAL)))


def test_public_set_differences_are_strictness_white_space_and_extensions() -> None:
    """We take nothing that isemail refuses but white space around, the carriers' dots and RFC 6531; it is all there."""
    more = [case for case in CASES if "wire" in case and case["isemail"].startswith("err")]
    for case in more:
        address = parse_address(case["given"])
        spaced = case["given"] != case["given"].strip()
        assert spaced or address.is_japanese_mobile or not case["given"].isascii()
    refused = {case["problem"] for case in CASES if "problem" in case and case["isemail"].startswith(UNUSUAL)}
    assert {"quoted", "commented", "domain_literal", "control_character", "space_inside"} <= refused
    assert len(CASES) > 190


@pytest.mark.parametrize(
    "domain",
    ["docomo.ne.jp", "ezweb.ne.jp", "au.com", "softbank.ne.jp", "i.softbank.jp", "d.vodafone.ne.jp",
     "t.vodafone.ne.jp", "vodafone.ne.jp", "ymobile.ne.jp", "ymobile1.ne.jp", "y-mobile.ne.jp"],
)  # fmt: skip
def test_odd_dots_are_taken_at_carriers_and_named_elsewhere(domain: str) -> None:
    """Dots in a row, at the front and before the @: the carriers gave them out, nobody else did."""
    for local in ("a..b", ".a", "a.", "..a..b.."):
        assert parse_address(f"{local}@{domain}").wire == f'"{local}"@{domain}'
        for other in (f"x{domain}", f"{domain}.example", f"{domain}.jp", "example.jp"):
            if not is_mobile_carrier(other):
                with pytest.raises(AddressInvalid, match="misplaced_dot"):
                    parse_address(f"{local}@{other}")
    assert domain in MOBILE_CARRIERS or domain.endswith(".vodafone.ne.jp")


def test_flags_say_what_stands_out_and_refuse_nothing() -> None:
    """Tasks and mailboxes for minutes are flagged, whatever their case or tag; a person's address is not."""
    assert parse_address("Info+jp@example.jp").flags == ["role"]
    assert parse_address("postmaster@mailinator.com").flags == ["role", "disposable"]
    assert parse_address("a@x.Mailinator.COM").flags == ["disposable"]
    assert parse_address("taro.info@example.jp").flags == []
    assert parse_address("a@notmailinator.com.example.jp").flags == []
    assert parse_address('"a..info"@docomo.ne.jp').flags == []
    for name in ("abuse", "noc", "security", "postmaster", "hostmaster", "webmaster", "info", "support", "sales"):
        assert flags_of(f"{name}@example.jp") == [AddressFlag.ROLE]


def test_disposable_domains_are_domains_of_the_parser() -> None:
    """Every entry is a domain that an address may have, in the form that keys have; some hundreds of them."""
    for domain in DISPOSABLE_DOMAINS:
        assert parse_address(f"a@{domain}").domain == domain
    assert len(DISPOSABLE_DOMAINS) > 300


@pytest.mark.parametrize(
    "piece", ["a", "@", ".", "a@", '"', "a.", "(", "あ", "\u200b", " ", "xn--", "a@b.", "\r\n", "Σ"]
)
def test_address_of_a_million_characters_is_answered_at_once(piece: str) -> None:
    """Time does not grow with what somebody sends."""
    text = (piece * 1_000_000)[:1_000_000]
    begun = time.thread_time()
    with pytest.raises(AddressInvalid):
        parse_address(text)
    assert time.thread_time() - begun < 0.1


@given(st.text(max_size=80), st.integers(0, 80), st.characters(categories=["Cc", "Cf", "Zl", "Zp"]))
def test_address_with_a_control_character_inside_is_never_taken(text: str, at: int, control: str) -> None:
    """Wherever an unseen character stands between two others, the whole is refused."""
    chance = random.Random(at)
    for around in ("taro@example.jp", f"{text}@example.jp", f'"{text}"@docomo.ne.jp'):
        place = chance.randint(1, max(1, len(around) - 1))
        with pytest.raises(AddressInvalid):
            parse_address(f"a{around[:place]}{control}{around[place:]}b")


@given(st.binary(max_size=120))
def test_address_of_any_bytes_keeps_all_promises(content: bytes) -> None:
    """What the fuzz holds the parser to, under hypothesis, which makes failures small."""
    feed_address(content)
