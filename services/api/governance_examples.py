"""Examples of requests and answers; see ``examples``."""

from typing import Any

GOVERNANCE_REQUESTS: dict[str, Any] = {}
GOVERNANCE_ANSWERS: dict[str, Any] = {}
