"""The requests of the benchmark of the API: they are what they claim to be."""

from benchmarks.api_parts.operations import VARIANTS, reads, sends
from benchmarks.api_parts.tenant import Sender, Tenant
from services.api.paging import ids_after

TENANT = Tenant(
    key="k", campaign_id=3, list_id=4, template_id=5, message_ids=[70, 71], contact_ids=[80, 81],
    addresses=["a@x.example"], suppressed=["s@x.example"],
)  # fmt: skip


def test_reads_carry_the_key_and_cursors_that_the_api_reads() -> None:
    """Each operation has its requests; a page begins after a row that there is."""
    operations = {operation.name: operation for operation in reads(TENANT)}
    assert all(len(operation.requests) == VARIANTS for operation in operations.values())
    assert all("\r\nAuthorization: Bearer k\r\n" in operation.requests[0] for operation in operations.values())
    cursors = {request.split("cursor=")[1].split(" ")[0] for request in operations["listCampaignMessages"].requests}
    assert {ids_after(cursor, 1)[0] for cursor in cursors} == {70, 71}
    cursor = operations["listMessages"].requests[0].split("cursor=")[1].split(" ")[0]
    assert ids_after(cursor, 2)[0] == TENANT.campaign_id


def test_sends_are_each_to_another_address() -> None:
    """So none is the replay of another."""
    requests = sends(Sender("k", 9)).requests
    assert len(set(requests)) == VARIANTS
    assert all(request.startswith("POST /v1/campaigns/9/test ") for request in requests)
