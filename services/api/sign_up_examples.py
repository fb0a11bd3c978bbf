"""Examples of requests and answers; see ``examples``."""

from typing import Any

SIGN_UP_REQUESTS: dict[str, Any] = {}
SIGN_UP_ANSWERS: dict[str, Any] = {}
