"""Benchmarks: each is one command with a JSON result."""
