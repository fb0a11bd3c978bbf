"""The parts of the benchmark of sizes (``benchmarks/scale.py``): one campaign, many launches."""
