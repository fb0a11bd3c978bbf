"""Jobs about one person: erasure and export."""
