"""The three kinds of failure that decide what happens to a piece of work.

Promises: every handler of broker messages raises one of these or succeeds, and ``hayabin.broker.consumer`` alone turns
them into retry, finish or park. Anything else that is raised counts as ``TemporaryFailure`` a bounded number of times.
"""


class WorkFailure(Exception):
    """Base of the failures that a handler may raise; carries a stable, machine-readable reason."""

    def __init__(self, reason: str, detail: str = "") -> None:
        """Keep ``reason`` (snake_case, stable, goes to metrics and logs) and ``detail`` (free text for people)."""
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason = reason
        self.detail = detail


class TemporaryFailure(WorkFailure):
    """The same work may succeed later: put it back."""


class PermanentFailure(WorkFailure):
    """The work can never succeed, and this was recorded where users see it: finish it."""


class PoisonMessage(WorkFailure):
    """The message itself cannot be understood: park it with the reason, for a person to look at."""
