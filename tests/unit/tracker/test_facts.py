"""Batches of engagement off the belt: good ones are facts, all others are poison."""

from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hayabin.contracts.codec import encode
from hayabin.contracts.event_pb2 import (
    ENGAGEMENT_KIND_CLICK,
    ENGAGEMENT_KIND_OPEN,
    ENGAGEMENT_KIND_UNSUBSCRIBE,
    DeliveryEvent,
    EngagementEvent,
    Event,
    EventBatch,
)
from hayabin.domain.errors import PoisonMessage
from services.tracker.projection import Fact, read_facts

ID = bytes(range(16))


def batch(*events: Event) -> bytes:
    """The bytes of a batch."""
    return encode(EventBatch(events=events))


def engagement(**values: object) -> Event:
    """An event that is good but for ``values``."""
    fact = EngagementEvent(**{"message_id": 7, "kind": ENGAGEMENT_KIND_CLICK, "link": 3, **values})  # type: ignore[arg-type]
    return Event(event_id=ID, occurred_ms=1_700_000_000_000, engagement=fact)


def test_facts_of_open_and_click_carry_what_the_columns_want() -> None:
    """An open has no link; control characters and excess length of the user agent are gone."""
    facts = read_facts(batch(engagement(user_agent="A\x00B\nC" + "x" * 500), engagement(kind=ENGAGEMENT_KIND_OPEN)))
    assert facts[0] == Fact(ID, 7, "click", 3, "ABC" + "x" * 195, datetime.fromtimestamp(1_700_000_000, UTC))
    assert (facts[1].kind, facts[1].link) == ("open", None)


@pytest.mark.parametrize(
    "event",
    [
        engagement(kind=ENGAGEMENT_KIND_UNSUBSCRIBE),
        engagement(kind=0),
        engagement(kind=99),
        engagement(message_id=2**63),
        engagement(link=2**31),
        Event(event_id=b"short", engagement=EngagementEvent(message_id=7, kind=ENGAGEMENT_KIND_OPEN)),
        Event(
            event_id=ID,
            occurred_ms=2**64 - 1,
            engagement=EngagementEvent(message_id=7, kind=ENGAGEMENT_KIND_OPEN),
        ),
        Event(event_id=ID, delivery=DeliveryEvent(message_id=7)),
        Event(event_id=ID),
    ],
)
def test_batch_with_one_bad_event_is_poison(event: Event) -> None:
    """Other facts, unknown kinds and values that no column holds are for a person to look at."""
    with pytest.raises(PoisonMessage):
        read_facts(batch(engagement(), event))


@settings(deadline=None)
@given(st.binary(max_size=300))
def test_any_bytes_are_facts_or_poison(body: bytes) -> None:
    """Nothing on the belt raises anything else."""
    try:
        read_facts(body)
    except PoisonMessage:
        return
