"""Launch, pause, resume, cancel, schedule: the moves of a campaign and what each does to the ledger.

Promises: a launch is one transaction of the caller: state, the first page of the audience and its chunks for the belt
commit together or not at all; it takes as long for a million as for a thousand, and the scheduler copies the rest
(``audience``).
Fails: ``CampaignMissing``, ``IllegalTransition`` (launched twice …), ``EmptyAudience``; nothing changed then.
"""

from collections.abc import Sequence
from typing import Any

from hayabin.database.audience import FIRST_PAGE_ROWS, Page, Person, count_left_out, first_page, named
from hayabin.database.engine import Connection
from hayabin.database.feeds import FeedTarget, end_leases, feed_first
from hayabin.domain.campaign import (
    LAUNCHABLE,
    CampaignState,
    IllegalTransition,
    MessageClass,
    RenderBelt,
    require_transition,
)


class CampaignMissing(Exception):
    """There is no such campaign for this tenant."""


class EmptyAudience(Exception):
    """Nobody is subscribed: there is nothing to launch."""


async def launch(connection: Connection, campaign_id: int, *, tenant_id: int, traceparent: str = "") -> Page:
    """Launch a campaign to the subscribed members of its list, within the caller's transaction.

    Returns: the first page of the audience.

    Raises:
        CampaignMissing, IllegalTransition, EmptyAudience: see the module.
    """
    campaign = await _launchable(connection, campaign_id, tenant_id)
    return await _started(connection, campaign, await first_page(connection, campaign), traceparent)


async def launch_to(
    connection: Connection, campaign_id: int, people: Sequence[Person], *, tenant_id: int, traceparent: str = ""
) -> Page:
    """Launch a campaign to the people given, within the caller's transaction; fails as ``launch`` does."""
    campaign = await _launchable(connection, campaign_id, tenant_id)
    return await _started(connection, campaign, await named(connection, campaign, people), traceparent)


async def change_state(
    connection: Connection, campaign_id: int, tenant_id: int, target: CampaignState, reason: str = ""
) -> None:
    """Pause, resume, cancel, schedule or fail a campaign, within the caller's transaction.

    The gate looks at the state in each claim, so a pause or cancel holds from the commit on. A resume ends all leases
    of the campaign, so what the gate sent away meanwhile is fed again at once. Rows of a cancelled campaign are moved
    by the scheduler, in pages.

    Raises:
        CampaignMissing, IllegalTransition: see the module.
    """
    campaign = await _locked(connection, campaign_id, tenant_id)
    require_transition(CampaignState(campaign["state"]), target)
    await connection.execute(
        "UPDATE campaigns SET state = $2, state_reason = $3, filling = filling AND NOT $4, updated_at = now() "
        "WHERE id = $1",
        campaign_id,
        target.value,
        reason,
        target is CampaignState.CANCELLED,
    )
    if target is CampaignState.SENDING:
        await end_leases(connection, campaign_id)


async def _locked(connection: Connection, campaign_id: int, tenant_id: int) -> Any:
    campaign = await connection.fetchrow(
        "SELECT * FROM campaigns WHERE id = $1 AND tenant_id = $2 FOR UPDATE", campaign_id, tenant_id
    )
    if campaign is None:
        raise CampaignMissing
    return campaign


async def _launchable(connection: Connection, campaign_id: int, tenant_id: int) -> Any:
    campaign = await _locked(connection, campaign_id, tenant_id)
    current = CampaignState(campaign["state"])
    require_transition(current, CampaignState.SENDING)
    if current not in LAUNCHABLE:  # paused → sending is a resume, completed → sending a reopening
        raise IllegalTransition(current, CampaignState.SENDING)
    return campaign


async def _started(connection: Connection, campaign: Any, page: Page, traceparent: str) -> Page:
    if page.people == 0 and page.last:
        raise EmptyAudience
    launched_at = await connection.fetchval(
        "UPDATE campaigns SET state = 'sending', state_reason = '', launched_at = now(), updated_at = now(), "
        "audience = $2, filled_through_id = $3, filling = NOT $4, traceparent = $5 "
        "WHERE id = $1 RETURNING launched_at",
        campaign["id"],
        page.people,
        page.through_contact_id,
        page.last,
        traceparent,
    )
    await count_left_out(connection, campaign["id"], page)
    target = FeedTarget(campaign["id"], campaign["tenant_id"], campaign["class"], traceparent, launched_at)
    first = RenderBelt.FIRST if campaign["class"] == MessageClass.BULK else RenderBelt.TRANSACTIONAL
    await feed_first(connection, target, 0, FIRST_PAGE_ROWS, first)
    return page
