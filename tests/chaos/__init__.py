"""The ledger under faults."""
