"""Examples of requests and answers; see ``examples``."""

from typing import Any

ERASURE_REQUESTS: dict[str, Any] = {}
ERASURE_ANSWERS: dict[str, Any] = {}
