"""CSV imports: read in bounded memory, merged in pages, errors kept by row."""
