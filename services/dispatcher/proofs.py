"""Which source IPs this dispatcher may use: proven to be ours, and nobody else's.

Promises: an IP is used only while it can be bound here (or its proxy lets us in) and, where there are probes, a mail
server greets it; it is proven anew all the time. An IP that an operator added at run time is taken by one dispatcher of
the pool that can prove it; who cannot writes why.
Fails: ``prove_own`` raises ``SourceUnavailable`` for a start with addresses that are not of this machine; later
failures are logged and take the IP out of use until they are over.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from hayabin.database.engine import Pool
from hayabin.database.instances import DEAD_AFTER_S
from hayabin.telemetry.logging import get_logger
from hayabin.telemetry.metrics import SOURCE_IPS
from services.dispatcher.gate import DATABASE_AWAY
from services.dispatcher.settings import Source
from services.dispatcher.sources import Probe, SourceUnavailable, announce, prove, prove_bind

FIRST_TURNS_S: Final = 2.0
TURN_S: Final = 5.0
AGAIN_S: Final = 30.0
"""A proven IP is proven again after so long."""

_ADDED_SQL = """
SELECT address, ehlo_name FROM source_ips
WHERE pool = $1 AND state = 'active' AND NOT address = ANY($2)
  AND (owner IS NULL OR owner = $3 OR owner_seen_at < now() - make_interval(secs => $4))
ORDER BY address"""
_RENAMED_SQL = "SELECT address, ehlo_name FROM source_ips WHERE pool = $1 AND state = 'active' AND address = ANY($2)"
_TAKE_SQL = """
UPDATE source_ips SET owner = $3, owner_seen_at = now(), problem = ''
WHERE pool = $1 AND address = ANY($2) AND state = 'active'
  AND (owner IS NULL OR owner = $3 OR owner_seen_at < now() - make_interval(secs => $4))
RETURNING address"""
_LEAVE_SQL = """
UPDATE source_ips SET owner = NULL, owner_seen_at = NULL, problem = $4
WHERE pool = $1 AND address = $2 AND (owner IS NULL OR owner = $3)"""


@dataclass(slots=True, eq=False)
class Proofs:
    """See the module; run ``prove_for_ever`` as a task."""

    database: Pool
    pool: str
    instance: str
    own: tuple[Source, ...]
    probes: Sequence[Probe]
    timeout_s: float
    _names: dict[str, str] = field(default_factory=dict)  # EHLO names that an operator gave our own addresses
    _good: dict[Source, float] = field(default_factory=dict)  # proven, and when (event loop's clock)

    def proven(self) -> tuple[Source, ...]:
        """Give the IPs that may be used, in a fixed order."""
        return tuple(
            source._replace(ehlo_name=self._names.get(source.ip, source.ehlo_name))
            for source in sorted(self._good, key=lambda source: source.ip)
        )

    def prove_own(self) -> None:
        """Bind each address that the settings say is of this machine.

        Raises: SourceUnavailable
        """
        for source in self.own:
            if source.proxy is None:
                prove_bind(source.ip)

    async def prove_for_ever(self) -> None:
        """Prove, take, announce, wait, again."""
        while True:
            try:
                await self.turn()
            except DATABASE_AWAY as error:
                get_logger().warning("proofs_wait", error=repr(error))
            await asyncio.sleep(TURN_S if self._good else FIRST_TURNS_S)

    async def turn(self) -> None:
        """Bring ``proven`` up to date."""
        await asyncio.gather(*(self._prove(source) for source in self.own))
        names = await self.database.fetch(_RENAMED_SQL, self.pool, [source.ip for source in self.own])
        self._names = {row["address"]: row["ehlo_name"] for row in names}
        rows = await self.database.fetch(_ADDED_SQL, self.pool, [s.ip for s in self.own], self.instance, DEAD_AFTER_S)
        added = [Source(row["address"], row["ehlo_name"]) for row in rows]
        problems = await asyncio.gather(*(self._prove(source) for source in added))
        good = [source for source, problem in zip(added, problems, strict=True) if problem is None]
        taken = await self.database.fetch(
            _TAKE_SQL, self.pool, [source.ip for source in good], self.instance, DEAD_AFTER_S
        )
        ours = {row["address"] for row in taken}
        for source in list(self._good):
            if source not in self.own and source.ip not in ours:
                del self._good[source]
        for source, problem in zip(added, problems, strict=True):
            if problem is not None:
                await self.database.execute(_LEAVE_SQL, self.pool, source.ip, self.instance, problem)
        SOURCE_IPS.labels("proven").set(len(self._good))
        SOURCE_IPS.labels("unavailable").set(len(self.own) + len(added) - len(self._good))
        await announce(self.database, self.pool, self.proven(), self.instance)

    async def _prove(self, source: Source) -> str | None:
        """Say why an IP cannot be used; None if it can."""
        now_s = asyncio.get_running_loop().time()
        if now_s - self._good.get(source, -AGAIN_S) < AGAIN_S:
            return None
        try:
            await prove(source.ip, source.proxy, self.probes, self.timeout_s)
        except SourceUnavailable as error:
            self._good.pop(source, None)
            get_logger().error("source_unavailable", source_ip=source.ip, detail=str(error))
            return str(error)
        self._good[source] = now_s
        return None

    async def leave(self) -> None:
        """Let others take what was added at run time (the process stops)."""
        await self.database.execute(
            "UPDATE source_ips SET owner = NULL, owner_seen_at = NULL WHERE pool = $1 AND owner = $2",
            self.pool,
            self.instance,
        )
