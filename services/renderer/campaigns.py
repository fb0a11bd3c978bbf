"""What the renderer knows of a campaign: content, sender, signing keys.

Promises: loaded once and kept for ``KEEP_S`` (a launched campaign's content is pinned; DKIM keys may rotate), at most
``MAX_KEPT`` at a time.
Fails: ``PoisonMessage`` for a campaign that does not exist or whose content is unreadable; database errors as they are.
"""

import threading
import time
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Any

import orjson
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_der_private_key

from hayabin.content.compiled import CompiledTemplate
from hayabin.content.render import Renderer
from hayabin.database.engine import Connection, Pool
from hayabin.database.sealing import SealBroken, unseal
from hayabin.domain.campaign import CONFIRMATION, MergePolicy
from hayabin.domain.errors import PoisonMessage
from services.renderer.dkim import DkimSigner
from services.renderer.mime import MailWriter, Sender

KEEP_S = 10.0
MAX_KEPT = 64

_FACTS_SQL = """
SELECT c.id, c.tenant_id, c.class, c.kind, c.pool, c.merge_policy, c.from_name, c.from_address, c.reply_to,
       COALESCE(c.list_id, 0) AS list_id, COALESCE(NULLIF(l.public_name, ''), l.name, '') AS list_name,
       d.id AS domain_id, d.name AS domain, v.compiled
FROM campaigns c JOIN template_versions v ON v.id = c.template_version_id JOIN domains d ON d.id = c.domain_id
LEFT JOIN lists l ON l.id = c.list_id WHERE c.id = $1"""


@dataclass(frozen=True, slots=True)
class Campaign:
    """The facts that every mail of a campaign shares."""

    id: int
    tenant_id: int
    message_class: str
    pool: str
    policy: MergePolicy
    list_id: int
    domain: str
    asks_to_confirm: bool
    writer: MailWriter
    template: CompiledTemplate
    fuel: int
    _renderers: dict[int, Renderer] = field(default_factory=dict)  # by thread

    def renderer(self) -> Renderer:
        """The parsed template; made by the thread that asks, and used by no other."""
        thread = threading.get_ident()
        if thread not in self._renderers:
            self._renderers[thread] = Renderer(self.template, fuel=self.fuel)
        return self._renderers[thread]


class Campaigns:
    """Loads and keeps campaigns."""

    def __init__(self, pool: Pool, master_key: bytes, fuel: int) -> None:
        """Unseal signing keys with ``master_key``; templates run with ``fuel``."""
        self._pool = pool
        self._master_key = master_key
        self._fuel = fuel
        self._kept: OrderedDict[int, tuple[float, Campaign]] = OrderedDict()

    async def get(self, campaign_id: int) -> Campaign:
        """The campaign.

        Raises:
            PoisonMessage: ``unknown_campaign`` or ``unreadable_campaign``.
        """
        kept = self._kept.get(campaign_id)
        if kept is not None and kept[0] > time.monotonic():
            self._kept.move_to_end(campaign_id)
            return kept[1]
        async with self._pool.acquire() as connection:
            campaign = await self._load(connection, campaign_id)
        self._kept[campaign_id] = (time.monotonic() + KEEP_S, campaign)
        while len(self._kept) > MAX_KEPT:
            self._kept.popitem(last=False)
        return campaign

    async def _load(self, connection: Connection, campaign_id: int) -> Campaign:
        row = await connection.fetchrow(_FACTS_SQL, campaign_id)
        if row is None:
            raise PoisonMessage("unknown_campaign", str(campaign_id))
        keys = await connection.fetch(
            "SELECT selector, private_key FROM dkim_keys WHERE domain_id = $1 AND retired_at IS NULL "
            "ORDER BY algorithm DESC",  # RSA first: what most receivers verify
            row["domain_id"],
        )
        try:
            compiled = CompiledTemplate.from_json(row["compiled"])
            signers = tuple(
                self._signer(row["tenant_id"], row["domain"], key["selector"], key["private_key"]) for key in keys
            )
        except (ValueError, KeyError, SealBroken, orjson.JSONDecodeError) as error:
            raise PoisonMessage("unreadable_campaign", repr(error)) from error
        return Campaign(
            id=row["id"],
            tenant_id=row["tenant_id"],
            message_class=row["class"],
            pool=row["pool"],
            policy=MergePolicy(row["merge_policy"]),
            list_id=row["list_id"],
            domain=row["domain"],
            asks_to_confirm=row["kind"] == CONFIRMATION,
            writer=MailWriter(_sender(row), signers),
            template=compiled,
            fuel=self._fuel,
        )

    def _signer(self, tenant_id: int, domain: str, selector: str, sealed: bytes) -> DkimSigner:
        # Our own key, and the seal vouches for it: checking its primes once more takes 40 ms of the event loop.
        key = load_der_private_key(
            unseal(self._master_key, tenant_id, f"dkim:{domain}:{selector}", sealed),
            None,
            unsafe_skip_rsa_key_validation=True,
        )
        if not isinstance(key, (RSAPrivateKey, Ed25519PrivateKey)):
            raise ValueError(f"the key of {selector} is neither RSA nor Ed25519")  # noqa: TRY004 - stored data
        return DkimSigner(domain, selector, key)


def _sender(row: Any) -> Sender:
    return Sender(
        campaign_id=row["id"],
        tenant_id=row["tenant_id"],
        message_class=row["class"],
        from_name=row["from_name"],
        from_address=row["from_address"],
        reply_to=row["reply_to"],
        list_id=row["list_id"],
        list_name=row["list_name"],
        domain=row["domain"],
        asks_to_confirm=row["kind"] == CONFIRMATION,
    )
