"""The design keeps every promise in every reachable state, and each mutation of it is found out."""

from dataclasses import fields, replace

import pytest

from hayabin.domain.message import TRANSITIONS, MessageState
from tests.chaos.model.explore import explore
from tests.chaos.model.promises import broken_promise
from tests.chaos.model.rules import Rules, Scope

SCOPES = {
    "three_attempts": (Scope(attempts=3), 50_000),
    "resent_resolved_and_reported": (Scope(resend_once=True, operator=True, reports=True), 50_000),
    "controlled_and_suppressed": (Scope(control=True, suppression=True), 35_000),
    "held_and_restored": (Scope(holds=True, render_failures=True), 20_000),
    "two_messages": (Scope(messages=2, dispatchers=1, attempts=1, lost_answers=False, losses=False), 3_000),
}
"""What is explored, and how many states that is at least."""

DEAD_END = "a dead end"
MUTATIONS = {
    "gate_asks_for_attempt": (Scope(), "attempt 1 was granted twice"),
    "gate_asks_for_suppression": (Scope(suppression=True), "let through after its address was suppressed"),
    "gate_asks_for_hold": (Scope(holds=True), "let through while everything is held"),
    "claim_comes_before_sending": (Scope(), "the receiver has it, and the ledger says due"),
    "answered_grant_is_not_recognised": (Scope(), "the receiver has it 2 times after 0 resends"),
    "outcome_asks_for_attempt": (Scope(), "the receiver has it, and the ledger says deferred"),
    "lost_claim_becomes_unknown": (Scope(), "the receiver has it, and the ledger says due"),
    "crash_leaves_claims": (Scope(), "the receiver has it, and the ledger says due"),
    "lease_outlives_batch": (Scope(), DEAD_END),
    "lease_stays_while_rows_wait": (Scope(), DEAD_END),
    "feeding_keeps_attempt": (Scope(), "attempt 1 was granted twice"),
    "completion_waits_for_resend": (Scope(resend_once=True), "what the policy sends again was not sent again"),
    "campaign_reopens": (Scope(), DEAD_END),
    "resend_asks_for_campaign": (Scope(operator=True), "the campaign is over, and a row is due"),
}
"""Each rule broken by itself, where that is looked for, and which promise it breaks."""


@pytest.mark.parametrize("name", SCOPES)
def test_model_of_the_design_keeps_every_promise_in_every_state(name: str) -> None:
    """Nothing lost, nothing twice, no dead end: whatever crashes, is lost, comes late or comes again."""
    scope, at_least = SCOPES[name]
    found = explore(Rules(), scope)
    assert found.counterexample is None, str(found.counterexample)
    assert found.states >= at_least


@pytest.mark.parametrize("rule", MUTATIONS)
def test_model_without_one_rule_breaks_a_promise(rule: str) -> None:
    """Each rule is needed, and the model can tell: a broken one gives a trace that ends in the breach."""
    scope, word = MUTATIONS[rule]
    found = explore(replace(Rules(), **{rule: False}), scope).counterexample
    assert found is not None
    assert word in found.broken, str(found)
    if word != DEAD_END:
        assert broken_promise(found.last, scope) == found.broken


def test_model_every_rule_has_its_mutation() -> None:
    """A rule that nobody breaks is a rule that nobody checks."""
    assert set(MUTATIONS) == {one.name for one in fields(Rules)}


def test_model_counterexample_is_the_shortest_and_tells_it_in_words() -> None:
    """A lost claim that is due again is sent again: four steps, as a person would tell it."""
    found = explore(replace(Rules(), lost_claim_becomes_unknown=False), Scope()).counterexample
    assert found is not None
    assert [str(step) for step in found.steps] == [
        "d0 takes m0 at attempt 0 from the belt",
        "d0 asks; the gate lets m0 through as attempt 1",
        "d0 sends m0: accepted",
        "the reconciler takes d0, which pauses, for dead: m0 becomes due",
    ]


@pytest.mark.parametrize(
    ("state", "missing"),
    [(MessageState.CLAIMED, MessageState.UNKNOWN), (MessageState.ACCEPTED, MessageState.COMPLAINED)],
)
def test_model_goes_by_the_real_table_of_moves(
    monkeypatch: pytest.MonkeyPatch, state: MessageState, missing: MessageState
) -> None:
    """Without a move in ``hayabin.domain.message`` the model has nowhere to go and says which move that is."""
    monkeypatch.setitem(TRANSITIONS, state, TRANSITIONS[state] - {missing})
    found = explore(Rules(), Scope(reports=True)).counterexample
    assert found is not None
    assert found.broken == f"m0: {state} -> {missing} is no move of the table"
