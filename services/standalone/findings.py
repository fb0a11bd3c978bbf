"""What has to be true after the demo's campaigns; each sentence is checked against a witness of its own.

Promises: recipients are compared one by one wherever both sides name them.
"""

from collections.abc import Iterable

from services.standalone.audit import Finding, Ledger, equal, nobody, same
from services.standalone.campaign_run import FollowUp, MainRun
from services.standalone.environment import SOURCES
from services.standalone.sandbox.behaviour import TAKES, behaviour_of
from services.standalone.sandbox.zone import MISSING_SUFFIX, NULL_MX
from services.standalone.story import Stats
from services.standalone.traces import LaunchTrace

FINAL_STATES = ("accepted", "failed", "suppressed", "cancelled", "expired", "unknown", "due")
LINKS_MIN = 10


def check_main(run: MainRun) -> list[Finding]:
    """The main campaign."""
    return [
        *_equation("the report", run.stats, run.ledger),
        equal("imported contacts are the audience", run.imported.contacts, run.ledger.audience),
        *_delivery(run),
        *_returns(run),
        *_mails(run),
        equal("opened, by the report and by the recipients", run.stats["opened"], len(run.acts.opened)),
        equal("clicked, by the report and by the recipients", run.stats["clicked"], len(run.acts.clicked)),
        equal("unsubscribed, by the report and by the recipients", run.stats["unsubscribed"],
              len(run.acts.unsubscribed)),
        nobody("links lead to the template's destinations alone",
               [url for url in run.acts.destinations if not url.startswith("https://tea.example/")]),
    ]  # fmt: skip


def check_follow_up(main: MainRun, follow_up: FollowUp) -> list[Finding]:
    """The second campaign."""
    got = set(follow_up.seen.accepted)
    gone = main.acts.unsubscribed
    hard = _hard_bounced(main)
    return [
        *_equation("the second report", follow_up.stats, follow_up.ledger),
        nobody("who unsubscribed got no second mail", got & gone),
        nobody("who bounced hard or complained got no second mail", got & (hard | main.seen.complained)),
        nobody("who bounced hard or complained has left the list, and is not in the second audience",
               {*follow_up.ledger.suppressed, *follow_up.ledger.accepted_once, *follow_up.ledger.bounced}
               & (hard | main.seen.complained)),
        same("the second campaign was accepted for everybody else who takes mail",
             follow_up.ledger.accepted_once, (set(main.seen.accepted) - hard - main.seen.complained) - gone),
        nobody("the sandbox has each recipient of the second campaign once",
               [person for person, times in follow_up.seen.accepted.items() if times != 1]),
    ]  # fmt: skip


def _equation(who: str, stats: Stats, ledger: Ledger) -> list[Finding]:
    """Audience = sum of states, by the API and, apart from it, by SQL over the ledger."""
    terms = " + ".join(f"{stats[name]} {name}" for name in FINAL_STATES)
    by_state = ledger.states
    return [
        Finding(
            f"{who}: audience {stats['audience']} = {terms}",
            holds=stats["audience"] == sum(stats[name] for name in FINAL_STATES),
        ),
        equal("the ledger's rows, counted by SQL, are the audience", sum(by_state.values()), stats["audience"]),
        equal("the ledger has a pinned recipient for each row", ledger.recipients, stats["audience"]),
        equal("accepted, by the report and by SQL", stats["accepted"],
              by_state.get("accepted", 0) + by_state.get("complained", 0)),
        equal("bounced, by the report and by SQL", stats["bounced"], by_state.get("bounced", 0)),
        equal("nobody is due or unknown", stats["due"] + stats["unknown"], 0),
    ]  # fmt: skip


def _delivery(run: MainRun) -> list[Finding]:
    """SMTP, by the ledger and by the sandbox's journal."""
    seen, ledger = run.seen, run.ledger
    retried = [person for person in seen.deferred if person in seen.accepted]
    sources = {tuple(source.split("=", 1)) for source in SOURCES}
    return [
        nobody("the sandbox has each accepted recipient exactly once",
               [person for person, times in seen.accepted.items() if times != 1]),
        same("accepted, by the ledger and by the sandbox's journal", ledger.accepted_once, seen.accepted),
        equal("deferred and then accepted, by the report and by the journal", run.stats["accepted_after_retry"],
              len(retried)),
        nobody("everybody who was greylisted got the mail in the end", seen.deferred - set(seen.accepted)),
        nobody("every recipient took or refused the mail as its address says",
               [person for person in {*seen.accepted, *seen.rejected}
                if (person in seen.accepted) != (behaviour_of(person) in TAKES)]),
        Finding("mails came from the pool's IPs with their EHLO names", holds=seen.clients <= sources,
                detail=str(sorted(seen.clients - sources))),
    ]  # fmt: skip


def _returns(run: MainRun) -> list[Finding]:
    """Bounces and complaints, by the ledger and by the journal."""
    seen = run.seen
    unroutable = {person for person in run.ledger.bounced if _is_unroutable(person)}
    by_reason: dict[str, int] = run.stats["bounced_by_reason"]
    return [
        same("bounced, by the ledger and by the journal (refused, returned by DSN, domains without mail)",
             run.ledger.bounced, {*seen.rejected, *seen.returned, *unroutable}),
        equal("bounced as user_unknown (550 5.1.1 at RCPT, DSN 5.1.1)", by_reason.get("user_unknown", 0),
              _refused(run, "550 5.1.1") + len(seen.returned)),
        equal("bounced as mailbox_full (552 5.2.2)", by_reason.get("mailbox_full", 0), _refused(run, "552 5.2.2")),
        equal("bounced by policy (550 5.7.1)", by_reason.get("policy_rejected", 0), _refused(run, "550 5.7.1")),
        equal("bounces by reason add up", sum(by_reason.values()), run.stats["bounced"]),
        equal("complaints, by the report and by the journal", run.stats["complained"], len(seen.complained)),
        equal("reports that the bounce service did not take", seen.lost_reports, 0),
    ]  # fmt: skip


def _mails(run: MainRun) -> list[Finding]:
    """What the received mails look like."""
    letters = run.letters
    return [
        nobody("every mail says its recipient's name in subject and text",
               [letter.recipient for letter in letters
                if not letter.to_name or letter.to_name not in letter.subject or letter.to_name not in letter.text]),
        nobody("every mail has at least ten tracked links",
               [letter.recipient for letter in letters if len(letter.links) < LINKS_MIN]),
        equal("no two mails share an open pixel", len({letter.pixel for letter in letters}), len(letters)),
        nobody("no mail has template syntax left",
               [letter.recipient for letter in letters if "{{" in letter.html + letter.text + letter.subject]),
    ]  # fmt: skip


def _hard_bounced(run: MainRun) -> set[str]:
    """Whom the main campaign found not to exist."""
    unknown = {person for person, reply in run.seen.rejected.items() if reply.startswith("550 5.1.1")}
    return unknown | run.seen.returned | {person for person in run.ledger.bounced if _is_unroutable(person)}


def _refused(run: MainRun, start: str) -> int:
    return sum(reply.startswith(start) for reply in run.seen.rejected.values())


def _is_unroutable(person: str) -> bool:
    return person.endswith((f"@{NULL_MX}", MISSING_SUFFIX))


def check_trace(trace: LaunchTrace) -> Finding:
    """One trace from the REST call to the SMTP reply."""
    return Finding(
        f"one trace leads from the launch to the SMTP replies: {trace.trace_id} ({trace.spans} spans)",
        holds=not trace.missing,
        detail=f"but it lacks {', '.join(trace.missing)}",
    )


def all_hold(findings: Iterable[Finding]) -> bool:
    """Whether the run is what it has to be."""
    return all(finding.holds for finding in findings)
