"""Exports: a job that writes a table or NDJSON into the database, where it is kept for some days."""
