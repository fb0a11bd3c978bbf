"""The parts of the benchmark of segments (``benchmarks/segments.py``): the people, the rules, other ways."""
