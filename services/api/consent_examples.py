"""Examples of requests and answers; see ``examples``."""

from typing import Any

CONSENT_REQUESTS: dict[str, Any] = {}
CONSENT_ANSWERS: dict[str, Any] = {}
