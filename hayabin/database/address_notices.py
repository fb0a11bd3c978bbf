"""The mail to an address that is a contact's no more: that it was changed, when, and by which page.

Promises: whoever got hold of somebody's link cannot move their mail away in silence. The mail goes out with the change,
in its transaction, by the sender of the confirmation; it has no link that does anything. No mail goes where the address
is suppressed by anything but the person's own act, such as a bounce or a complaint; the gate asks that once more.
Fails: database errors as they are; nothing was changed then.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from hayabin.database.built_in_mails import BuiltIn
from hayabin.database.confirmation_mails import Asked, Writer, send
from hayabin.database.engine import Connection
from hayabin.database.suppressing import suppressed_sql
from hayabin.domain.masking import masked_address
from hayabin.domain.tenant_settings import TenantSettings

_WRITER_SQL: Final = f"""
SELECT m.domain_id, m.from_name, m.from_address, m.reply_to, m.pool, t.settings, now() AS changed_at
FROM recipients r JOIN campaigns m ON m.id = r.campaign_id JOIN tenants t ON t.id = r.tenant_id
WHERE r.message_id = $1 AND r.tenant_id = $2 AND NOT {suppressed_sql("$2", "$3", "0", asks="true")}"""  # noqa: S608 - expressions of ours


async def tell_old_address(connection: Connection, confirmation: Mapping[str, Any], old: Mapping[str, Any]) -> None:
    """Tell the address of ``old``, a contact as it was, that ``confirmation`` has put another in its place."""
    tenant_id = confirmation["tenant_id"]
    writer: Any = await connection.fetchrow(_WRITER_SQL, confirmation["message_id"], tenant_id, old["address_key"])
    if writer is None:
        return
    settings = TenantSettings.of(writer["settings"])
    told = Asked(
        confirmation_id=None,
        contact_id=0,  # what the mail proves is that somebody reads this address, not that they are the contact
        address=old["address"],
        wire=old["wire"],
        address_key=old["address_key"],
        name=old["name"],
        variables={
            "sender": writer["from_name"] or confirmation["tenant"],
            "new_address": masked_address(confirmation["wire"]),
            "asked_at": _minute(settings.local(confirmation["created_at"])),
            "changed_at": _minute(settings.local(writer["changed_at"])),
        },
    )
    sender = Writer(
        tenant_id=tenant_id,
        subject="notice of a changed address",
        domain_id=writer["domain_id"],
        from_name=writer["from_name"],
        from_address=writer["from_address"],
        reply_to=writer["reply_to"],
        pool=writer["pool"],
        locale=(old["locale"] or confirmation["locale"]).partition("-")[0],
        built_in=BuiltIn.ADDRESS_CHANGED,
    )
    await send(connection, sender, [told])


def _minute(moment: datetime) -> str:
    """As people read it: ``2026-11-29 14:05 (UTC+09:00)``."""
    return f"{moment:%Y-%m-%d %H:%M} (UTC{moment.isoformat()[-6:]})"
