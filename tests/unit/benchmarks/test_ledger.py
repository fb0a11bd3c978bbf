"""What the ledger benchmark works out (``benchmarks.ledger_parts``)."""

from benchmarks.ledger_parts.sending import AHEAD, DESTINATIONS, groups
from benchmarks.ledger_parts.versions import Versions
from services.dispatcher.carrier import MAX_GROUP


def test_groups_have_each_mail_once_and_are_no_larger_than_a_connection_takes() -> None:
    """Nothing is claimed twice or forgotten, also where the numbers do not come out even."""
    ids = list(range(7, 7 + 2 * AHEAD + 123))
    found = groups(ids)
    assert sorted(message_id for group in found for message_id in group) == ids
    assert max(len(group) for group in found) == MAX_GROUP


def test_groups_are_of_one_destination_within_what_is_ahead() -> None:
    """Rows of a group stand as far apart as destinations do, and no further than what is on the way at a time."""
    ids = list(range(3 * AHEAD))
    for group in groups(ids):
        assert {message_id % DESTINATIONS for message_id in group} == {group[0] % DESTINATIONS}
        assert group[-1] - group[0] < AHEAD


def test_cost_of_a_mail_is_what_came_since_divided_by_mails() -> None:
    """Two updates a mail, three of four HOT, and WAL, whatever was before."""
    before, after = Versions(100, 50, 40, 10_000), Versions(100, 250, 190, 160_000)
    assert after.per_mail(before, 100) == {"updates": 2.0, "hot_share": 0.75, "wal_bytes": 1500.0}
    assert before.per_mail(before, 100)["hot_share"] == 1.0
