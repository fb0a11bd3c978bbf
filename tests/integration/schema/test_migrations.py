"""The migrations and the tables of ``hayabin.database.models`` say the same, and each step can be taken back."""

from alembic import command

from hayabin.database.migrate import alembic_config


def test_migrations_from_nothing_give_the_tables_of_the_models(database_url: str) -> None:
    """`alembic check` finds nothing to add."""
    command.check(alembic_config(database_url))


def test_migrations_down_to_nothing_and_up_again_give_the_same_schema(database_url: str) -> None:
    """Each migration undoes what it did."""
    config = alembic_config(database_url)
    command.downgrade(config, "base")
    command.upgrade(config, "head")
    command.check(config)
