"""The operations of this part, done in an order that works with the documented requests."""

from services.api.exports.runner import run_next_export
from services.api.transfers_examples import TRANSFERS_REQUESTS
from tests.integration.api.example_walks.walk import Walk


async def take(walk: Walk) -> None:
    """Do each operation once."""
    kept = walk.ids["import_id"]
    walk.ids["import_id"] = (await walk.does("startImport", "?dry_run=true"))["id"]
    await walk.does("previewImport")
    await walk.does("startUploadedImport", list_id=walk.ids["list_id"])
    await walk.does("cancelImport")
    walk.ids["import_id"] = kept
    which = {**TRANSFERS_REQUESTS["createExport"]["filter"], "list_id": walk.ids["list_id"]}
    walk.ids["export_id"] = (await walk.does("createExport", filter=which))["id"]
    await walk.does("cancelExport")
    walk.ids["export_id"] = (await walk.does("createExport", filter=which))["id"]
    assert await run_next_export(walk.database, "test")
    for name in ("listExports", "getExport", "downloadExport"):
        await walk.does(name)
