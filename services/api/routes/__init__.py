"""Operations under /v1, one file for each resource."""
