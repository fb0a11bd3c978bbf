"""The mails whose pixels are loaded and whose links are clicked: a sent campaign, and signed requests for it.

Promises: every request has a token of its own message, signed as the renderer signs it, and the field lines that a
browser sends. Requests come in an order without pattern; none is in a list twice, and of the clicks that a load begins
with most are the first of their recipient (a look-up in Postgres), the rest find it in the tracker's cache.
"""

import random
from dataclasses import dataclass

from benchmarks.http_load import request_text
from hayabin.domain.token import TokenRing

CLICKS_PER_MAIL = 2
_FIELDS = {
    "User-Agent": "Mozilla/5.0 (iPhone; CPU iPhone OS 19_1 like Mac OS X) AppleWebKit/605.1.15 Mobile/15E148",
    "Accept": "image/avif,image/webp,*/*",
    "Accept-Language": "ja,en;q=0.8",
    "Accept-Encoding": "gzip, deflate, br",
}


@dataclass(frozen=True, slots=True)
class Wish:
    """What is asked for; ``link`` is None for the pixel."""

    message_id: int
    link: int | None

    def request(self, ring: TokenRing) -> str:
        """Write the request."""
        token = ring.issue_tracking(self.message_id)
        return request_text("GET", f"/o/{token}" if self.link is None else f"/c/{token}/{self.link}", _FIELDS)


def opens(ids: list[int], seed: int) -> list[Wish]:
    """Give one open of each mail."""
    wishes = [Wish(message_id, None) for message_id in ids]
    random.Random(seed).shuffle(wishes)
    return wishes


def clicks(ids: list[int], links: int, seed: int) -> list[Wish]:
    """Give two clicks of each mail, on different links of so many."""
    chance = random.Random(seed)
    wishes = [Wish(message_id, link) for message_id in ids for link in chance.sample(range(links), CLICKS_PER_MAIL)]
    chance.shuffle(wishes)
    return wishes
