"""The parts of the benchmark ``api``."""
