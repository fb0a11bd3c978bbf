"""The parts of the benchmark ``tracker``."""
