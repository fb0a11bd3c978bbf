"""What providers say, phrase by phrase: each rule quotes a reply it is made for and names its source.

Promises: the first rule that fits decides, so the order is from the particular to the general; a rule is a table row of
plain phrases, searched in linear time (`` * `` in a phrase stands for anything between its two parts).
It cannot fail. Use it through ``hayabin.domain.bounce_reason``. Addresses in examples are of documentation domains.
"""

from dataclasses import dataclass
from typing import Final

from hayabin.domain.bounce_kinds import BounceReason as R
from hayabin.domain.smtp_reply import SmtpPhase

_GMAIL = "Google Workspace Admin Help, Gmail SMTP errors and codes (answer 3726730)"
_YAHOO = "Yahoo Sender Hub, SMTP Error Codes"
_MICROSOFT = "Microsoft Learn, Non-delivery reports in Exchange Online"
_OUTLOOK = "Outlook.com Postmaster, Troubleshooting"
_ICLOUD = "Apple Support, Postmaster information for iCloud Mail (HT204137)"
_DOCOMO = "Seen at mfsmax.docomo.ne.jp; Sendmagic, SMTP reply codes of docomo"
_AU = "au, technical specification for senders; Sendmagic, SMTP reply codes of au"
_SOFTBANK = "Sendmagic, SMTP reply codes of SoftBank"
_POSTFIX = "Postfix 3.7, text of smtpd(8), virtual(8) and local(8)"
_EXIM = "Exim 4, default configuration"
_QMAIL = "qmail 1.03, qmail-local and qmail-remote"
_SENDMAIL = "Sendmail 8, text of its replies"
_POSTGREY = "Postgrey 1.37, README"


@dataclass(frozen=True, slots=True)
class Rule:
    """One row: a refusal with one of ``phrases`` (and one of ``codes`` or ``enhanced`` if given) has this reason."""

    reason: R
    phrases: tuple[str, ...]
    example: str  # a reply as on the wire
    source: str
    phase: SmtpPhase = SmtpPhase.RCPT  # of the example
    codes: tuple[int, ...] = ()
    enhanced: tuple[str, ...] = ()
    only_at: frozenset[SmtpPhase] = frozenset()  # empty: anywhere
    temporary: bool = False  # to be tried again in spite of its 5yz

    def fits(self, code: int, enhanced: str | None, text: str, phase: SmtpPhase) -> bool:
        """Tell whether the rule speaks of this refusal; ``text`` is lower case with single spaces."""
        if self.codes and code not in self.codes:
            return False
        if self.enhanced and enhanced not in self.enhanced:
            return False
        if self.only_at and phase not in self.only_at:
            return False
        return any(_holds(text, phrase) for phrase in self.phrases)


def _holds(text: str, phrase: str) -> bool:
    at = 0
    for part in phrase.split(" * "):
        found = text.find(part, at)
        if found < 0:
            return False
        at = found + len(part)
    return True


_RCPT, _DOT, _MAIL, _CONNECT = SmtpPhase.RCPT, SmtpPhase.DOT, SmtpPhase.MAIL, SmtpPhase.CONNECT

RULES: Final[tuple[Rule, ...]] = (
    # --- the time for trying, and how much per time
    Rule(R.RATE_LIMITED, ("too many recipients",), "552 Too many recipients", "RFC 5321 §4.5.3.1.10", _RCPT,
         temporary=True),
    Rule(R.RATE_LIMITED, ("receiving mail too quickly", "receiving mail at a rate"),
         "450 4.2.1 The user you are trying to contact is receiving mail too quickly. Please resend your message at a "
         "later time.", _GMAIL),
    Rule(R.RATE_LIMITED, ("unusual rate of",),
         "421 4.7.28 Gmail has detected an unusual rate of unsolicited mail originating from your IP address.", _GMAIL,
         _DOT),
    Rule(R.RATE_LIMITED, ("deferred due to excessive volume",),
         "421 4.7.1 Messages to a@example.com deferred due to excessive volume. Try again later", _ICLOUD),
    Rule(R.RATE_LIMITED, ("temporarily deferred due to", "[tss0", "[ts0"),
         "421 4.7.0 [TSS04] Messages from 192.0.2.1 temporarily deferred due to unexpected volume or user complaints",
         _YAHOO, _MAIL),
    Rule(R.RATE_LIMITED, ("too many concurrent", "too many connections", "concurrent connections * exceeded"),
         "421 4.7.0 mail.example.com Error: too many connections from 192.0.2.1", _POSTFIX, _CONNECT),
    Rule(R.RATE_LIMITED, ("too many messages", "too much mail from", "exceeded the rate limit", "rate limit exceeded"),
         "450 4.7.1 Error: too much mail from 192.0.2.1", _POSTFIX, _MAIL),
    Rule(R.RATE_LIMITED, ("server busy. please try again later from", "recipient thread limit exceeded"),
         "451 4.7.500 Server busy. Please try again later from [192.0.2.1].", _MICROSOFT),
    Rule(R.GREYLISTED, ("greylist", "graylist", "grey-list", "gray-list"),
         "450 4.2.0 <a@example.com>: Recipient address rejected: Greylisted", _POSTGREY),
    # --- who we are: authentication, reputation, encryption
    Rule(R.AUTH_FAILED, ("dmarc",),
         "550 5.7.26 Unauthenticated email from example.com is not accepted due to domain's DMARC policy.", _GMAIL,
         _DOT),
    Rule(R.AUTH_FAILED, ("unauthenticated", "not authenticated", "does not have authentication information"),
         "550 5.7.9 This mail has been blocked because the sender is unauthenticated.", _YAHOO, _DOT),
    Rule(R.AUTH_FAILED, ("spf fail", "spf check", "spf validation", "dkim fail", "required authentication level"),
         "550 5.7.515 Access denied, sending domain example.com does not meet the required authentication level.",
         _OUTLOOK, _DOT),
    Rule(R.AUTH_FAILED, ("reverse dns", "ptr record", "cannot find your hostname", "cannot find your reverse hostname"),
         "450 4.7.25 Client host rejected: cannot find your hostname, [192.0.2.1]", _POSTFIX),
    Rule(R.TLS, ("must issue a starttls", "must issue starttls", "tls required", "encryption required"),
         "530 5.7.0 Must issue a STARTTLS command first", "RFC 3207 §4", _MAIL),
    Rule(R.REPUTATION, ("spamhaus", "spamcop", "barracuda", "blocklist", "block list", "blacklist", "black list",
                        "dnsbl", "rbl ", "blocked using"),
         "550 5.7.1 Service unavailable, Client host [192.0.2.1] blocked using Spamhaus.", _MICROSOFT),
    Rule(R.REPUTATION, ("banned sending ip", "low reputation", "poor reputation", "bad reputation", "ip reputation",
                        "reputation of", "traffic not accepted from this ip"),
         "550 5.7.606 Access denied, banned sending IP [192.0.2.1].", _MICROSOFT),
    # --- what we send
    Rule(R.CONTENT_REJECTED, ("virus", "malware", "infected", "blocked because its content presents a potential"),
         "552 5.7.0 This message was blocked because its content presents a potential security issue.", _GMAIL, _DOT),
    Rule(R.CONTENT_REJECTED, ("line too long", "bare <lf>", "bare newline", "not rfc 5322 compliant",
                              "not compliant with rfc 5322", "message is not rfc"),
         "500 Line Too Long", _DOCOMO, _DOT),
    Rule(R.SPAM_BLOCKED, ("likely unsolicited", "unsolicited mail", "looks like spam", "detected as spam",
                          "considered spam", "identified as spam", "spam message", "as spam"),
         "550 5.7.1 Our system has detected that this message is likely unsolicited mail.", _GMAIL, _DOT),
    Rule(R.SPAM_BLOCKED, ("[cs01]", "[cs02]", "[hm08]"),
         "550 5.7.1 [CS01] Message rejected due to local policy.", _ICLOUD, _DOT),
    Rule(R.MESSAGE_TOO_LARGE, ("message too large", "message size exceeds", "exceeds size limit", "message too big",
                               "message file too big", "exceeds fixed maximum", "maximum message size",
                               "message exceeded", "size limit"),
         "552 5.3.4 Message size exceeds fixed limit", _POSTFIX, _MAIL),
    # --- the recipient
    Rule(R.MAILBOX_FULL, ("over quota", "overquota", "over their quota", "quota exceeded", "exceeded * quota",
                          "mailbox full", "mailbox is full", "inbox is out of storage", "out of storage space",
                          "insufficient disk space", "not enough storage"),
         "452 4.2.2 The recipient's inbox is out of storage space.", _GMAIL),
    Rule(R.MAILBOX_FULL, ("too much mail data",), "552 Too much mail data a@example.com", _DOCOMO, _DOT),
    Rule(R.MAILBOX_DISABLED, ("account * is disabled", "account has been disabled", "account is inactive",
                              "mailbox disabled", "mailbox is disabled", "account disabled", "account suspended",
                              "inactive user", "mailbox is inactive", "inactive email address", "deactivated"),
         "550 5.2.1 The email account that you tried to reach is disabled.", _GMAIL),
    Rule(R.SENDER_REJECTED, ("sender address rejected", "sender rejected", "sender verify failed", "domain of sender"),
         "450 4.1.8 <b@example.org>: Sender address rejected: Domain not found", _POSTFIX),
    Rule(R.SENDER_REJECTED, ("does not exist",), "553 example.org does not exist", _SOFTBANK, _MAIL,
         codes=(553,), only_at=frozenset({_MAIL, _RCPT})),
    Rule(R.USER_UNKNOWN, ("recipient address rejected: access denied",),
         "550 5.4.1 Recipient address rejected: Access denied.", _MICROSOFT, enhanced=("5.4.1",)),
    Rule(R.USER_UNKNOWN, ("mailbox unavailable",),
         "550 5.5.0 Requested action not taken: mailbox unavailable.", _OUTLOOK, codes=(0, 550),
         enhanced=("5.5.0", "5.1.1")),
    Rule(R.USER_UNKNOWN, ("unknown user",), "550 Unknown user a@example.com", _DOCOMO),
    Rule(R.USER_UNKNOWN, ("user unknown", "unknown local part"), "550 <a@example.com>: User unknown", _AU),
    Rule(R.USER_UNKNOWN, ("invalid recipient", "recipient invalid"), "550 Invalid recipient: <a@example.com>",
         _SOFTBANK),
    Rule(R.USER_UNKNOWN, ("email account that you tried to reach does not exist", "user does not exist",
                          "mailbox does not exist", "recipient does not exist", "user doesn't have a",
                          "account does not exist"),
         "550 5.1.1 The email account that you tried to reach does not exist.", _GMAIL),
    Rule(R.USER_UNKNOWN, ("no mailbox here by that name",), "550 sorry, no mailbox here by that name. (#5.1.1)",
         _QMAIL),
    Rule(R.USER_UNKNOWN, ("unrouteable address", "unroutable address", "no such user", "no such recipient",
                          "no such mailbox", "no such address", "no such account"),
         "550 No such user here", _EXIM),
    Rule(R.USER_UNKNOWN, ("user not found", "mailbox not found", "recipient not found", "unknown recipient",
                          "recipient unknown", "address unknown", "unknown address", "not our customer",
                          "recipient address rejected: undeliverable", "resolver.adr.recipientnotfound",
                          "resolver.adr.recipnotfound"),
         "550 5.1.10 RESOLVER.ADR.RecipientNotFound; Recipient not found by SMTP address lookup", _MICROSOFT),
    # --- the domain
    Rule(R.NULL_MX, ("does not accept mail", "nullmx", "null mx"),
         "556 5.1.10 Domain example.com does not accept mail (nullMX)", "RFC 7505 §4.1"),
    Rule(R.DOMAIN_NOT_FOUND, ("host or domain name not found", "host unknown", "domain not found", "unknown host",
                              "domain does not exist"),
         "550 5.1.2 <a@example.com>... Host unknown", _SENDMAIL),
    Rule(R.EXPIRED, ("message expired", "delivery time expired", "retry timeout exceeded", "too long in the queue",
                     "in the queue too long"),
         "550 4.4.7 QUEUE.Expired; message expired", _MICROSOFT),
    Rule(R.NETWORK, ("connection timed out", "connection refused", "no route to host", "lost connection",
                     "timed out while"),
         "451 4.4.1 connect to mx.example.com[192.0.2.1]:25: Connection timed out", _POSTFIX),
    Rule(R.SYSTEM_ERROR, ("mail loop", "loops back to myself", "too many hops", "hop count exceeded"),
         "554 5.4.6 Error: too many hops", _POSTFIX, _DOT),
    Rule(R.POLICY_REJECTED, ("relay access denied", "relaying denied", "relay not permitted", "unable to relay"),
         "554 <a@example.com>: Relay access denied", _AU),
)  # fmt: skip
