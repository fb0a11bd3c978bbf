"""MTA-STS policies in Postgres, so that a restart of a dispatcher is no chance to suppress them.

Promises: the last policy fetched by any dispatcher is kept. Fails: never; while the database is away nothing is kept
and nothing is found, and the log says so.
"""

import contextlib
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Final

import asyncpg

from hayabin.database.engine import AWAY, Pool
from hayabin.telemetry.logging import get_logger
from services.dispatcher.mta_sts import StoredPolicy
from services.dispatcher.sts_policy import StsMode, StsPolicy

_TROUBLE: Final = (*AWAY, asyncpg.PostgresError)


class PostgresStsStore:
    """The table ``mta_sts_policies``."""

    def __init__(self, pool: Pool) -> None:
        """Use ``pool``."""
        self._pool = pool

    async def load(self, domain: str) -> StoredPolicy | None:
        """Give what was saved last for a domain; nothing once it has expired."""
        row = None
        with _reported("load"):
            row = await self._pool.fetchrow(
                "SELECT id, mode, mx, fetched_at, expires_at FROM mta_sts_policies "
                "WHERE domain = $1 AND expires_at > now()",
                domain,
            )
        if row is None:
            return None
        policy = StsPolicy(StsMode(row["mode"]), tuple(row["mx"]), row["id"])
        return StoredPolicy(policy, row["fetched_at"].timestamp(), row["expires_at"].timestamp())

    async def save(self, domain: str, stored: StoredPolicy) -> None:
        """Keep a policy instead of the domain's last one, unless another dispatcher fetched a newer one meanwhile."""
        with _reported("save"):
            await self._pool.execute(
                "INSERT INTO mta_sts_policies AS kept (domain, id, mode, mx, fetched_at, expires_at) "
                "VALUES ($1, $2, $3, $4, $5, $6) "
                "ON CONFLICT (domain) DO UPDATE SET id = excluded.id, mode = excluded.mode, mx = excluded.mx, "
                "fetched_at = excluded.fetched_at, expires_at = excluded.expires_at "
                "WHERE kept.fetched_at <= excluded.fetched_at",
                domain,
                stored.policy.id,
                stored.policy.mode.value,
                list(stored.policy.mx),
                datetime.fromtimestamp(stored.fetched_at_s, UTC),
                datetime.fromtimestamp(stored.expires_at_s, UTC),
            )


@contextlib.contextmanager
def _reported(action: str) -> Iterator[None]:
    try:
        yield
    except _TROUBLE as error:
        get_logger().warning("sts_store_failed", action=action, error=repr(error))
