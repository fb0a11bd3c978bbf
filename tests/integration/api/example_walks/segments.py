"""The operations of this part, done in an order that works with the documented requests."""

from tests.integration.api.example_walks.walk import Walk


async def take(walk: Walk) -> None:
    """Do each operation once."""
    walk.ids["segment_id"] = (await walk.does("createSegment"))["id"]
    for name in (
        "listSegments",
        "getSegment",
        "changeSegment",
        "previewSegment",
        "countSegment",
        "listSegmentContacts",
        "deleteSegment",
        "previewAudience",
    ):
        await walk.does(name)
