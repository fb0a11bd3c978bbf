"""Sign-up forms: ``/f/<public id>``, as a page of ours or posted to from anybody's site.

Promises: the answer to a sign-up is the same, and takes the same work, whoever has the address: what becomes of it is
decided later, by the scheduler. A robot that fills in the field that people do not see gets that answer too, and
nothing is done. The words that somebody agreed to are those of the version that stood in their form.
Fails: 404 for a form that is not there, 403 for a site that may not use it, 400 for what no form of ours sends, 413 for
too much, 422 with the page and what is wrong in it, 429 over the rate, 503 where Postgres is away.
"""

import asyncio
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response

from hayabin.database.engine import Connection, Pool
from hayabin.database.signing_up import SignUp, take_down
from hayabin.domain.address import AddressInvalid, parse_address
from hayabin.telemetry.logging import get_logger
from services.tracker.form_body import BodyTooLong, BodyUnreadable, Filled, read_form
from services.tracker.frame import or_away
from services.tracker.rendering import Pages
from services.tracker.visitors import Visitors

HONEYPOT: Final = "website"
FIELD_MAX_CHARS: Final = 200
_PUBLIC_ID: Final = re.compile(r"[A-Za-z0-9_-]{22}", re.ASCII)
_NUMBER: Final = re.compile(r"[0-9]{1,6}", re.ASCII)

_FORM_SQL = """
SELECT f.*, t.name AS tenant, v.number, v.fields AS fields_shown, v.wording AS wording_shown
FROM sign_up_forms f JOIN tenants t ON t.id = f.tenant_id
JOIN sign_up_form_versions v ON v.form_id = f.id AND v.number = COALESCE($2, f.version)
WHERE f.public_id = $1 AND f.deleted_at IS NULL"""


@dataclass(frozen=True, slots=True)
class Problems:
    """What is wrong in a form that was filled in: word of the pages by the name of the field."""

    by_field: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class SignUpForms:
    """The endpoint and what it needs."""

    pool: Pool
    pages: Pages
    visitors: Visitors
    database_within_s: float
    own_origin: str

    async def answer(self, request: Request) -> Response:
        """Any request to ``/f/<public id>``."""
        public_id = request.path_params["form"]
        if _PUBLIC_ID.fullmatch(public_id) is None:
            return self.pages.notice(request, 404, "no_form")
        answer = (self._take if request.method == "POST" else self._show)(request, public_id)
        return await or_away(request, self.pages, "sign_up_waits", answer)

    async def _show(self, request: Request, public_id: str) -> Response:
        async with asyncio.timeout(self.database_within_s), self.pool.acquire() as connection:
            form = await connection.fetchrow(_FORM_SQL, public_id, None)
        if form is None:
            return self.pages.notice(request, 404, "no_form")
        return self.pages.sign_up(request, form, {}, Problems({}))

    async def _take(self, request: Request, public_id: str) -> Response:
        try:
            filled = await read_form(request)
        except BodyTooLong:
            return self.pages.notice(request, 413, "bad_request")
        except BodyUnreadable:
            return self.pages.notice(request, 400, "bad_request")
        version = filled.get("version")
        if _NUMBER.fullmatch(version) is None:
            return self.pages.notice(request, 400, "bad_request")
        async with asyncio.timeout(self.database_within_s), self.pool.acquire() as connection:
            form = await connection.fetchrow(_FORM_SQL, public_id, int(version))
            if form is None:
                return self.pages.notice(request, 404, "no_form")
            if not self._may_use(form, request.headers.get("origin")):
                return self.pages.notice(request, 403, "wrong_site")
            return await self._taken(request, connection, form, filled)

    async def _taken(self, request: Request, connection: Connection, form: Any, filled: Filled) -> Response:
        if filled.get(HONEYPOT):
            return self.pages.signed_up(request, form)
        sign_up, problems = self._read(request, form, filled)
        if sign_up is None:
            return self.pages.sign_up(request, form, filled.texts(), problems)
        async with connection.transaction():
            within = await take_down(connection, sign_up)
        get_logger().info("sign_up_taken", form_id=form["id"], within_rate=within)
        return self.pages.signed_up(request, form) if within else self.pages.notice(request, 429, "too_many")

    def _may_use(self, form: Any, origin: str | None) -> bool:
        """Whether the site that the browser names may post here; who names none is no browser of our time."""
        allowed = form["allowed_origins"]
        return not allowed or origin is None or origin == self.own_origin or origin in allowed

    def _read(self, request: Request, form: Any, filled: Filled) -> tuple[SignUp | None, Problems]:
        """The sign-up, or what is wrong with it."""
        problems: dict[str, str] = {}
        attributes: dict[str, str] = {}
        for field in form["fields_shown"]:
            value = _line(filled.get(f"field_{field['name']}"))
            if value:
                attributes[field["name"]] = value
            elif field["required"]:
                problems[f"field_{field['name']}"] = "field_missing"
        try:
            address = parse_address(filled.get("email")[:1000])
        except AddressInvalid:
            return None, Problems({"email": "address_invalid" if filled.get("email").strip() else "address_missing",
                                   **problems})  # fmt: skip
        if problems:
            return None, Problems(problems)
        ip = self.visitors.ip(request)
        return SignUp(
            form=form,
            version=form["number"],
            address=address,
            name=attributes.pop("name", ""),
            attributes=attributes,
            locale=self.pages.language_of_form(request, form),
            ip=ip,
            user_agent=self.visitors.user_agent(request),
            network=self.visitors.network(ip),
        ), Problems({})


def _line(text: str) -> str:
    """A value as it may be stored: one line, printable, bounded."""
    return "".join(c if c.isprintable() else " " for c in text[:FIELD_MAX_CHARS]).strip()
