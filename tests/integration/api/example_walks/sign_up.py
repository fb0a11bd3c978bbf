"""The operations of this part, done in an order that works with the documented requests."""

from tests.integration.api.example_walks.walk import Walk


async def take(walk: Walk) -> None:
    """Do each operation once."""
    made = await walk.does("createForm", list_ids=[walk.ids["list_id"]])
    walk.ids["form_id"] = made["id"]
    for name in ("getForm", "listForms", "changeForm", "listFormVersions", "embedForm", "deleteForm"):
        await walk.does(name)
