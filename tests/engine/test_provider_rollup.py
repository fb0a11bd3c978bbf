"""Limits hold for the provider, not for each domain: by the domain's name, by the name of its MX host."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hayabin.domain.lane import (
    OTHER_LANES,
    PROVIDERS,
    TRANSACTIONAL_LANES,
    lane_of,
    lanes,
    provider_of_domain,
    provider_of_mx,
)

LABEL = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,10}[a-z0-9])?", fullmatch=True)
LABELS = st.lists(LABEL, min_size=1, max_size=4).map(".".join)
SUFFIXES = sorted((suffix, name) for name, provider in PROVIDERS.items() for suffix in provider.mx_suffixes)
DOMAINS = sorted((domain, name) for name, provider in PROVIDERS.items() for domain in provider.domains)
PARENTS = sorted((parent, name) for name, provider in PROVIDERS.items() for parent in provider.parents)


@st.composite
def spelled(draw: st.DrawFn, name: str) -> str:
    """Write a name with letters of any case, with or without the final dot."""
    upper = draw(st.lists(st.booleans(), min_size=len(name), max_size=len(name)))
    letters = [letter.upper() if big else letter for letter, big in zip(name, upper, strict=True)]
    return "".join(letters) + draw(st.sampled_from(["", "."]))


@pytest.mark.parametrize(
    ("host", "provider"),
    [
        ("gmail-smtp-in.l.google.com", "gmail"),
        ("alt4.aspmx.l.google.com", "gmail"),
        ("aspmx5.googlemail.com", "gmail"),
        ("smtp.google.com", "gmail"),
        ("mta7.am0.yahoodns.net", "yahoo"),
        ("mx-aol.mail.gm0.yahoodns.net", "yahoo"),
        ("mx-vz.mail.am0.yahoodns.net", "yahoo"),
        ("mx-rogers.mail.am0.yahoodns.net", "yahoo"),
        ("mx-biz.mail.am0.yahoodns.net", "yahoo"),
        ("hotmail-com.olc.protection.outlook.com", "microsoft"),
        ("eur.olc.protection.outlook.com", "microsoft"),
        ("example-com.mail.protection.outlook.com", "microsoft"),
        ("example-com.mail.eo.outlook.com", "microsoft"),
        ("example-com.o-v1.mx.microsoft", "microsoft"),
        ("example-us.mail.protection.office365.us", "microsoft"),
        ("mx02.mail.icloud.com", "icloud"),
        ("mfsmax.docomo.ne.jp", "docomo"),
        ("msmx.au.com", "au"),
        ("lsean.ezweb.ne.jp", "au"),
        ("mx.softbank.ne.jp", "softbank"),
        ("mx.i.softbank.jp", "softbank"),
        ("mx5.mail.yahoo.co.jp", "yahoo_jp"),
        # Filters of others in front of anybody's mailboxes, and look-alikes.
        ("mxa-00123456.gslb.pphosted.com", None),
        ("example-com.mail.protection.outlook.com.example.net", None),
        ("xsmtp.google.com", None),
        ("notyahoodns.net", None),
        ("mail.google.com", None),
        ("com", None),
        ("", None),
        (".", None),
    ],
)
def test_provider_of_mx_hosts_as_published(host: str, provider: str | None) -> None:
    """Hosts as they stand in the DNS, and names that only look like them."""
    assert provider_of_mx(host) == provider


@given(st.data(), st.sampled_from(SUFFIXES), st.none() | LABELS)
def test_provider_of_mx_suffix_below_and_itself_whatever_the_case(
    data: st.DataObject, known: tuple[str, str], below: str | None
) -> None:
    """A suffix and everything below it is the provider's, in any case, with or without the final dot."""
    suffix, provider = known
    host = suffix if below is None else f"{below}.{suffix}"
    assert provider_of_mx(data.draw(spelled(host))) == provider


@given(st.sampled_from(SUFFIXES), LABEL)
def test_provider_of_mx_whole_labels_only(known: tuple[str, str], more: str) -> None:
    """A label that only ends in a known one, or a known name in the middle of another, is not the provider's."""
    suffix, provider = known
    expected = provider_of_mx(suffix.partition(".")[2])
    assert expected in (None, provider)
    assert provider_of_mx(f"{more}{suffix}") == expected
    assert provider_of_mx(f"{suffix}.{more}.example") is None


@given(st.sampled_from(DOMAINS + PARENTS), LABEL)
def test_provider_of_domain_whole_labels_only(known: tuple[str, str], more: str) -> None:
    """``notgmail.com`` and ``gmail.com.example`` are not gmail; what is below a domain is not, unless it is a parent."""
    domain, provider = known
    parents = {parent for parent, _ in PARENTS}
    assert provider_of_domain(f"{domain}.{more}.example") is None
    below = provider_of_domain(f"{more}.{domain}")
    assert below == (
        provider if domain in parents else provider_of_domain(domain) if _is_below(domain, parents) else None
    )
    if f"{more}{domain}" not in dict(DOMAINS + PARENTS):
        assert provider_of_domain(f"{more}{domain}") == (provider if _is_below(domain, parents) else None)


def _is_below(domain: str, parents: set[str]) -> bool:
    return any(domain.endswith(f".{parent}") for parent in parents)


@given(st.data(), st.sampled_from(DOMAINS))
def test_provider_of_domain_each_known_domain_maps_to_its_provider(data: st.DataObject, known: tuple[str, str]) -> None:
    """Every domain of a provider is in its lane, in any case, with or without the final dot."""
    domain, provider = known
    written = data.draw(spelled(domain))
    assert provider_of_domain(written) == provider
    assert lane_of(written, "bulk") == provider


@given(st.sampled_from(PARENTS), LABELS)
def test_provider_of_domain_below_a_parent_is_the_providers(known: tuple[str, str], below: str) -> None:
    """Old mobile addresses have a region in front (``a2.ezweb.ne.jp``)."""
    parent, provider = known
    assert provider_of_domain(f"{below}.{parent}") == provider


def test_providers_no_name_belongs_to_two() -> None:
    """A domain or suffix of two providers would depend on the order of a table."""
    for names in (DOMAINS + PARENTS, SUFFIXES):
        owners = dict(names)
        assert all(owners[name] == provider for name, provider in names)


def test_providers_names_are_lower_case_without_dots_around() -> None:
    """The tables are written as names are looked up."""
    for name, _ in DOMAINS + PARENTS + SUFFIXES:
        assert name == name.lower().strip("."), name


def test_lanes_names_are_queues_that_stay() -> None:
    """A lane's name is a queue's: none of these may be renamed or dropped, or mail would stay behind in it."""
    assert {
        "gmail", "yahoo", "microsoft", "icloud", "docomo", "au", "softbank", "yahoo_jp",
        "other-0", "other-1", "other-2", "other-3", "transactional-0", "transactional-1",
    } <= set(lanes())  # fmt: skip
    assert (OTHER_LANES, TRANSACTIONAL_LANES) == (4, 2), "the hash spreads over these: a change moves domains"


@given(st.data(), LABELS)
def test_lane_of_unknown_domain_same_however_written(data: st.DataObject, domain: str) -> None:
    """The hash does not see case or the final dot; a provider found by MX goes before it."""
    for message_class in ("bulk", "transactional"):
        written = data.draw(spelled(domain))
        assert lane_of(written, message_class) == lane_of(domain, message_class)
    assert lane_of(domain, "bulk", "microsoft") == "microsoft"
