"""Which provider receives a domain's mail, and the lane (destination throttle unit) that the mail waits in.

Promises: the same domain always has the same lane; every lane that ``lane_of`` gives stands in ``lanes()``; names match
whole labels, so ``notgmail.com`` is not gmail. Domains are given in lower case as A-labels without a final dot (a final
dot and upper case are tolerated).
Fails with ``ValueError`` for a provider that is not in ``PROVIDERS``.
"""

from dataclasses import dataclass
from typing import Final, Literal
from zlib import crc32

MessageClass = Literal["bulk", "transactional"]

OTHER_LANES: Final = 4
TRANSACTIONAL_LANES: Final = 2


@dataclass(frozen=True, slots=True)
class Provider:
    """One receiving system: recipient domains known by name, and names that its MX hosts end in."""

    name: str
    domains: frozenset[str]
    mx_suffixes: frozenset[str]
    parents: frozenset[str] = frozenset()  # every domain below these is the provider's too


def _yahoo_domains() -> frozenset[str]:
    countries = (
        "at", "be", "bg", "ca", "ch", "cl", "co.id", "co.il", "co.in", "co.kr", "co.nz", "co.th", "co.uk", "co.za",
        "com", "com.ar", "com.au", "com.br", "com.co", "com.hk", "com.mx", "com.my", "com.pe", "com.ph", "com.sg",
        "com.tr", "com.tw", "com.ve", "com.vn", "cz", "de", "dk", "es", "fi", "fr", "gr", "hu", "ie", "in", "it", "nl",
        "no", "pl", "pt", "ro", "se",
    )  # fmt: skip
    others = {"ymail.com", "rocketmail.com", "myyahoo.com", "aol.com", "aim.com", "netscape.net", "verizon.net"}
    return frozenset({f"yahoo.{country}" for country in countries} | others)


def _microsoft_domains() -> frozenset[str]:
    hotmail = {f"hotmail.{country}" for country in ("com", "co.jp", "co.uk", "fr", "de", "it", "es")}
    live = {f"live.{country}" for country in ("com", "jp", "co.uk", "fr")}
    return frozenset(hotmail | live | {"outlook.com", "outlook.jp", "msn.com", "passport.com"})


# MX suffixes as published in the DNS by the providers. Yahoo! JAPAN is a system of its own, apart from Yahoo.
_ALL: Final = (
    Provider(
        "gmail",
        frozenset({"gmail.com", "googlemail.com"}),
        # gmail-smtp-in.l.google.com; Workspace: aspmx.l.google.com, aspmx2.googlemail.com, smtp.google.com
        frozenset({"l.google.com", "googlemail.com", "smtp.google.com"}),
    ),
    Provider("yahoo", _yahoo_domains(), frozenset({"yahoodns.net"})),
    Provider(
        "microsoft",
        _microsoft_domains(),
        # hotmail-com.olc.protection.outlook.com; <tenant>.mail.protection.outlook.com; <tenant>.a-v1.mx.microsoft
        frozenset({"protection.outlook.com", "mx.microsoft"}),
    ),
    Provider("icloud", frozenset({"icloud.com", "me.com", "mac.com"}), frozenset({"mail.icloud.com"})),
    Provider("docomo", frozenset({"docomo.ne.jp"}), frozenset({"docomo.ne.jp"})),
    Provider(
        "au",
        frozenset({"au.com", "uqmobile.jp"}),
        frozenset({"au.com", "ezweb.ne.jp"}),
        parents=frozenset({"ezweb.ne.jp"}),
    ),
    Provider(
        "softbank",
        frozenset({"i.softbank.jp", "disney.ne.jp", "ymobile.ne.jp", "emobile.ne.jp", "willcom.com", "pdx.ne.jp"}),
        frozenset({"softbank.ne.jp", "i.softbank.jp"}),
        parents=frozenset({"softbank.ne.jp", "vodafone.ne.jp", "pdx.ne.jp"}),
    ),
    Provider(
        "yahoo_jp",
        frozenset({"yahoo.co.jp", "ybb.ne.jp", "yahoo.ne.jp"}),
        frozenset({"mail.yahoo.co.jp"}),
    ),
)

PROVIDERS: Final[dict[str, Provider]] = {provider.name: provider for provider in _ALL}

_BY_DOMAIN: Final = {domain: provider.name for provider in _ALL for domain in provider.domains | provider.parents}
_BY_PARENT: Final = {parent: provider.name for provider in _ALL for parent in provider.parents}
_BY_MX: Final = {suffix: provider.name for provider in _ALL for suffix in provider.mx_suffixes}


def provider_of_domain(domain: str) -> str | None:
    """Give the provider of a recipient domain if it is known by its name alone."""
    name = domain.lower().rstrip(".")
    return _BY_DOMAIN.get(name) or _by_suffix(name, _BY_PARENT)


def provider_of_mx(host: str) -> str | None:
    """Give the provider whose MX host this is, so that a company's own domain at Google counts as gmail."""
    return _by_suffix(host.lower().rstrip("."), _BY_MX)


def _by_suffix(name: str, table: dict[str, str]) -> str | None:
    rest = name
    while rest:
        found = table.get(rest)
        if found is not None:
            return found
        _, _, rest = rest.partition(".")
    return None


def lane_of(domain: str, message_class: MessageClass, known_provider: str | None = None) -> str:
    """Give the lane of a mail to ``domain``; ``known_provider`` is what an earlier MX lookup found, if anything.

    A domain of no known provider is spread over a few lanes by a hash that is the same in every process and release.

    Raises: ValueError for an unknown provider.
    """
    if known_provider is not None and known_provider not in PROVIDERS:
        raise ValueError(f"unknown provider: {known_provider[:64]!r}")
    name = domain.lower().rstrip(".")
    if message_class == "transactional":
        return f"transactional-{_spread(name, TRANSACTIONAL_LANES)}"
    provider = known_provider or provider_of_domain(name)
    return provider or f"other-{_spread(name, OTHER_LANES)}"


def _spread(name: str, places: int) -> int:
    """Give a place in ``range(places)``: Fibonacci hashing, as the low bits of a CRC alone differ little by little."""
    return (crc32(name.encode()) * 0x9E3779B1 % 2**32 * places) >> 32


def lanes() -> tuple[str, ...]:
    """Give the names of all lanes, in a fixed order; each has a queue of its own per pool."""
    return (
        *PROVIDERS,
        *(f"other-{number}" for number in range(OTHER_LANES)),
        *(f"transactional-{number}" for number in range(TRANSACTIONAL_LANES)),
    )
