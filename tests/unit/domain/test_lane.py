"""Providers are told by whole labels, and every lane has its place in the list."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hayabin.domain.lane import PROVIDERS, lane_of, lanes, provider_of_domain, provider_of_mx

DOMAINS = st.from_regex(r"[a-z0-9]{1,10}(\.[a-z0-9]{1,10}){1,3}", fullmatch=True)


@pytest.mark.parametrize(
    ("domain", "provider"),
    [
        ("gmail.com", "gmail"),
        ("GMAIL.COM.", "gmail"),
        ("notgmail.com", None),
        ("gmail.com.example.jp", None),
        ("yahoo.com", "yahoo"),
        ("yahoo.co.uk", "yahoo"),
        ("yahoo.co.jp", "yahoo_jp"),
        ("ybb.ne.jp", "yahoo_jp"),
        ("aol.com", "yahoo"),
        ("att.net", "yahoo"),
        ("rogers.com", "yahoo"),
        ("ymail.ne.jp", "yahoo_jp"),
        ("outlook.jp", "microsoft"),
        ("live.com.au", "microsoft"),
        ("me.com", "icloud"),
        ("docomo.ne.jp", "docomo"),
        ("ezweb.ne.jp", "au"),
        ("a2.ezweb.ne.jp", "au"),
        ("au.com", "au"),
        ("softbank.ne.jp", "softbank"),
        ("i.softbank.jp", "softbank"),
        ("d.vodafone.ne.jp", "softbank"),
        ("ymobile1.ne.jp", "softbank"),
        ("example.co.jp", None),
        ("", None),
    ],
)
def test_provider_of_domain_known_names(domain: str, provider: str | None) -> None:
    """Consumer domains have their provider; look-alikes have none."""
    assert provider_of_domain(domain) == provider


@pytest.mark.parametrize(
    ("host", "provider"),
    [
        ("aspmx.l.google.com", "gmail"),
        ("ALT1.ASPMX.L.GOOGLE.COM.", "gmail"),
        ("aspmx2.googlemail.com", "gmail"),
        ("smtp.google.com", "gmail"),
        ("evil-l.google.com.example.jp", None),
        ("xl.google.com", None),
        ("example-co-jp.mail.protection.outlook.com", "microsoft"),
        ("outlook-com.olc.protection.outlook.com", "microsoft"),
        ("example.k-v1.mx.microsoft", "microsoft"),
        ("mx01.mail.icloud.com", "icloud"),
        ("mta5.am0.yahoodns.net", "yahoo"),
        ("mx1.mail.yahoo.co.jp", "yahoo_jp"),
        ("mfsmax.docomo.ne.jp", "docomo"),
        ("mx1.example.co.jp", None),
    ],
)
def test_provider_of_mx_known_suffixes(host: str, provider: str | None) -> None:
    """A company's domain counts with the provider that hosts it."""
    assert provider_of_mx(host) == provider


@given(DOMAINS, st.sampled_from(["bulk", "transactional"]), st.none() | st.sampled_from(sorted(PROVIDERS)))
def test_lane_of_any_domain_is_listed_and_stable(domain: str, message_class: str, known: str | None) -> None:
    """A lane always has a queue, and is the same for the same domain whatever its case."""
    lane = lane_of(domain, message_class, known)  # type: ignore[arg-type]
    assert lane in lanes()
    assert lane == lane_of(domain.upper() + ".", message_class, known)  # type: ignore[arg-type]


def test_lane_of_hash_pinned() -> None:
    """The spread of unknown domains never changes: mails of one domain must not change lanes between releases."""
    got = [lane_of(f"domain{n}.example.jp", "bulk") for n in range(8)]
    assert got == ["other-0", "other-0", "other-3", "other-3", "other-0", "other-3", "other-3", "other-1"]


def test_lane_of_many_domains_even_spread() -> None:
    """Similar names do not crowd in one lane."""
    counts = Counter(lane_of(f"shop{n}.example.com", "bulk") for n in range(1000))
    assert sorted(counts) == ["other-0", "other-1", "other-2", "other-3"]
    assert min(counts.values()) > 150


def test_lane_of_known_provider_and_class() -> None:
    """A provider found by MX wins over the hash; the transactional class has lanes of its own."""
    assert lane_of("example.co.jp", "bulk", "gmail") == "gmail"
    assert lane_of("gmail.com", "bulk") == "gmail"
    assert lane_of("gmail.com", "transactional", "gmail").startswith("transactional-")
    with pytest.raises(ValueError, match="unknown provider"):
        lane_of("example.co.jp", "bulk", "example")


def test_lanes_names_unique() -> None:
    """No two lanes share a name, and there is one for each provider, four others and two transactional ones."""
    assert len(set(lanes())) == len(lanes()) == len(PROVIDERS) + 4 + 2
