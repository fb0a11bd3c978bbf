"""When a deferred mail is tried again, and when that ends.

Promises: the pause after an attempt is never shorter than the schedule says (greylisting counts on that) and at most
``JITTER`` longer, so that mails deferred together do not come back together; nothing is tried past ``max_age_s``.
Fails with ``ValueError`` for a schedule or an argument that makes no sense.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

# The longest a pause is stretched, as a part of itself.
JITTER: Final = 0.2


@dataclass(frozen=True, slots=True)
class RetrySchedule:
    """Pauses after the first, second, … attempt; the last one repeats until the mail is ``max_age_s`` old.

    Units: seconds.
    Source: RFC 5321 §4.5.4.1 (at least 30 minutes in general, sooner at first; give up after 4–5 days at most).
    """

    delays_s: tuple[int, ...]
    max_age_s: int

    def __post_init__(self) -> None:
        """Refuse an empty schedule and pauses that are not positive.

        Raises: ValueError
        """
        if not self.delays_s or min(self.delays_s) < 1:
            raise ValueError("a retry schedule needs positive delays")
        if self.max_age_s < 1:
            raise ValueError("max_age_s must be positive")

    def next_attempt(self, attempt: int, first_due_at: datetime, now: datetime, jitter01: float) -> datetime | None:
        """Give when to try again after ``attempt`` attempts were begun (1 after the first), or None if it is over.

        ``jitter01`` is a random number in [0, 1].

        Raises: ValueError for attempt < 1 or jitter01 outside [0, 1].
        """
        if attempt < 1:
            raise ValueError("attempt counts from 1")
        if not 0.0 <= jitter01 <= 1.0:
            raise ValueError("jitter01 must be in [0, 1]")
        delay_s = self.delays_s[min(attempt, len(self.delays_s)) - 1]
        due = now + timedelta(seconds=delay_s * (1.0 + JITTER * jitter01))
        return due if due <= first_due_at + timedelta(seconds=self.max_age_s) else None
