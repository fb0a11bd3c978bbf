"""What a standalone run takes from the environment itself; its processes get theirs from ``environment``."""

from hayabin.settings import Fragment


class StandaloneSettings(Fragment):
    """Passed on to every process."""

    log_level: str = "INFO"
    otlp_endpoint: str = ""
    trace_sample_ratio: float = 0.01
