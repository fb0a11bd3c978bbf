"""Examples of requests and answers; see ``examples``."""

from typing import Any

SEGMENTS_REQUESTS: dict[str, Any] = {}
SEGMENTS_ANSWERS: dict[str, Any] = {}
