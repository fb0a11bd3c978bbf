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
    own = {"ymail.com", "rocketmail.com", "myyahoo.com"}
    aol = {f"aol.{country}" for country in ("com", "co.uk", "de", "fr", "it", "jp")}
    aol |= {"aim.com", "netscape.net", "compuserve.com", "cs.com", "verizon.net"}
    # AT&T's mail moved to Yahoo's servers in 2025 (Suped, AT&T and Yahoo delivery issues).
    att = {
        "att.net", "sbcglobal.net", "bellsouth.net", "pacbell.net", "ameritech.net", "currently.com", "flash.net",
        "nvbell.net", "prodigy.net", "snet.net", "swbell.net", "wans.net",
    }  # fmt: skip
    kept_for_others = {"sky.com", "rogers.com"}
    return frozenset({f"yahoo.{country}" for country in countries} | own | aol | att | kept_for_others)


def _microsoft_domains() -> frozenset[str]:
    hotmail = (
        "be", "ca", "ch", "cl", "co.id", "co.il", "co.jp", "co.kr", "co.nz", "co.th", "co.uk", "co.za", "com", "com.ar",
        "com.au", "com.br", "com.tr", "de", "dk", "es", "fi", "fr", "gr", "it", "nl", "no", "se",
    )  # fmt: skip
    live = (
        "at", "be", "ca", "cl", "cn", "co.kr", "co.uk", "co.za", "com", "com.ar", "com.au", "com.mx", "com.pt", "de",
        "dk", "fi", "fr", "hk", "ie", "in", "it", "jp", "nl", "no", "se",
    )  # fmt: skip
    outlook = (
        "at", "be", "cl", "co.id", "co.il", "co.th", "com", "com.ar", "com.au", "com.br", "com.gr", "com.tr", "com.vn",
        "cz", "de", "dk", "es", "fr", "hu", "ie", "in", "it", "jp", "kr", "lv", "my", "ph", "pt", "sa", "sg", "sk",
    )  # fmt: skip
    brands = {"hotmail": hotmail, "live": live, "outlook": outlook}
    named = {f"{brand}.{country}" for brand, countries in brands.items() for country in countries}
    return frozenset(named | {"msn.com", "passport.com", "windowslive.com"})


def _softbank_domains() -> frozenset[str]:
    own = {"i.softbank.jp", "disney.ne.jp"}
    ymobile = {"ymobile.ne.jp", "ymobile1.ne.jp", "y-mobile.ne.jp", "emobile.ne.jp", "emobile-s.ne.jp", "emnet.ne.jp"}
    return frozenset(own | ymobile | {"willcom.com", "wcm.ne.jp", "pdx.ne.jp"})


# MX suffixes as published in the DNS by the providers. Yahoo! JAPAN is a system of its own, apart from Yahoo.
_ALL: Final = (
    Provider(
        "gmail",
        frozenset({"gmail.com", "googlemail.com"}),
        # gmail-smtp-in.l.google.com; Workspace: aspmx.l.google.com, aspmx2.googlemail.com, smtp.google.com
        # (Google Workspace Admin Help, MX record values)
        frozenset({"l.google.com", "googlemail.com", "smtp.google.com"}),
    ),
    # mta5.am0.yahoodns.net; mx-aol.mail.gm0.yahoodns.net; the domains of others that Yahoo keeps come in by this, too
    Provider("yahoo", _yahoo_domains(), frozenset({"yahoodns.net"})),
    Provider(
        "microsoft",
        _microsoft_domains(),
        # hotmail-com.olc.protection.outlook.com; <tenant>.mail.protection.outlook.com; <tenant>.a-v1.mx.microsoft;
        # <tenant>.mail.eo.outlook.com (old); <tenant>.mail.protection.office365.us (GCC High)
        # (Microsoft Learn, How SMTP DANE works; External DNS records for Office 365)
        frozenset({"protection.outlook.com", "mx.microsoft", "mail.eo.outlook.com", "protection.office365.us"}),
    ),
    # mx01.mail.icloud.com; also for people's own domains (Apple Support, custom email domain with iCloud Mail)
    Provider("icloud", frozenset({"icloud.com", "me.com", "mac.com"}), frozenset({"mail.icloud.com"})),
    Provider("docomo", frozenset({"docomo.ne.jp"}), frozenset({"docomo.ne.jp"})),  # mfsmax.docomo.ne.jp
    Provider(
        "au",
        frozenset({"au.com", "biz.au.com", "uqmobile.jp"}),
        frozenset({"au.com", "ezweb.ne.jp"}),  # msmx.au.com, lsean.ezweb.ne.jp
        parents=frozenset({"ezweb.ne.jp"}),
    ),
    Provider(
        "softbank",
        _softbank_domains(),
        frozenset({"softbank.ne.jp", "i.softbank.jp", "vodafone.ne.jp", "ymobile.ne.jp"}),  # mx.softbank.ne.jp
        parents=frozenset({"softbank.ne.jp", "vodafone.ne.jp", "pdx.ne.jp"}),
    ),
    Provider(
        "yahoo_jp",
        frozenset({"yahoo.co.jp", "ymail.ne.jp", "ybb.ne.jp", "yahoo.ne.jp"}),
        frozenset({"mail.yahoo.co.jp"}),  # mx1.mail.yahoo.co.jp
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
