"""What ends by itself: suppressions that have expired."""

from hayabin.database import subscriptions
from hayabin.domain.consent import ConsentAction, SubscriptionState
from services.api.scheduler import forgetting
from tests.integration.consent.conftest import PEOPLE, People


async def test_expired_suppressions_are_removed_and_only_a_bounce_is_taken_back(people: People) -> None:
    """A mailbox that gets another chance is subscribed as before; a complaint stays one; what has not ended stays."""
    mailboxes = [(people.seeded.tenant_id, PEOPLE[n], f"message:{n}") for n in range(4)]
    async with people.pool.acquire() as connection, connection.transaction():
        await subscriptions.move_everywhere(connection, mailboxes[:3], SubscriptionState.BOUNCED, ConsentAction.CHANGE)
        complained = SubscriptionState.COMPLAINED
        await subscriptions.move_everywhere(connection, mailboxes[3:], complained, ConsentAction.OPT_OUT)
    rows = [(0, "hard_bounce", "-1 s"), (1, "hard_bounce", "1 h"), (2, "hard_bounce", None), (3, "complaint", "-1 s")]
    for n, reason, ends_in in rows:
        await people.pool.execute(
            "INSERT INTO suppressions (tenant_id, address_key, list_id, reason, expires_at) "
            "VALUES ($1, $2, 0, $3, now() + $4::text::interval)",
            people.seeded.tenant_id,
            PEOPLE[n],
            reason,
            ends_in,
        )
    assert await forgetting.forget_suppressions(people.pool) == 1
    assert await people.suppressions() == [(PEOPLE[1], 0, "hard_bounce"), (PEOPLE[2], 0, "hard_bounce")]
    assert (await people.states())[:4] == ["subscribed", "bounced", "bounced", "complained"]
    assert await forgetting.forget_suppressions(people.pool) == 0
