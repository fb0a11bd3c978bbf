"""Parts of the import benchmark."""
