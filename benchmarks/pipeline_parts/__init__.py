"""The parts of ``benchmarks.pipeline``: our system, the peers, what feeds them, and where the CPU goes."""
