"""How many have to approve, and who counts."""

from hypothesis import given
from hypothesis import strategies as st

from hayabin.database.models.campaigns import campaigns
from hayabin.domain.tenant_settings import TenantSettings
from services.api.approving import BOOKKEEPING, approver_of, asks_for_audience, missing_of, needed_for

APPROVED = {
    "id", "tenant_id", "name", "class", "kind", "template_version_id", "list_id", "domain_id", "from_name",
    "from_address", "reply_to", "pool", "merge_policy", "send_by", "audience_definition",
}  # fmt: skip
PEOPLE = st.sets(st.sampled_from(["user:1", "user:2", "key:3", "key:4"]))


def test_each_column_of_a_campaign_is_approved_or_bookkeeping() -> None:
    """Whoever adds a column decides whether it is content: if nothing is said, it is, and voids approvals."""
    assert {column.name for column in campaigns.columns} == APPROVED | BOOKKEEPING
    assert not APPROVED & BOOKKEEPING


def test_thresholds_are_exclusive_and_minus_one_means_never() -> None:
    """An audience as large as the threshold is not above it."""
    both = TenantSettings(approval_above=100, two_approvals_above=1000)
    assert [needed_for(both, n) for n in (0, 100, 101, 1000, 1001)] == [0, 0, 1, 1, 2]
    only_two = TenantSettings(two_approvals_above=10)
    assert [needed_for(only_two, n) for n in (10, 11)] == [0, 2]
    all_of_them = TenantSettings(approval_above=0)
    assert [needed_for(all_of_them, n) for n in (0, 1)] == [0, 1]
    assert needed_for(TenantSettings(), 10**9) == 0
    assert not asks_for_audience(TenantSettings())
    assert asks_for_audience(only_two)


def test_person_counts_once_with_however_many_keys() -> None:
    """A key without a person counts by itself."""
    assert approver_of(7, 3) == approver_of(8, 3) == "user:3"
    assert approver_of(7, None) != approver_of(8, None)


@given(PEOPLE, st.integers(0, 2), st.sampled_from(["user:1", "key:3", None]))
def test_enough_is_enough_people_and_one_who_did_not_edit(people: set[str], needed: int, editor: str | None) -> None:
    """Nothing is missing exactly when there are as many as needed, and not only the editor."""
    missing, only_editor = missing_of(needed, people, editor)
    assert (missing == 0) == (needed == 0 or (len(people) >= needed and bool(people - {editor})))
    assert 0 <= missing <= needed
    assert not only_editor or people == {editor}
