"""Postgres: schema, migrations, and the statements that keep the ledger true."""
