"""Why a mail was refused, and what follows from it: one list of reasons, one way to find them.

Promises: ``classify`` (a reply at a phase) and ``classify_status`` (a DSN's status and diagnostic) always give a
verdict, in time linear in the text, which is bounded. An address is suppressed only where the refusal is permanent, is
about the address itself and was given at a phase where servers tell the truth about it; 5.7.x never suppresses.
Fails: ``classify`` raises ``ValueError`` for a reply that is no refusal (2yz, 3yz); that is a mistake of the caller.

The phrases of each provider stand in ``bounce_rules``; the tables of RFC 3463 and RFC 5321 stand here.
"""

import re
from dataclasses import dataclass
from typing import Final

from hayabin.domain.bounce_kinds import HARD_REASONS, MEANINGS, BounceReason
from hayabin.domain.bounce_rules import RULES, Rule
from hayabin.domain.smtp_reply import MAX_TEXT_BYTES, Reply, SmtpPhase

__all__ = ["MEANINGS", "BounceReason", "Verdict", "classify", "classify_status", "matching_rule"]

R = BounceReason

# subject.detail of an enhanced status code, after the class. Source: RFC 3463 §3, the IANA registry of enhanced status
# codes, RFC 6531 §3.7.4 (6.7–6.10), RFC 7372 §3 (7.20–7.26), RFC 7505 §4 (1.10, 7.27).
_STATUS: Final[dict[str, BounceReason]] = {
    "1.1": R.USER_UNKNOWN, "1.2": R.DOMAIN_NOT_FOUND, "1.3": R.ADDRESS_SYNTAX, "1.6": R.USER_UNKNOWN,
    "1.7": R.SENDER_REJECTED, "1.8": R.SENDER_REJECTED, "1.10": R.NULL_MX,
    "2.1": R.MAILBOX_DISABLED, "2.2": R.MAILBOX_FULL, "2.3": R.MESSAGE_TOO_LARGE,
    "3.0": R.SYSTEM_ERROR, "3.1": R.SYSTEM_ERROR, "3.2": R.SYSTEM_ERROR, "3.4": R.MESSAGE_TOO_LARGE,
    "3.5": R.SYSTEM_ERROR,
    "4.0": R.NETWORK, "4.1": R.NETWORK, "4.2": R.NETWORK, "4.3": R.NETWORK, "4.4": R.NETWORK,
    "4.5": R.SYSTEM_ERROR, "4.6": R.SYSTEM_ERROR, "4.7": R.EXPIRED,
    "5.0": R.PROTOCOL, "5.1": R.PROTOCOL, "5.2": R.PROTOCOL, "5.3": R.RATE_LIMITED, "5.4": R.PROTOCOL,
    "6.0": R.CONTENT_REJECTED, "6.1": R.CONTENT_REJECTED, "6.2": R.CONTENT_REJECTED, "6.3": R.CONTENT_REJECTED,
    "6.5": R.CONTENT_REJECTED, "6.6": R.CONTENT_REJECTED,
    "6.7": R.EAI_UNSUPPORTED, "6.8": R.EAI_UNSUPPORTED, "6.9": R.EAI_UNSUPPORTED, "6.10": R.EAI_UNSUPPORTED,
    "7.0": R.POLICY_REJECTED, "7.1": R.POLICY_REJECTED, "7.2": R.POLICY_REJECTED,
    "7.10": R.TLS, "7.20": R.AUTH_FAILED, "7.21": R.AUTH_FAILED, "7.22": R.AUTH_FAILED, "7.23": R.AUTH_FAILED,
    "7.24": R.AUTH_FAILED, "7.25": R.AUTH_FAILED, "7.26": R.AUTH_FAILED, "7.27": R.SENDER_REJECTED,
    "7.28": R.RATE_LIMITED,
}  # fmt: skip

# What a basic code means where nothing else is said; by phase first, then anywhere. Source: RFC 5321 §4.2.3 and
# §4.3.2; RFC 7504 §3 (521, 556); RFC 3207 §4 (454 and 530 before STARTTLS).
_CODE_AT: Final[dict[tuple[int, SmtpPhase], BounceReason]] = {
    (501, SmtpPhase.RCPT): R.ADDRESS_SYNTAX,
    (550, SmtpPhase.MAIL): R.SENDER_REJECTED,
    (550, SmtpPhase.DATA): R.POLICY_REJECTED,
    (550, SmtpPhase.DOT): R.POLICY_REJECTED,
    (552, SmtpPhase.MAIL): R.MESSAGE_TOO_LARGE,
    (553, SmtpPhase.MAIL): R.SENDER_REJECTED,
    (454, SmtpPhase.STARTTLS): R.TLS,
}
_CODE: Final[dict[int, BounceReason]] = {
    421: R.SYSTEM_ERROR, 451: R.SYSTEM_ERROR, 452: R.MAILBOX_FULL,
    500: R.PROTOCOL, 501: R.PROTOCOL, 502: R.PROTOCOL, 503: R.PROTOCOL, 504: R.PROTOCOL, 555: R.PROTOCOL,
    521: R.NULL_MX, 530: R.TLS, 551: R.USER_UNKNOWN, 552: R.MAILBOX_FULL, 553: R.ADDRESS_SYNTAX,
    554: R.POLICY_REJECTED, 556: R.NULL_MX,
}  # fmt: skip

# A refusal of the session says nothing about this mail: another host, address or hour may take it.
_SESSION_PHASES: Final = frozenset({SmtpPhase.CONNECT, SmtpPhase.EHLO, SmtpPhase.STARTTLS, SmtpPhase.QUIT})
_CONTENT_PHASES: Final = frozenset({SmtpPhase.DATA, SmtpPhase.DOT})

_STATUS_FORM = re.compile(r"([245])\.(\d{1,3}\.\d{1,3})")
_DIAGNOSTIC = re.compile(r"(?:^|[^\w.])([45]\d\d)(?:[- ]#?(?:([45]\.\d{1,3}\.\d{1,3})(?!\d))?|$)")
# How Postfix, Exim and Sendmail name the command that was refused, in the text of their DSNs.
_PHASE_MARKS: Final = (
    ("in reply to rcpt to", SmtpPhase.RCPT), ("after rcpt to", SmtpPhase.RCPT), (">>> rcpt to", SmtpPhase.RCPT),
    ("in reply to mail from", SmtpPhase.MAIL), ("after mail from", SmtpPhase.MAIL), (">>> mail from", SmtpPhase.MAIL),
    ("in reply to end of data", SmtpPhase.DOT), ("after end of data", SmtpPhase.DOT), (">>> .", SmtpPhase.DOT),
    ("in reply to data", SmtpPhase.DATA), ("after data", SmtpPhase.DATA), (">>> data", SmtpPhase.DATA),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a refusal means for the message and for the address."""

    permanent: bool  # do not try this message again
    hard: bool  # the address itself is at fault
    reason: BounceReason
    suppress: bool  # do not mail this address again


@dataclass(frozen=True, slots=True)
class _Refusal:
    code: int  # 0: the report gives none
    enhanced: str | None
    text: str  # lower case, single spaces
    phase: SmtpPhase | None  # None: not known; read as RCPT


def classify(reply: Reply, phase: SmtpPhase) -> Verdict:
    """Judge a refusal that we were given ourselves.

    Raises: ValueError if ``reply`` is neither 4yz nor 5yz.
    """
    if reply.code < 400:
        raise ValueError(f"{reply.code} is no refusal")
    return _judge(_Refusal(reply.code, reply.enhanced, _normal(reply.text), phase))


def classify_status(enhanced: str | None, diagnostic: str | None, phase: SmtpPhase | None = None) -> Verdict:
    """Judge a refusal that a DSN reports: its ``Status`` and ``Diagnostic-Code``, both untrusted.

    ``phase`` is used if the reporter gave it apart from the text. A status of class 4 gives a verdict that is not
    permanent, even where the reporter has given up: its ``Action`` says that.

    Source: RFC 3464 §2.3.4 and §2.3.6.
    """
    text = _normal(diagnostic or "")
    status = _STATUS_FORM.fullmatch(enhanced.strip()) if enhanced else None
    said = _DIAGNOSTIC.search(text)
    code = int(said[1]) if said else 0
    inner = said[2] if said else None
    # "5.0.0" and none at all say less than the code inside the quoted reply.
    if status is not None and status[1] != "2" and (status[2] != "0.0" or inner is None):
        chosen: str | None = status[0]
    else:
        chosen = inner
    if code and chosen and chosen[0] != str(code)[0]:
        code = 0  # the reporter's own status tells how it ended
    return _judge(_Refusal(code, chosen, text, phase or _phase_in(text)))


def matching_rule(reply: Reply, phase: SmtpPhase) -> Rule | None:
    """Give the phrase rule that decides about ``reply``, if one does; for tests and for who asks why."""
    return _rule(_Refusal(reply.code, reply.enhanced, _normal(reply.text), phase))


def _judge(refusal: _Refusal) -> Verdict:
    rule = _rule(refusal)
    reason = rule.reason if rule is not None else _reason_by_code(refusal)
    phase, enhanced = refusal.phase, refusal.enhanced or ""
    if reason is R.USER_UNKNOWN and _is_filter(phase, enhanced):
        reason = R.FILTERED
    permanent = refusal.code >= 500 or (refusal.code == 0 and enhanced.startswith("5"))
    if phase in _SESSION_PHASES or (rule is not None and rule.temporary):
        permanent = False
    about_address = phase is not SmtpPhase.MAIL and not enhanced.startswith("5.7.")
    hard = permanent and about_address and reason in HARD_REASONS
    return Verdict(permanent=permanent, hard=hard, reason=reason, suppress=hard)


def _is_filter(phase: SmtpPhase | None, enhanced: str) -> bool:
    """Tell whether "unknown user" is said of a recipient who does exist.

    docomo takes the RCPT of an existing address whose owner refuses the sender, and says ``550 Unknown user`` after the
    content; Sendmail reports that with ``Status: 5.2.0``. An explicit 5.1.x at that phase is believed.
    """
    return enhanced == "5.2.0" or (phase in _CONTENT_PHASES and not enhanced.startswith("5.1."))


def _rule(refusal: _Refusal) -> Rule | None:
    phase = refusal.phase or SmtpPhase.RCPT
    for rule in RULES:
        if rule.fits(refusal.code, refusal.enhanced, refusal.text, phase):
            return rule
    return None


def _reason_by_code(refusal: _Refusal) -> BounceReason:
    if refusal.enhanced:
        reason = _STATUS.get(refusal.enhanced[2:])
        if reason is None and refusal.enhanced[2:4] == "7.":
            reason = R.POLICY_REJECTED
        if reason is not None:
            return reason
    phase = refusal.phase or SmtpPhase.RCPT
    return _CODE_AT.get((refusal.code, phase)) or _CODE.get(refusal.code, R.UNDEFINED)


def _normal(text: str) -> str:
    """Lower case, white space of any length (line ends too) as one space, addresses out; bounds the work.

    Replies quote the recipient, and ``<virus@example.com>: User unknown`` does not speak of a virus.
    """
    return " ".join("@" if "@" in word else word for word in text[:MAX_TEXT_BYTES].lower().split())


def _phase_in(text: str) -> SmtpPhase | None:
    """Give the phase that stands first in a report: in a Sendmail transcript, later commands failed because of it."""
    found = [(at, phase) for mark, phase in _PHASE_MARKS if (at := text.find(mark)) >= 0]
    return min(found)[1] if found else None
