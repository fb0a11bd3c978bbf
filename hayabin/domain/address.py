"""The one parser of email addresses: import, API, envelope and inbound reports all ask it.

Promises: what parses has one meaning to us and to every mail server on the way. No quoted strings, comments, groups or
routes pass, which servers read differently (``a@evil.example(b@example.com)`` is a famous one); ``wire`` is what RCPT
says, ``key`` is what uniqueness and suppression compare, and parsing ``wire`` gives the same ``key`` again.
Fails: everything else raises ``AddressInvalid`` with one ``AddressProblem`` and a detail that says where, without the
address itself. Time is bounded: nothing longer than ``INPUT_MAX_CHARS`` is looked at.

Addresses of Japanese mobile carriers may have dots in a row, at the front or before the @; ``MOBILE_CARRIERS`` lists
whose. RFC 5321 §4.1.2 has no unquoted form for those, so on the wire they are quoted.
"""

import re
import unicodedata
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from typing import Final

import idna

from hayabin.domain.address_flags import flags_of

INPUT_MAX_CHARS: Final = 1000
LOCAL_MAX_OCTETS: Final = 64  # RFC 5321 §4.5.3.1.1
ADDRESS_MAX_OCTETS: Final = 254  # RFC 5321 §4.5.3.1.3: a path of 256 less its angle brackets

MOBILE_CARRIERS: Final = frozenset(
    {
        "docomo.ne.jp",
        "ezweb.ne.jp", "au.com", "ido.ne.jp", "sky.tu-ka.ne.jp", "uqmobile.jp",
        "softbank.ne.jp", "i.softbank.jp", "disney.ne.jp", "vodafone.ne.jp",
        "ymobile.ne.jp", "ymobile1.ne.jp", "y-mobile.ne.jp", "emnet.ne.jp", "emobile.ne.jp", "emobile-s.ne.jp",
        "willcom.com", "wcm.ne.jp", "pdx.ne.jp",
        "rakumail.jp", "bandai.jp",
    }
)  # fmt: skip
"""Domains whose subscribers chose their own local part, dots anywhere, in the years when the carriers allowed it."""
MOBILE_CARRIER_SUFFIXES: Final = (".vodafone.ne.jp", ".biz.ezweb.ne.jp", ".pdx.ne.jp")

_ATEXT = r"A-Za-z0-9!#$%&'*+/=?^_`{|}~-"
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_DOT_STRING = rf"[{_ATEXT}]+(?:\.[{_ATEXT}]+)*"
_DOMAIN = rf"(?:{_LABEL}\.)+(?![0-9]+\Z){_LABEL}"
_PLAIN_ADDRESS = re.compile(rf"({_DOT_STRING})@({_DOMAIN})")
_PLAIN_LOCAL = re.compile(_DOT_STRING)
_PLAIN_DOMAIN = re.compile(_DOMAIN)
_DOTTED_ATEXT = re.compile(rf"[.\u0080-\U0010ffff{_ATEXT}]+")
_QUOTED = re.compile(rf'"([.{_ATEXT}]+)"@([^@"]+)')
_UNSEEN_CATEGORIES = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})


class AddressProblem(StrEnum):
    """Why a text is no address that we mail to; the value is the stable reason in row errors and problems."""

    EMPTY = "empty"
    """Nothing but white space."""
    TOO_LONG = "too_long"
    """More than 254 octets in all."""
    LOCAL_TOO_LONG = "local_too_long"
    """More than 64 octets before the @."""
    CONTROL_CHARACTER = "control_character"
    """A line break, tab, zero-width, unassigned or other unseen character."""
    SPACE_INSIDE = "space_inside"
    """White space that is not at the ends."""
    ANGLE_BRACKETS = "angle_brackets"
    """A display name or path: ``Taro <taro@example.jp>``."""
    QUOTED = "quoted"
    """A quoted local part, other than a Japanese mobile address in the form that the wire needs."""
    COMMENTED = "commented"
    """Parentheses."""
    MULTIPLE = "multiple"
    """A comma, a semicolon or a second @."""
    MISSING_AT = "missing_at"
    """No @."""
    LOCAL_EMPTY = "local_empty"
    """Nothing before the @."""
    LOCAL_CHARACTER = "local_character"
    """A character before the @ that RFC 5321 allows in quotes alone."""
    FULLWIDTH_CHARACTER = "fullwidth_character"
    """A full-width letter, digit or sign before the @: typed with the input method on."""
    MISPLACED_DOT = "misplaced_dot"
    """Dots in a row, at the front or before the @, at a domain that has no such addresses."""
    DOMAIN_EMPTY = "domain_empty"
    """Nothing after the @."""
    DOMAIN_LITERAL = "domain_literal"
    """An IP address in brackets."""
    DOMAIN_NOT_QUALIFIED = "domain_not_qualified"
    """A single label, such as ``localhost``."""
    DOMAIN_INVALID = "domain_invalid"
    """No host name by RFC 1123 §2.1, or no internationalised one by IDNA 2008."""


class AddressInvalid(ValueError):
    """A text that is not one mailable address; carries ``reason`` (AddressProblem) and ``detail`` (for people)."""

    def __init__(self, reason: AddressProblem, detail: str) -> None:
        """Keep the reason and a detail that does not repeat the address."""
        super().__init__(f"{reason.value}: {detail}")
        self.reason = reason
        self.detail = detail


@dataclass(frozen=True, slots=True)
class Address:
    """One mailable address in the forms that its users need."""

    given: str
    """As it came, without the white space around it."""
    wire: str
    """The RFC 5321 Mailbox that RCPT says, without angle brackets."""
    key: str
    """What uniqueness and suppression compare: unquoted, local part and domain in lower case, domain in A-labels.

    RFC 5321 §2.4 leaves the case of a local part to its host, so ``wire`` keeps it. But no provider of note gives
    ``Taro@`` and ``taro@`` to two people, while people write their own address either way: comparing case would mail
    one person twice and overlook that they unsubscribed. Plus-tags stay: there, telling them apart is the intent.
    """
    local: str
    """The local part, unquoted, in the case given."""
    domain: str
    """The domain in lower-case A-labels."""
    is_japanese_mobile: bool
    """True where the domain is a Japanese mobile carrier's."""
    needs_smtputf8: bool
    """True where the local part is not ASCII, so that only RFC 6531 servers can take it."""

    @property
    def flags(self) -> list[str]:
        """What stands out about it (``AddressFlag``)."""
        return flags_of(self.key)


def parse_address(text: str) -> Address:
    """The one address that ``text`` is.

    Raises:
        AddressInvalid: it is none, or none that every mail server reads alike.

    Source: RFC 5321 §4.1.2 (Mailbox, without Quoted-string and address-literal), RFC 6531 §3.3, UTS #46.

    """
    if len(text) > INPUT_MAX_CHARS:
        raise AddressInvalid(AddressProblem.TOO_LONG, f"{len(text)} characters")
    given = text.strip()
    plain = _PLAIN_ADDRESS.fullmatch(given)
    if plain is None:
        return _parse_unusual(given)
    local = plain[1]
    domain = plain[2].lower()
    if "xn--" in domain:
        return _parse_unusual(given)
    if len(local) > LOCAL_MAX_OCTETS or len(given) > ADDRESS_MAX_OCTETS:
        _require_lengths(local, given)
    return Address(
        given, f"{local}@{domain}", f"{local.lower()}@{domain}", local, domain, is_mobile_carrier(domain), False
    )


def plain_forms(text: str) -> tuple[str, str] | None:
    """Wire and key of an address in the form that nearly all have; None says nothing of ``text``: parse it.

    For millions at a time, whose domains repeat; what it gives is what ``parse_address`` gives.
    """
    local, _, domain = text.rpartition("@")
    if len(local) > LOCAL_MAX_OCTETS or len(text) > ADDRESS_MAX_OCTETS or _PLAIN_LOCAL.fullmatch(local) is None:
        return None
    plain = _plain_domain(domain)
    if plain is None:
        return None
    return text if plain == domain else f"{local}@{plain}", text.lower()


@lru_cache(maxsize=4096)
def _plain_domain(domain: str) -> str | None:
    """The domain in lower case, if it is all ASCII and no A-label needs a look."""
    lower = domain.lower()
    return lower if "xn--" not in lower and _PLAIN_DOMAIN.fullmatch(domain) else None


def is_mobile_carrier(domain: str) -> bool:
    """True where ``domain`` (lower case) gives or gave out Japanese mobile addresses."""
    return domain in MOBILE_CARRIERS or domain.endswith(MOBILE_CARRIER_SUFFIXES)


def wire_form(local: str, domain: str, *, quote_odd_dots: bool = True) -> str:
    """The Mailbox that RCPT says; a provider whose servers want odd dots bare is given ``quote_odd_dots=False``.

    Source: RFC 5321 §4.1.2: a local part that is no Dot-string is sent as Quoted-string.
    """
    is_dot_string = not (local.startswith(".") or local.endswith(".") or ".." in local)
    return f"{local}@{domain}" if is_dot_string or not quote_odd_dots else f'"{local}"@{domain}'


def bare_form(wire: str) -> str:
    """The same Mailbox for a provider whose servers want odd dots without quotes (``a..b@docomo.ne.jp``)."""
    local, _, domain = wire.rpartition("@")
    return f"{local[1:-1]}@{domain}" if len(local) > 2 and local[0] == local[-1] == '"' else wire


def _parse_unusual(given: str) -> Address:
    """Parse, or refuse by name, what is not an all-ASCII Dot-string at a plain host name."""
    _require_visible(given)
    quoted = _QUOTED.fullmatch(given)
    if quoted is not None and is_mobile_carrier(quoted[2].lower()):
        local, raw_domain = quoted.groups()
    else:
        _require_single_mailbox(given)
        local, _, raw_domain = given.partition("@")
    _require_local_characters(local)
    domain = _canonical_domain(raw_domain)
    mobile = is_mobile_carrier(domain)
    wire = wire_form(local, domain)
    if wire.startswith('"') and not (mobile and local.isascii() and local.strip(".")):
        raise AddressInvalid(AddressProblem.MISPLACED_DOT, "dots in a row, at the front or before the @")
    _require_lengths(wire.rpartition("@")[0], wire)
    key_local = unicodedata.normalize("NFC", unicodedata.normalize("NFC", local).lower())
    key = f"{key_local}@{domain}"
    _require_lengths(key_local, key)  # İ has more octets in lower case, and a key is looked up like an address
    return Address(given, wire, key, local, domain, mobile, not local.isascii())


def _require_visible(given: str) -> None:
    if not given:
        raise AddressInvalid(AddressProblem.EMPTY, "nothing but white space")
    for at, character in enumerate(given):
        if unicodedata.category(character) in _UNSEEN_CATEGORIES:
            raise AddressInvalid(AddressProblem.CONTROL_CHARACTER, f"U+{ord(character):04X} at character {at + 1}")


def _require_single_mailbox(given: str) -> None:
    """Refuse everything that RFC 5322 would let stand around or beside an addr-spec."""
    if "<" in given or ">" in given:
        raise AddressInvalid(AddressProblem.ANGLE_BRACKETS, "give the bare address, without name and angle brackets")
    if '"' in given:
        raise AddressInvalid(AddressProblem.QUOTED, "quoted local parts are not mailed to")
    if "(" in given or ")" in given:
        raise AddressInvalid(AddressProblem.COMMENTED, "comments in parentheses are not taken")
    if "," in given or ";" in given or given.count("@") > 1:
        raise AddressInvalid(AddressProblem.MULTIPLE, "more than one address")
    if "@" not in given:
        hint = "its @ is the full-width ＠" if "\uff20" in given else "there is no @"
        raise AddressInvalid(AddressProblem.MISSING_AT, hint)
    if any(character.isspace() for character in given):
        raise AddressInvalid(AddressProblem.SPACE_INSIDE, "white space inside the address")


def _require_local_characters(local: str) -> None:
    if not local:
        raise AddressInvalid(AddressProblem.LOCAL_EMPTY, "nothing before the @")
    for at, character in enumerate(local):
        if "\uff01" <= character <= "\uff5e":
            raise AddressInvalid(AddressProblem.FULLWIDTH_CHARACTER, f"{character} at character {at + 1}")
    if _DOTTED_ATEXT.fullmatch(local) is None:
        raise AddressInvalid(AddressProblem.LOCAL_CHARACTER, "a character that RFC 5321 allows in quotes alone")


def _require_lengths(wire_local: str, wire: str) -> None:
    octets = len(wire_local.encode())
    if octets > LOCAL_MAX_OCTETS:
        raise AddressInvalid(AddressProblem.LOCAL_TOO_LONG, f"{octets} octets before the @, {LOCAL_MAX_OCTETS} at most")
    octets = len(wire.encode())
    if octets > ADDRESS_MAX_OCTETS:
        raise AddressInvalid(AddressProblem.TOO_LONG, f"{octets} octets, {ADDRESS_MAX_OCTETS} at most")


@lru_cache(maxsize=4096)
def _canonical_domain(raw: str) -> str:
    """The domain in lower-case A-labels (UTS #46, non-transitional; RFC 5891)."""
    if not raw:
        raise AddressInvalid(AddressProblem.DOMAIN_EMPTY, "nothing after the @")
    if raw.startswith("["):
        raise AddressInvalid(AddressProblem.DOMAIN_LITERAL, "an IP address instead of a domain")
    domain = raw.lower()
    if not raw.isascii() or "xn--" in domain:
        try:
            domain = idna.encode(raw, uts46=True, std3_rules=True).decode("ascii")
        except idna.IDNAError as error:
            # The message names the label; it is the user's own input, and bounded by INPUT_MAX_CHARS.
            raise AddressInvalid(AddressProblem.DOMAIN_INVALID, f"no internationalised domain: {error}") from error
    if _PLAIN_DOMAIN.fullmatch(domain) is not None:
        return domain
    if "." not in domain:
        raise AddressInvalid(AddressProblem.DOMAIN_NOT_QUALIFIED, "a domain of one label")
    raise AddressInvalid(AddressProblem.DOMAIN_INVALID, "not a host name")
