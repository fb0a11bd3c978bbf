"""Examples of requests and answers; see ``examples``."""

from typing import Any

TRANSFERS_REQUESTS: dict[str, Any] = {}
TRANSFERS_ANSWERS: dict[str, Any] = {}
