"""Examples of requests and answers; see ``examples``."""

from typing import Any

CONTACTS_REQUESTS: dict[str, Any] = {}
CONTACTS_ANSWERS: dict[str, Any] = {}
