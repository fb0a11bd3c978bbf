"""The renderer: from chunks of ledger ids to batches of personalised, signed mail."""
