"""The operations of this part, done in an order that works with the documented requests."""

from tests.integration.api.example_walks.walk import Walk


async def take(walk: Walk) -> None:
    """Do each operation once."""
    does, ids = walk.does, walk.ids
    await does("changeList")
    await does("recordConsent", contact_id=ids["contact_id"], list_id=ids["list_id"])
    for name in ("listSubscriptions", "listConsents", "exportConsents"):
        await does(name)
    list_id = ids["list_id"]
    ids["list_id"] = (await does("createList", name="for nobody"))["id"]
    await does("deleteList")
    ids["list_id"] = list_id
    await does("suppress")
    ids["email"] = "b@example.net"
    for name in ("changeSuppression", "unsuppress"):
        await does(name)
    await does("suppressForAll")
    ids["email"] = "@example.org"
    for name in ("listPlatformSuppressions", "changePlatformSuppression", "unsuppressForAll"):
        await does(name)
