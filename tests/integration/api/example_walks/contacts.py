"""The operations of this part, done in an order that works with the documented requests."""

from tests.integration.api.example_walks.walk import Walk


async def take(walk: Walk) -> None:
    """Do each operation once."""
    does, ids = walk.does, walk.ids
    await does("replaceStages")
    await does("listStages")
    await does("createAttribute")
    ids["name"] = "phone"
    for name in ("getAttribute", "listAttributes", "changeAttribute", "listContactChanges"):
        await does(name)
    first = ids["contact_id"]
    ids["contact_id"] = (await does("upsertContact", email="jiro@twice.example"))["id"]
    other = (await does("upsertContact", email="jiro+2@twice.example"))["id"]
    await does("listDuplicates")
    await does("mergeContacts", **{"from": other})
    await does("deleteContact")
    ids["contact_id"] = first
    await does("deleteAttribute")
    await does("createAttribute")  # for whoever comes after: the contact's telephone number is personal
