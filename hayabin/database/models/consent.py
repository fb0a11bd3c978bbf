"""What people agreed to, and how they came onto lists and left them; both append-only.

Neither refers to tenants, lists or contacts: the rows outlive them, and a page of an import writes 20,000 of each.
"""

from sqlalchemy import BigInteger, CheckConstraint, Column, Index, LargeBinary, Table, Text

from hayabin.database.models.columns import identity, metadata, now, one_of
from hayabin.domain.consent import ConsentAction, ConsentBasis, SubscriptionState

subscription_changes = Table(  # without addresses: nothing in it says who somebody was
    "subscription_changes",
    metadata,
    identity(),
    Column("tenant_id", BigInteger, nullable=False),
    Column("list_id", BigInteger, nullable=False),
    Column("contact_id", BigInteger, nullable=False),
    Column("was", Text),  # NULL: was not on the list
    Column("state", Text),  # NULL: was taken off it
    Column("action", Text, nullable=False),
    Column("source", Text, nullable=False),
    now("changed_at"),
    one_of("action", ConsentAction),
    one_of("state", SubscriptionState),
    CheckConstraint("was IS DISTINCT FROM state", name="moved"),
    Index("ix_subscription_changes_contact_id", "contact_id"),
)

consents = Table(
    "consents",
    metadata,
    identity(),
    Column("tenant_id", BigInteger, nullable=False),
    Column("contact_id", BigInteger),
    Column("address_key", Text, nullable=False),  # empty once the person was erased
    Column("address_hash", LargeBinary),  # keyed, of an erased person
    Column("list_id", BigInteger, nullable=False),  # 0: every mail of the tenant
    Column("action", Text, nullable=False),
    Column("basis", Text, nullable=False),
    Column("source", Text, nullable=False),
    Column("wording", Text, nullable=False, server_default=""),
    Column("ip", Text),
    Column("user_agent", Text, nullable=False, server_default=""),
    Column("note", Text, nullable=False, server_default=""),
    now("occurred_at"),
    now("recorded_at"),
    one_of("action", ConsentAction),
    one_of("basis", ConsentBasis),
    CheckConstraint("address_hash IS NULL OR address_key = ''", name="erased"),
    Index("ix_consents_contact_id", "contact_id"),
    Index("ix_consents_tenant_id_address_key", "tenant_id", "address_key"),
    Index("ix_consents_occurred_at", "occurred_at", postgresql_using="brin"),
    Index("ix_consents_recorded_at", "recorded_at", postgresql_using="brin"),
)
