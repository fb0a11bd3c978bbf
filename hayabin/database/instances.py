"""Which processes run: the reconciler gives up claims only of those that do not.

Promises: an instance counts as running until ``DEAD_AFTER_S`` after its last beat.
Fails: database errors come out; a process that cannot beat is taken for dead, and its late outcomes still count.
"""

from hayabin.database.engine import Connection, Pool

BEAT_S = 3.0
DEAD_AFTER_S = 20.0


async def beat(pool: Pool, name: str, service: str) -> None:
    """Say that ``name`` runs."""
    await pool.execute(
        "INSERT INTO instances (name, service) VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET seen_at = now()",
        name,
        service,
    )


async def leave(pool: Pool, name: str) -> None:
    """Say that ``name`` has ended, with every claim settled."""
    await pool.execute("DELETE FROM instances WHERE name = $1", name)


async def forget_dead(connection: Connection) -> list[str]:
    """Remove the dispatchers that have not beaten for long; returns their names."""
    rows = await connection.fetch(
        "DELETE FROM instances WHERE service = 'dispatcher' "
        "AND seen_at NOT BETWEEN now() - make_interval(secs => $1) AND now() + make_interval(secs => $1) "
        "RETURNING name",
        DEAD_AFTER_S,
    )
    return [row["name"] for row in rows]
