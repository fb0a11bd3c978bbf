"""Refusals are judged by reply and phase, and only what is surely about the address suppresses it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hayabin.domain.bounce_reason import MEANINGS, BounceReason, classify, classify_status, matching_rule
from hayabin.domain.bounce_rules import RULES, Rule
from hayabin.domain.smtp_reply import Reply, ReplyParser, SmtpPhase

R = BounceReason


def reply_of(line: str) -> Reply:
    """Parse one reply as on the wire."""
    return ReplyParser().feed(line.encode() + b"\r\n")[0]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.example[:60])
def test_rule_own_example_decides(rule: Rule) -> None:
    """Every rule decides about the reply that it quotes (no rule is hidden by an earlier one), and names a source."""
    reply = reply_of(rule.example)
    assert matching_rule(reply, rule.phase) is rule
    assert classify(reply, rule.phase).reason is rule.reason
    assert rule.source


def test_rule_phrases_lower_case_single_spaced() -> None:
    """Phrases are written as texts are normalised; another form would never match."""
    for rule in RULES:
        for phrase in rule.phrases:
            assert phrase == phrase.lower()
            assert "  " not in phrase
            assert "@" not in phrase


def test_meaning_every_reason_has_sentence() -> None:
    """Each reason is explained in one sentence."""
    assert set(MEANINGS) == set(R)
    assert all(meaning.endswith(".") for meaning in MEANINGS.values())


# reply, phase, permanent, hard, reason, suppress
CASES = [
    ("550 Unknown user a..b@docomo.ne.jp", SmtpPhase.RCPT, True, True, R.USER_UNKNOWN, True),
    ("550 Unknown user a..b@docomo.ne.jp", SmtpPhase.DATA, True, False, R.FILTERED, False),
    ("550 Unknown user a..b@docomo.ne.jp", SmtpPhase.DOT, True, False, R.FILTERED, False),
    ("550 5.1.1 user unknown", SmtpPhase.DOT, True, True, R.USER_UNKNOWN, True),
    ("550 5.1.1 no", SmtpPhase.RCPT, True, True, R.USER_UNKNOWN, True),
    ("550 5.7.1 <a@example.com>: user unknown", SmtpPhase.RCPT, True, False, R.USER_UNKNOWN, False),
    ("450 4.1.1 <a@example.com>: user unknown", SmtpPhase.RCPT, False, False, R.USER_UNKNOWN, False),
    ("450 5.1.1 user unknown", SmtpPhase.RCPT, False, False, R.USER_UNKNOWN, False),
    ("550 5.1.1 <virus@example.com>: Recipient address rejected: User unknown", SmtpPhase.RCPT, True, True,
     R.USER_UNKNOWN, True),
    ("552 5.2.2 mailbox full", SmtpPhase.RCPT, True, False, R.MAILBOX_FULL, False),
    ("552 5.2.2 mailbox full", SmtpPhase.DOT, True, False, R.MAILBOX_FULL, False),
    ("552 5.2.2 over quota", SmtpPhase.DATA, True, False, R.MAILBOX_FULL, False),
    ("452 4.2.2 over quota", SmtpPhase.RCPT, False, False, R.MAILBOX_FULL, False),
    ("552 exceeded", SmtpPhase.MAIL, True, False, R.MESSAGE_TOO_LARGE, False),
    ("552 Too many recipients", SmtpPhase.RCPT, False, False, R.RATE_LIMITED, False),
    ("421 bye", SmtpPhase.DOT, False, False, R.SYSTEM_ERROR, False),
    ("421 4.7.0 try again later", SmtpPhase.MAIL, False, False, R.POLICY_REJECTED, False),
    ("451 4.7.1 Greylisting in action", SmtpPhase.RCPT, False, False, R.GREYLISTED, False),
    ("554 5.7.1 blocked using zen.spamhaus.org", SmtpPhase.CONNECT, False, False, R.REPUTATION, False),
    ("550 5.7.1 blocked using zen.spamhaus.org", SmtpPhase.RCPT, True, False, R.REPUTATION, False),
    ("550 5.7.26 unauthenticated", SmtpPhase.DOT, True, False, R.AUTH_FAILED, False),
    ("550 5.7.509 Access denied", SmtpPhase.DOT, True, False, R.POLICY_REJECTED, False),
    ("550 something else", SmtpPhase.RCPT, True, False, R.UNDEFINED, False),
    ("550 something else", SmtpPhase.DOT, True, False, R.POLICY_REJECTED, False),
    ("550 user unknown", SmtpPhase.MAIL, True, False, R.USER_UNKNOWN, False),
    ("551 ask elsewhere", SmtpPhase.RCPT, True, True, R.USER_UNKNOWN, True),
    ("553 bad", SmtpPhase.MAIL, True, False, R.SENDER_REJECTED, False),
    ("553 5.1.3 bad", SmtpPhase.RCPT, True, False, R.ADDRESS_SYNTAX, False),
    ("501 bad", SmtpPhase.RCPT, True, False, R.ADDRESS_SYNTAX, False),
    ("553 5.6.7 needs SMTPUTF8", SmtpPhase.RCPT, True, False, R.EAI_UNSUPPORTED, False),
    ("556 5.1.10 nothing", SmtpPhase.RCPT, True, True, R.NULL_MX, True),
    ("550 5.1.2 nothing", SmtpPhase.RCPT, True, True, R.DOMAIN_NOT_FOUND, True),
    ("550 5.2.1 disabled", SmtpPhase.RCPT, True, True, R.MAILBOX_DISABLED, True),
    ("550 5.4.1 Recipient address rejected: Access denied", SmtpPhase.RCPT, True, True, R.USER_UNKNOWN, True),
    ("554 5.7.1 <a@example.com>: Recipient address rejected: Access denied", SmtpPhase.RCPT, True, False,
     R.POLICY_REJECTED, False),
    ("454 TLS not available", SmtpPhase.STARTTLS, False, False, R.TLS, False),
    ("503 bad sequence", SmtpPhase.DATA, True, False, R.PROTOCOL, False),
]  # fmt: skip


@pytest.mark.parametrize(("line", "phase", "permanent", "hard", "reason", "suppress"), CASES)
def test_classify_known_reply_expected_verdict(
    line: str,
    phase: SmtpPhase,
    permanent: bool,
    hard: bool,
    reason: BounceReason,
    suppress: bool,
) -> None:
    """The table of verdicts that the rest of Hayabin counts on."""
    verdict = classify(reply_of(line), phase)
    assert (verdict.permanent, verdict.hard, verdict.reason, verdict.suppress) == (permanent, hard, reason, suppress)


@given(
    st.integers(400, 599),
    st.none() | st.from_regex(r"[245]\.[0-9]{1,2}\.[0-9]{1,2}", fullmatch=True),
    st.text(max_size=200) | st.sampled_from([rule.example for rule in RULES]),
    st.sampled_from(SmtpPhase),
)
def test_classify_any_refusal_safe_verdict(code: int, enhanced: str | None, text: str, phase: SmtpPhase) -> None:
    """Whatever is said: 4yz is never permanent, 5.7.x, the session and MAIL never suppress, suppressing implies hard."""
    verdict = classify(Reply(code, enhanced, text), phase)
    if code < 500:
        assert not verdict.permanent
    if (enhanced or "").startswith("5.7.") or phase not in (SmtpPhase.RCPT, SmtpPhase.DATA, SmtpPhase.DOT):
        assert not verdict.suppress
    if phase in (SmtpPhase.CONNECT, SmtpPhase.EHLO, SmtpPhase.STARTTLS):
        assert not verdict.permanent
    assert not verdict.suppress or (verdict.hard and verdict.permanent)


def test_classify_positive_reply_refused() -> None:
    """A success is no refusal; asking is a mistake."""
    with pytest.raises(ValueError, match="no refusal"):
        classify(Reply(250, "2.0.0", "ok"), SmtpPhase.DOT)


# status, diagnostic, permanent, reason, suppress
REPORTS = [
    ("5.1.1", "smtp; 550 5.1.1 <a@example.com>: User unknown (in reply to RCPT TO command)", True, R.USER_UNKNOWN, True),
    ("5.0.0", "smtp; 550 Unknown user a@docomo.ne.jp (in reply to end of DATA command)", True, R.FILTERED, False),
    ("5.2.0", "smtp; 550 Unknown user a@docomo.ne.jp", True, R.FILTERED, False),
    ("5.1.1", "smtp; 550 Unknown user a@docomo.ne.jp", True, R.USER_UNKNOWN, True),
    ("5.0.0", ">>> DATA\n<<< 550 Unknown user a@docomo.ne.jp\n554 5.0.0 Service unavailable", True, R.FILTERED, False),
    ("5.1.1", ">>> RCPT To:<a@x>\n<<< 550 Unknown user a@x\n>>> DATA\n<<< 503 Bad sequence", True, R.USER_UNKNOWN, True),
    ("5.0.0", "smtp;550-5.2.2 The email account is over quota", True, R.MAILBOX_FULL, False),
    ("5.1.10", "smtp;550 5.1.10 RESOLVER.ADR.RecipientNotFound; not found", True, R.USER_UNKNOWN, True),
    ("4.4.7", "smtp;550 4.4.7 QUEUE.Expired; message expired", False, R.EXPIRED, False),
    ("4.4.1", "connect to mx.example.com[192.0.2.1]:25: Connection timed out", False, R.NETWORK, False),
    ("5.4.4", "Host or domain name not found. Name service error for name=example.com type=A", True,
     R.DOMAIN_NOT_FOUND, True),
    ("5.7.1", "smtp; 550 5.7.1 no such user", True, R.USER_UNKNOWN, False),
    ("5.2.2", None, True, R.MAILBOX_FULL, False),
    (None, "smtp; 550 5.1.1 no", True, R.USER_UNKNOWN, True),
    (None, "550 no such user", True, R.USER_UNKNOWN, True),
    (None, None, False, R.UNDEFINED, False),
    ("nonsense", "nonsense", False, R.UNDEFINED, False),
]  # fmt: skip


@pytest.mark.parametrize(("status", "diagnostic", "permanent", "reason", "suppress"), REPORTS)
def test_classify_status_known_report_expected_verdict(
    status: str | None,
    diagnostic: str | None,
    permanent: bool,
    reason: BounceReason,
    suppress: bool,
) -> None:
    """Reports of Postfix, Sendmail, Exchange and Gmail read as the refusal they quote, at the phase they name."""
    verdict = classify_status(status, diagnostic)
    assert (verdict.permanent, verdict.reason, verdict.suppress) == (permanent, reason, suppress)


@given(st.none() | st.text(max_size=20), st.none() | st.text(max_size=5000))
def test_classify_status_any_text_gives_verdict(status: str | None, diagnostic: str | None) -> None:
    """Untrusted report fields never raise, and never suppress without being permanent."""
    verdict = classify_status(status, diagnostic)
    assert not verdict.suppress or verdict.permanent
