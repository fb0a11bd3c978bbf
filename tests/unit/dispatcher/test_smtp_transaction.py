"""The transaction machine, driven by replies alone: what it concludes and what it lets out."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hayabin.domain.smtp_reply import Reply, SmtpPhase
from services.dispatcher.envelope import Envelope
from services.dispatcher.smtp_outcome import Interruption, Outcome, OutcomeKind
from services.dispatcher.smtp_transaction import LONE_DOT, Extensions, Step, Transaction

MAIL = Envelope("b@example.jp", "a@example.com", b"Subject: x\r\n\r\n")
CODES = st.sampled_from([200, 220, 250, 251, 252, 354, 355, 421, 450, 451, 452, 500, 503, 550, 552, 554])


def drive(
    codes: list[int], *, pipelining: bool, reset: bool
) -> tuple[Transaction, list[bytes | str], list[tuple[str, int]]]:
    """Answer with these codes until it is over; give the machine, what was written, and which command got which code."""
    transaction = Transaction(MAIL, Extensions(pipelining=pipelining), reset=reset)
    written: list[bytes | str] = [transaction.command]
    asked = transaction.command.decode().splitlines()
    answers: list[tuple[str, int]] = []
    for code in codes:
        answers.append((asked.pop(0).split(" ")[0], code))
        match transaction.take(Reply(code, None, "")):
            case Step.WRITE:
                written.append(transaction.command)
                asked += transaction.command.decode().splitlines()
            case Step.CONTENT:
                written.append("content")
                asked.append("DOT")
                transaction.dot_sent()
            case Step.DONE | Step.DONE_CLOSE:
                break
            case Step.WAIT:
                pass
    return transaction, written, answers


@given(st.lists(CODES, max_size=8), st.booleans(), st.booleans())
def test_transaction_any_replies_consistent_outcome(codes: list[int], pipelining: bool, reset: bool) -> None:
    """Content goes out only after MAIL, RCPT and 354; accepted only by 2yz to the dot; a refusal is one that was given."""
    transaction, written, answers = drive(codes, pipelining=pipelining, reset=reset)
    given_to = dict(answers)
    content_sent = "content" in written
    if content_sent:
        assert 200 <= given_to["MAIL"] < 300
        assert 200 <= given_to["RCPT"] < 300
        assert given_to["DATA"] == 354
    if LONE_DOT in written:
        assert given_to["RCPT"] >= 400, "a lone dot is only for a server without a recipient"
    outcome = transaction.outcome
    if outcome is None:
        for cause in Interruption:
            broken = transaction.interrupted(cause)
            assert broken.kind is not OutcomeKind.ACCEPTED
            assert not broken.unknown or content_sent
        return
    if outcome.accepted:
        assert 200 <= given_to["DOT"] < 300
    if outcome.kind is OutcomeKind.REJECTED:
        assert outcome.reply is not None
        assert outcome.reply.code >= 400
        assert outcome.reply.code in given_to.values()
    if outcome.unknown:
        assert content_sent


@given(st.lists(CODES, max_size=8), st.booleans(), st.booleans(), st.sampled_from(Interruption))
def test_transaction_any_replies_concession_gives_up_and_never_behind_content(
    codes: list[int], pipelining: bool, reset: bool, cause: Interruption
) -> None:
    """What is conceded is always one offer less, so that it ends; and never after content, so that no mail goes twice."""
    transaction, written, _ = drive(codes, pipelining=pipelining, reset=reset)
    fewer = transaction.concession(transaction.outcome or transaction.interrupted(cause))
    if fewer is None:
        return
    assert (pipelining, fewer.pipelining) == (True, False)
    assert "content" not in written


@pytest.mark.parametrize(
    ("codes", "reset", "conceded"),
    [
        ([250, 503, 503], False, True),
        ([250, 500, 503], False, True),
        ([250, 250, 503], False, True),
        ([250, 503, 503, 503], True, True),
        ([503, 503, 503], False, False),
        ([250, 550, 503], False, False),
        ([250, 250, 554], False, False),
        ([250, 250, 354, 503], False, False),
        ([250], False, True),
        ([250, 250], False, True),
        ([], False, False),
        ([250], True, True),
        ([], True, False),
    ],
)
def test_transaction_out_of_order_or_half_answered_concedes_pipelining(
    codes: list[int], reset: bool, conceded: bool
) -> None:
    """503 behind another command, or silence after the first reply, speak against PIPELINING; a refusal does not."""
    transaction, _, _ = drive(codes, pipelining=True, reset=reset)
    fewer = transaction.concession(transaction.outcome or transaction.interrupted(Interruption.TIMEOUT))
    assert (fewer is not None) == conceded


def test_transaction_reply_to_each_command_read_in_order() -> None:
    """With pipelining the first refusal names the phase, and the later replies do not change it."""
    transaction, written, _ = drive([250, 550, 503], pipelining=True, reset=False)
    assert transaction.outcome is not None
    assert (transaction.outcome.phase, transaction.outcome.reply) == (SmtpPhase.RCPT, Reply(550, None, ""))
    assert written == [b"MAIL FROM:<b@example.jp>\r\nRCPT TO:<a@example.com>\r\nDATA\r\n"]
    assert transaction.left_open


def test_transaction_without_pipelining_one_command_at_a_time() -> None:
    """Each command waits for the reply to the one before; a refused MAIL is not followed by RCPT."""
    _, written, _ = drive([250, 250, 250, 354, 250], pipelining=False, reset=True)
    assert written == [
        b"RSET\r\n",
        b"MAIL FROM:<b@example.jp>\r\n",
        b"RCPT TO:<a@example.com>\r\n",
        b"DATA\r\n",
        "content",
    ]
    transaction, written, _ = drive([550], pipelining=False, reset=False)
    assert written == [b"MAIL FROM:<b@example.jp>\r\n"]
    assert transaction.outcome is not None


def test_transaction_accepted_before_dot_unknown() -> None:
    """A server that says 250 in the middle of the content leaves the mail's fate unknown."""
    transaction = Transaction(MAIL, Extensions(pipelining=True), reset=False)
    for code in (250, 250, 354):
        step = transaction.take(Reply(code, None, ""))
    assert step is Step.CONTENT
    assert transaction.phase is SmtpPhase.DATA
    assert transaction.take(Reply(250, None, "")) is Step.DONE_CLOSE
    assert transaction.outcome is not None
    assert transaction.outcome.unknown


def test_transaction_left_open_only_before_dot() -> None:
    """After the dot, whatever its reply, no RSET is needed."""
    for code in (250, 451, 550):
        transaction, _, _ = drive([250, 250, 354, code], pipelining=True, reset=False)
        assert not transaction.left_open


@given(st.sampled_from(OutcomeKind))
def test_outcome_kinds_every_one_judged(kind: OutcomeKind) -> None:
    """Accepted and unknown have no verdict, everything else has one, and without a reply it is never permanent."""
    reply = Reply(550, "5.1.1", "no") if kind is OutcomeKind.REJECTED else None
    outcome = Outcome(SmtpPhase.RCPT, kind, reply)
    assert (outcome.verdict is None) == (outcome.accepted or outcome.unknown)
    assert outcome.unknown == kind.value.endswith("after_dot")
    if outcome.verdict is not None and reply is None:
        assert (outcome.verdict.permanent, outcome.verdict.suppress) == (False, False)
