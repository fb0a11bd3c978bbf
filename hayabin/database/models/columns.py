"""What the tables are made of."""

from sqlalchemy import BigInteger, CheckConstraint, Column, DateTime, ForeignKey, Identity, MetaData, func

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
    }
)


def identity() -> Column[int]:
    """The id of a row."""
    return Column("id", BigInteger, Identity(always=True), primary_key=True)


def tenant() -> Column[int]:
    """Whose row it is."""
    return Column("tenant_id", BigInteger, ForeignKey("tenants.id", ondelete="CASCADE"), nullable=False)


def now(name: str) -> Column[object]:
    """A moment that is the time of writing unless said otherwise."""
    return Column(name, DateTime(timezone=True), nullable=False, server_default=func.now())


def at(name: str) -> Column[object]:
    """A moment that may not have come."""
    return Column(name, DateTime(timezone=True))


def one_of(column: str, values: type) -> CheckConstraint:
    """A constraint: one of the members of a StrEnum."""
    names = ", ".join(f"'{member}'" for member in values)  # type: ignore[attr-defined]
    return CheckConstraint(f"{column} IN ({names})", name=column)
