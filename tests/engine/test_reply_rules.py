"""Every shipped rule decides about the reply that it was made for, leaves other replies alone, and is quick."""

import re
import time
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hayabin.domain.bounded_pattern import TEXT_MAX_CHARS
from hayabin.domain.lane import PROVIDERS
from hayabin.domain.policy import as_json
from hayabin.domain.reply_rules import ReplyRule, Treatment, example_reply, first_match, read_rules
from hayabin.domain.smtp_reply import Reply, ReplyParser, SmtpPhase
from services.dispatcher.policy import DEFAULT, load_policies

POLICIES = load_policies()
NAMES = (*PROVIDERS, DEFAULT)
DEFAULT_RULES = POLICIES.get(DEFAULT).rules
OWN = [
    (name, rule) for name in NAMES for rule in POLICIES.get(name).rules if name == DEFAULT or rule not in DEFAULT_RULES
]


def wire(lines: str) -> Reply:
    """Read a reply as it comes over the wire; ``/`` stands between its lines."""
    (reply,) = ReplyParser().feed(lines.replace(" / ", "\r\n").encode() + b"\r\n")
    return reply


def named(provider: str, lines: str, phase: SmtpPhase = SmtpPhase.MAIL) -> str | None:
    """Name the rule that decides about a reply."""
    rule = first_match(POLICIES.get(provider).rules, wire(lines), phase)
    return None if rule is None else rule.name


@pytest.mark.parametrize(("provider", "rule"), [pytest.param(*own, id=f"{own[0]}-{own[1].name}") for own in OWN])
def test_rule_shipped_example_decides_in_its_policy(provider: str, rule: ReplyRule) -> None:
    """The example, as on the wire, is decided by that very rule, at each of its phases."""
    for phase in rule.phases or SmtpPhase:
        assert first_match(POLICIES.get(provider).rules, wire(rule.example), phase) is rule


def test_rules_shipped_names_unique() -> None:
    """A provider's rule that bears the name of one of ``default``'s would silently replace it."""
    names = [rule.name for _, rule in OWN]
    assert sorted(set(names)) == sorted(names)
    for name in PROVIDERS:
        assert POLICIES.get(name).rules[-len(DEFAULT_RULES) :] == DEFAULT_RULES


def test_rules_of_default_never_suspend_a_source() -> None:
    """Anybody's server can say anything: none of a stranger's replies stops an IP for everybody."""
    assert [rule.name for rule in DEFAULT_RULES if rule.suspend_source_s is not None] == []


@pytest.mark.parametrize(
    ("provider", "reply", "rule"),
    [
        (
            "gmail",
            ("421-4.7.28 [203.0.113.42] Our system has detected an unusual rate of / 421-4.7.28 unsolicited mail originating"
            " from your IP address. To protect our / 421-4.7.28 users from spam, mail sent from your IP address has been"
            " temporarily / 421-4.7.28 rate limited. Please visit / 421 4.7.28 review our Bulk Email Senders Guidelines."),
            "gmail-unusual-rate-of-ip",
        ),
        ("gmail", "421 4.7.0 Our system has detected an unusual rate of unsolicited mail originating from your IP address.",
         "gmail-unusual-rate-of-ip"),
        ("gmail", "421 4.7.28 Gmail has detected an unusual rate of unsolicited mail originating from your SPF domain.",
         "gmail-unusual-rate-of-domain"),
        ("gmail", "421 4.4.5 Server busy, try again later.", "gmail-try-again-later"),
        ("gmail", "550 5.7.1 Our system has detected an unusual rate of unsolicited mail originating from your IP address.",
         "gmail-blocked-rate-of-ip"),
        ("gmail", "452 4.2.2 The recipient's inbox is out of storage space. OverQuotaTemp", None),
        ("gmail", "421 4.3.0 Temporary System Problem. Try again later", None),
        ("yahoo", "421 4.7.0 [TSS04] Messages from 192.0.2.1 temporarily deferred", "yahoo-deferred"),
        ("yahoo", "421 4.16.55 [TS01] Messages from 192.0.2.1 temporarily deferred due to user complaints", "yahoo-deferred"),
        ("yahoo", "421 4.7.1 [TS03] All messages from 192.0.2.1 will be permanently deferred; Retrying will NOT succeed.",
         "yahoo-permanently-deferred"),
        ("yahoo", "421 4.7.1 [TSS09] All messages from 192.0.2.1 will be permanently deferred", "yahoo-permanently-deferred"),
        ("yahoo", "553 5.7.1 [BL23] Connections not accepted from IP addresses on Spamhaus XBL", "yahoo-listed-by-spamhaus"),
        ("yahoo", "450 User is receiving mail too quickly", "mailbox-gets-too-much"),
        ("microsoft", "550 5.7.1 Unfortunately, messages from [192.0.2.1] weren't sent. (S3150)", "microsoft-on-block-list"),
        ("microsoft", "451 4.7.651 The mail server [192.0.2.1] has been temporarily rate limited (S3114)", "microsoft-limited-by-reputation"),
        ("microsoft", "550 5.7.649 Access denied, banned sending IP [192.0.2.1].", "microsoft-banned-ip"),
        ("microsoft", "550 5.7.650 Access denied", None),
        ("microsoft", "451 4.7.899 Access denied, please try again later", "microsoft-suspicious"),
        ("microsoft", "421 RP-002 (BAY0) Unfortunately, some messages from 192.0.2.1 weren't sent.", "microsoft-rate-limit"),
        ("microsoft", "421 4.3.2 The maximum number of concurrent server connections has exceeded a per-source limit",
         "microsoft-connection-limit"),
        ("microsoft", "451 4.4.4 Temporary server error. Please try again later ATTR5", None),
        ("icloud", "550 5.7.0 Blocked - see https://support.proofpoint.com/dnsbl-lookup.cgi?ip=192.0.2.1",
         "listed-by-proofpoint"),
        ("icloud", "550 5.7.1 [CS01] Message rejected due to local policy.", "icloud-local-policy"),
        ("yahoo_jp", "421 [TSS04] Messages from 192.0.2.1 temporarily deferred due to unexpected volume", "yahoo-jp-deferred"),
        ("default", "421 mail.example.com: Too many concurrent SMTP connections; please try again later",
         "too-many-connections"),
        ("default", "421 mx.example.it bizsmtp Too many connections, try later.", "too-many-connections"),
        ("default", "421 4.4.2 Message submission rate for this client has exceeded the configured limit", "too-much-mail"),
        ("default", "451 4.7.1 Greylisting in action, please come back later", "greylisted"),
        ("default", "550 5.7.1 Service unavailable, Client host [192.0.2.1] blocked using Spamhaus.", "listed-by-spamhaus"),
        ("default", "450 4.7.1 Service unavailable; Client host [192.0.2.1] blocked using Trend Micro ERS", "listed-by-trend-micro"),
        ("default", "550 5.7.25 Client host rejected: cannot find your hostname, [192.0.2.1]", "no-reverse-dns"),
    ],
)  # fmt: skip
def test_rules_known_reply_decided(provider: str, reply: str, rule: str | None) -> None:
    """Replies as seen in the field, other wordings than the examples among them."""
    assert named(provider, reply) == rule


@pytest.mark.parametrize("provider", NAMES)
@pytest.mark.parametrize(
    "reply",
    [
        "450 4.2.0 Greylisted",
        "451 4.7.1 <a@example.com>: Recipient address rejected: Greylisted for 5 minutes",
        "450 4.7.0 Graylisted, please try again later",
    ],
)
def test_rules_greylisting_reply_slows_nothing(provider: str, reply: str) -> None:
    """Greylisting is about one mail: only the rules for it match, at whatever phase, and they do not touch the lane."""
    for phase in SmtpPhase:
        matching = [rule for rule in POLICIES.get(provider).rules if rule.matches(wire(reply), phase)]
        assert matching, "so that a later rule of an operator does not take it for a complaint"
        assert {rule.name for rule in matching} == {"greylisted"}
        assert acts(matching[0]) is False


def acts(rule: ReplyRule) -> bool:
    """Tell whether a rule touches the lane or the IP."""
    return (rule.slow_to, rule.suspend_lane_s, rule.suspend_source_s) != (None, None, None)


@pytest.mark.parametrize("provider", NAMES)
@pytest.mark.parametrize(
    "reply",
    [
        "550 5.1.1 <a@example.com>: Recipient address rejected: No such user",
        "452 4.2.2 <a@example.com>: mailbox is over quota",
        "552 5.3.4 Message size exceeds fixed limit",
        "450 4.1.8 <b@example.org>: Sender address rejected: Domain not found",
        "550 5.7.1 Message contains a virus",
        "550 5.7.1 <spamhaus@barracuda.example>: Recipient address rejected: no such user",
        "550 5.1.1 <too-much-mail-from@rate-limit.throttled.example> is not here",
    ],
)
def test_rules_reply_about_mail_or_mailbox_leaves_the_lane_alone(provider: str, reply: str) -> None:
    """What is wrong with one mail or one mailbox, or only with the words in an address, is no reason to slow down."""
    rule = first_match(POLICIES.get(provider).rules, wire(reply), SmtpPhase.RCPT)
    assert rule is None or not acts(rule), rule and rule.name


def test_rules_unknown_users_act_only_when_many() -> None:
    """One unknown user is everyday; many are what the carriers block for."""
    for provider, reply in (
        ("docomo", "550 Unknown user a@example.com"),
        ("au", "550 <a@example.com>: User unknown"),
        ("softbank", "550 Invalid recipient: <a@example.com>"),
    ):
        rule = first_match(POLICIES.get(provider).rules, wire(reply), SmtpPhase.RCPT)
        assert rule is not None
        assert (rule.after, rule.within_s) == (20, 600)
        assert rule.treat is None, "each of them is a bounce"


def test_rules_limits_of_rate_do_not_go_by_another_ip() -> None:
    """To spread over many IPs what one may not send is what spammers do; only a closed door is gone around."""
    for provider, rule in OWN:
        if rule.other_ip:
            assert rule.treat is Treatment.DEFERRAL, (provider, rule.name)
            assert "rate of" not in rule.example, (provider, rule.name)
            assert "rate limit" not in rule.example, (provider, rule.name)


def hostile_texts(rule: ReplyRule) -> list[str]:
    """Make texts that begin to match again and again and never do."""
    assert rule.text is not None
    words = re.findall(r"[a-z0-9]+(?: [a-z0-9]+)*", re.sub(r"\\.", " ", rule.text.pattern.lower()))
    example = example_reply(rule.example).text[:-1]
    bits = [
        "x",
        " ",
        "a ",
        "[",
        "1.",
        *words,
        *(f"{word} " for word in words),
        example,
        " ".join(words),
        "".join(words),
    ]
    return [(bit * TEXT_MAX_CHARS)[:TEXT_MAX_CHARS] for bit in bits]


@pytest.mark.parametrize(
    "rule", [pytest.param(rule, id=rule.name) for _, rule in OWN if rule.text is not None]
)  # fmt: skip
def test_rule_shipped_hostile_text_under_5_ms(rule: ReplyRule) -> None:
    """No text of a server makes a shipped pattern slow; in time of its own; the best of three tries counts."""
    for text in hostile_texts(rule):
        reply = Reply(550 if rule.code.fullmatch("550") else 421, None, text)
        took = []
        for _ in range(3):
            begun = time.thread_time()
            first_match((rule,), reply, SmtpPhase.MAIL)
            _ = rule.text is None or rule.text.search(text)  # also where its code or phase is another
            took.append(time.thread_time() - begun)
        assert min(took) < 0.005, (rule.name, text[:40])


@pytest.mark.parametrize("provider", NAMES)
def test_rules_all_of_a_policy_hostile_text_under_20_ms(provider: str) -> None:
    """All rules of a policy together, for one reply."""
    rules = POLICIES.get(provider).rules
    for code, bit in product(
        (421, 450, 550), ("x", "unusual rate of ", "client host ", "listed on ", "spamhaus ", "ip ")
    ):
        reply = Reply(code, "5.7.1" if code == 550 else "4.7.0", bit * TEXT_MAX_CHARS)
        took = []
        for _ in range(3):
            begun = time.thread_time()
            first_match(rules, reply, SmtpPhase.MAIL)
            took.append(time.thread_time() - begun)
        assert min(took) < 0.02, bit


def test_rules_shipped_read_again_from_their_json() -> None:
    """What the API shows can be sent back to it."""
    for name in NAMES:
        policy = POLICIES.get(name)
        shown = as_json(policy)["rules"]
        assert read_rules([{**rule, "phases": [str(phase) for phase in rule.get("phases", [])]} for rule in shown]) == (
            policy.rules
        )


@given(st.integers(200, 399), st.text(max_size=600), st.sampled_from(list(SmtpPhase)), st.sampled_from(NAMES))
def test_first_match_positive_reply_matches_nothing(code: int, text: str, phase: SmtpPhase, provider: str) -> None:
    """A mail that was taken is never judged by a rule."""
    assert first_match(POLICIES.get(provider).rules, Reply(code, None, text), phase) is None


@given(st.integers(400, 599), st.text(max_size=3000), st.sampled_from(list(SmtpPhase)), st.sampled_from(NAMES))
def test_first_match_any_reply_gives_a_rule_that_matches(code: int, text: str, phase: SmtpPhase, provider: str) -> None:
    """Whatever a server says: no failure, and the rule given is the first of those that match."""
    rules = POLICIES.get(provider).rules
    reply = Reply(code, None, text)
    matching = [rule for rule in rules if rule.matches(reply, phase)]
    assert first_match(rules, reply, phase) is (matching[0] if matching else None)
