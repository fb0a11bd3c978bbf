"""The schema, as SQLAlchemy Core tables; migrations are checked against it (``alembic check``).

Promises: every table of a tenant has ``tenant_id``; the two hot tables are ``recipients`` (immutable: who, with pinned
variables) and ``messages`` (the ledger: small rows, fillfactor 50, no index that names ``state``, so that a claim and
an outcome are HOT updates).
Fails: constraints refuse states that are not in ``hayabin.domain``; see the names ``ck_*``.
"""

from hayabin.database.models import (
    access,
    belt,
    campaigns,
    consent,
    contacts,
    erasure,
    governance,
    happenings,
    people,
    segments,
    sending,
    sign_up,
    tenants,
    transfers,
    writing,
)
from hayabin.database.models.columns import metadata

__all__ = [
    "access",
    "belt",
    "campaigns",
    "consent",
    "contacts",
    "erasure",
    "governance",
    "happenings",
    "metadata",
    "people",
    "segments",
    "sending",
    "sign_up",
    "tenants",
    "transfers",
    "writing",
]
