"""Personal data as it is shown to whoever may not read it.

Promises: enough stays to recognise what one knows already, nothing to learn what one does not.
"""


def masked_address(address: str) -> str:
    """First character and domain: ``t•••@example.jp``."""
    local, at, domain = address.rpartition("@")
    return f"{local.lstrip(chr(34))[:1]}•••{at}{domain}"


def masked_text(text: str) -> str:
    """First character: ``田•••``; empty stays empty."""
    return f"{text[:1]}•••" if text else ""
