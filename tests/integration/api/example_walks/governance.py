"""The operations of this part, done in an order that works with the documented requests."""

from services.api.scheduler.audit_duty import link_lines
from tests.integration.api.example_walks.walk import Walk


async def take(walk: Walk) -> None:
    """Do each operation once."""
    await walk.does("changeSettings")
    await walk.does("getSettings")
    await link_lines(walk.database.pool)
    found = await walk.does("listApprovals")
    await walk.does("approveCampaign", hash=found["hash"])
    await walk.does("withdrawApproval")
    await walk.does("getQuotas")
    for name in ("listAudit", "exportAudit", "verifyAudit"):
        await walk.does(name)
