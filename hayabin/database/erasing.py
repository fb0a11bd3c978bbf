"""Who was erased: a keyed hash of their address stays, so that nobody mails them again by mistake.

Promises: of an erased person nothing is kept but ``sha256(tenants.erasure_key || address key)``; the key is random, of
one tenant, and never leaves the database, so a list of addresses cannot be tried out on the hashes without it. What
asks whether somebody is erased (contacts, imports, sign-ups, audience) asks with ``erased_sql``. What comes in later
about a mail to them (a report, an opening, an outcome) is written down without what says whose it was: who writes asks
the mail's own row with ``anonymous_sql`` or ``is_anonymous``, who shows it says ``shown_sql``.
Fails: database errors come out.
"""

from collections.abc import Sequence

from hayabin.database.engine import Connection

MARK = "erased:"
"""What stands for the address of an erased person in the ledger, followed by the hash in hex; no address key has it."""


def is_anonymous(address_key: str) -> bool:
    """Whether that is no address, but what stands for one."""
    return address_key.startswith(MARK)


def anonymous_sql(address_key: str) -> str:
    """SQL condition: the same; the argument is an SQL expression of ours."""
    return f"starts_with({address_key}, '{MARK}')"


def shown_sql(address_key: str) -> str:
    """SQL expression: the address, NULL where the person was erased; the argument is an SQL expression of ours."""
    return f"CASE WHEN {anonymous_sql(address_key)} THEN NULL ELSE {address_key} END"


def hash_sql(tenant: str, address_key: str) -> str:
    """SQL expression: the keyed hash of an address; the arguments are SQL expressions of ours."""
    return f"sha256((SELECT t.erasure_key FROM tenants t WHERE t.id = {tenant}) || convert_to({address_key}, 'UTF8'))"  # noqa: S608 - expressions of ours


def erased_sql(tenant: str, address_key: str) -> str:
    """SQL condition: true where the tenant erased whoever has that address; the arguments are SQL expressions of ours.

    Shape: tenants that erased nobody, nearly all, pay one look into an index and no hash.
    """
    return (
        f"(EXISTS (SELECT 1 FROM erased_addresses n WHERE n.tenant_id = {tenant}) "  # noqa: S608 - expressions of ours
        f"AND EXISTS (SELECT 1 FROM erased_addresses e WHERE e.tenant_id = {tenant} "
        f"AND e.hash = {hash_sql(tenant, address_key)}))"
    )


async def hashes(connection: Connection, tenant_id: int, address_keys: Sequence[str]) -> list[bytes]:
    """The keyed hashes of addresses, in their order."""
    rows = await connection.fetch(
        f"SELECT {hash_sql('$1', 'k.key')} AS hash FROM unnest($2::text[]) WITH ORDINALITY AS k(key, place) "  # noqa: S608 - a constant of ours
        "ORDER BY k.place",
        tenant_id,
        list(address_keys),
    )
    return [row["hash"] for row in rows]


async def remember(connection: Connection, tenant_id: int, address_keys: Sequence[str]) -> None:
    """Enter addresses among the erased ones; from the commit on nobody adds or mails them."""
    await connection.execute(
        "INSERT INTO erased_addresses (tenant_id, hash) SELECT $1, h FROM unnest($2::bytea[]) AS h "
        "ON CONFLICT (tenant_id, hash) DO NOTHING",
        tenant_id,
        await hashes(connection, tenant_id, address_keys),
    )


async def forget(connection: Connection, tenant_id: int, address_key: str) -> bool:
    """Take an address out again, because the person came back by an act of their own (a confirmed sign-up)."""
    found = await connection.fetchval(
        f"DELETE FROM erased_addresses WHERE tenant_id = $1 AND hash = {hash_sql('$1', '$2')} RETURNING true",  # noqa: S608 - a constant of ours
        tenant_id,
        address_key,
    )
    return bool(found)
