"""The tables of subscriptions: what may become of somebody on a list, by whose act."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hayabin.domain.consent import BY_ACTION, CLOCKS_DIFFER, NEW, TRANSITIONS, has_been, may_become, sources_of
from hayabin.domain.consent import ConsentAction as A
from hayabin.domain.consent import SubscriptionState as S

NOW = datetime(2026, 11, 29, 20, tzinfo=UTC)
BY_OTHERS = [action for action in A if action is not A.CONFIRM]


def test_tables_name_every_state_and_every_action() -> None:
    """Nothing is forgotten when a state or an action is added."""
    assert set(TRANSITIONS) == set(S)
    assert set(BY_ACTION) == set(A)


@given(st.lists(st.tuples(st.sampled_from(S), st.sampled_from(BY_OTHERS)), max_size=30))
def test_who_left_by_their_own_act_is_never_subscribed_by_others(asked: list[tuple[S, A]]) -> None:
    """No sequence of imports, API calls and changes leads from an opt-out or a complaint to mail."""
    for left in (S.UNSUBSCRIBED, S.COMPLAINED):
        state = left
        for to, action in asked:
            if may_become(state, to, action):
                state = to
        assert state in (S.UNSUBSCRIBED, S.COMPLAINED)


@pytest.mark.parametrize("state", S)
def test_own_confirmation_subscribes_whoever_is_not(state: S) -> None:
    """By the person's own act there is a way back from everywhere, and it is one step."""
    assert may_become(state, S.SUBSCRIBED, A.CONFIRM) == (state is not S.SUBSCRIBED)


@given(st.sampled_from(S), st.sampled_from(A))
def test_moving_to_where_one_stands_is_no_move(state: S, action: A) -> None:
    """So asking twice is asking once."""
    assert not may_become(state, state, action)


@given(st.sampled_from(S), st.sampled_from(A))
def test_sources_are_those_of_the_tables(to: S, action: A) -> None:
    """What the SQL is given is the table; who is not on a list comes onto it only as pending or subscribed."""
    assert sources_of(to, action) == {state for state in S if may_become(state, to, action)}
    assert may_become(None, to, action) == (to in NEW)


def test_moment_of_consent_has_been_or_is_refused() -> None:
    """A clock that is some minutes ahead means now; what it says beyond that is yet to come."""
    before = NOW - timedelta(days=400)
    assert has_been(before, NOW) == before
    assert has_been(NOW + CLOCKS_DIFFER, NOW) == NOW
    with pytest.raises(ValueError, match="future"):
        has_been(NOW + CLOCKS_DIFFER + timedelta(seconds=1), NOW)
