"""Examples of requests and answers; see ``examples``."""

from typing import Any

ACCESS_REQUESTS: dict[str, Any] = {}
ACCESS_ANSWERS: dict[str, Any] = {}
