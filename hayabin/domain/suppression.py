"""Why an address is not mailed to.

Promises: these are all the reasons that a suppression can have; each outlives campaigns, lists and contacts.
"""

from enum import StrEnum


class SuppressionReason(StrEnum):
    """Why an address stands on the suppression list; the values are stored, and part of the API."""

    HARD_BOUNCE = "hard_bounce"
    """The receiving side said that the address does not exist, at RCPT or in a later DSN."""
    COMPLAINT = "complaint"
    """The recipient pressed "this is spam", and their provider reported it (RFC 5965)."""
    UNSUBSCRIBE = "unsubscribe"
    """The recipient asked to be taken off: one-click (RFC 8058), on the page, or by mail."""
    MANUAL = "manual"
    """A person of the team put it there, by API or console."""
    IMPORTED = "imported"
    """It came with a suppression list of another system."""
    PAUSED = "paused"
    """The recipient wants no mail for some time: 30 days, by the preference centre; it ends by itself."""
    ERASED = "erased"
    """The person had their data erased; what stays is a keyed hash, so that a new import does not mail them again."""


OWN_ACTS = frozenset({SuppressionReason.UNSUBSCRIBE, SuppressionReason.PAUSED})
"""What the person did with their own hand, and takes back by their own hand: they may be asked to confirm that."""
