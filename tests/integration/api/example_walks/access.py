"""The operations of this part, done in an order that works with the documented requests."""

from tests.integration.api.example_walks.walk import Walk


async def take(walk: Walk) -> None:
    """Do each operation once."""
    await walk.does("getMe")
    walk.ids["user_id"] = (await walk.does("createUser"))["id"]
    for name in ("getUser", "listUsers", "changeUser"):
        await walk.does(name)
    walk.ids["key_id"] = (await walk.does("createApiKey"))["id"]
    for name in ("getApiKey", "listApiKeys", "rotateApiKey", "revokeApiKey", "deleteUser"):
        await walk.does(name)
