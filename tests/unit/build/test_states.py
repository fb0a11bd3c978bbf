"""The page of states says what the tables of transitions say."""

import re
from enum import StrEnum

import pytest

from hayabin.domain import campaign, consent, message
from scripts.states import PAGE, MeaningMissing, drawing, meanings, page, table

MACHINES = [
    pytest.param(message.MessageState, message.TRANSITIONS, id="message"),
    pytest.param(campaign.CampaignState, campaign.TRANSITIONS, id="campaign"),
    pytest.param(consent.SubscriptionState, consent.TRANSITIONS, id="subscription"),
]


class Light(StrEnum):
    """A small machine."""

    RED = "red"  # stop
    GREEN = "green"  # go


class Silent(StrEnum):
    """A state that nobody explained."""

    RED = "red"


def test_page_committed_is_what_the_tables_give() -> None:
    """Proves that docs/states.md cannot fall behind the code; `python scripts/states.py` writes it again."""
    assert PAGE.read_text(encoding="utf-8") == page()


@pytest.mark.parametrize(("states", "moves"), MACHINES)
def test_drawing_has_every_move_once_and_no_other(
    states: type[StrEnum], moves: dict[StrEnum, frozenset[StrEnum]]
) -> None:
    """Proves that the drawing is the table of transitions, read back from its own text."""
    drawn = re.findall(r"^    (\w+) --> (\w+)$", drawing(states, moves), re.MULTILINE)
    expected = {(str(state), str(target)) for state in states for target in moves[state]}
    assert len(drawn) == len(expected)
    assert set(drawn) == expected


@pytest.mark.parametrize(("states", "moves"), MACHINES)
def test_table_has_a_line_with_a_meaning_for_every_state(
    states: type[StrEnum], moves: dict[StrEnum, frozenset[StrEnum]]
) -> None:
    """Proves that no state is left out and none is left unexplained."""
    rows = re.findall(r"^\| `(\w+)` \| ([^|]+) \| ([^|]+) \|$", table(states, moves), re.MULTILINE)
    assert [row[0] for row in rows] == [state.value for state in states]
    assert all(len(row[1]) > 10 for row in rows)
    assert [row[2] == "final" for row in rows] == [not moves[state] for state in states]


def test_table_of_a_changed_machine_is_another_text() -> None:
    """Proves that a move that is added or removed shows on the page."""
    before = {Light.RED: frozenset({Light.GREEN}), Light.GREEN: frozenset()}
    after = {Light.RED: frozenset({Light.GREEN}), Light.GREEN: frozenset({Light.RED})}
    assert "| `green` | go | final |" in table(Light, before)
    assert "| `green` | go | `red` |" in table(Light, after)
    assert drawing(Light, before) != drawing(Light, after)


def test_state_without_a_meaning_is_refused_by_name() -> None:
    """Proves that a new state cannot reach the page unexplained."""
    assert meanings(Light) == {Light.RED: "stop", Light.GREEN: "go"}
    with pytest.raises(MeaningMissing, match="Silent: red"):
        meanings(Silent)
