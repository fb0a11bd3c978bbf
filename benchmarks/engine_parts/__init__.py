"""The parts of the benchmark of the delivery engine (``benchmarks/engine.py``): the sink, the world, each measure."""
