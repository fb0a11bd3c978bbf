"""The belt, and the installation itself."""

from sqlalchemy import BigInteger, CheckConstraint, Column, Index, Integer, LargeBinary, SmallInteger, Table, Text, text
from sqlalchemy.dialects.postgresql import JSONB

from hayabin.database.models.columns import at, identity, metadata, now

outbox = Table(
    "outbox",
    metadata,
    identity(),
    Column("exchange", Text, nullable=False),
    Column("routing_key", Text, nullable=False),
    Column("headers", JSONB, nullable=False, server_default=text("'{}'::jsonb")),
    Column("body", LargeBinary, nullable=False),
    now("created_at"),
)

belt_depths = Table(  # ready messages of each queue, as the feeder last saw them
    "belt_depths",
    metadata,
    Column("queue", Text, primary_key=True),
    Column("ready", BigInteger, nullable=False),
    now("seen_at"),
)

belt_messages = Table(  # the embedded broker's queues; empty where RabbitMQ is the broker
    "belt_messages",
    metadata,
    identity(),
    Column("queue", Text, nullable=False),
    Column("headers", JSONB, nullable=False),
    Column("body", LargeBinary, nullable=False),
    Column("consumer", Text),  # who holds it unacknowledged
    at("held_until"),
    Column("deliveries", Integer, nullable=False, server_default="0"),
    now("published_at"),
    Index("ix_belt_messages_queue_id", "queue", "id"),
)

installation = Table(  # one row; what guards against a database that was taken back to an earlier state
    "installation",
    metadata,
    Column("id", SmallInteger, primary_key=True, autoincrement=False, server_default="1"),
    Column("epoch", BigInteger, nullable=False, server_default="1"),  # grows with each hold: lives of the database
    Column("pulse", BigInteger, nullable=False, server_default="0"),  # grows every few seconds; never goes back
    now("pulsed_at"),
    Column("identity", Text, nullable=False, server_default=""),  # of the cluster and database that pulsed last
    Column("held_reason", Text, nullable=False, server_default=""),  # not empty: nothing passes the gate
    at("held_at"),
    Column("belt_problem", Text, nullable=False, server_default=""),  # why the belt takes nothing, as last seen
    at("belt_seen_at"),
    CheckConstraint("id = 1", name="one_row"),
)
