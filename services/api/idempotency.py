"""One effect for one ``Idempotency-Key``.

Promises: the answer is kept in the transaction of its effect: both exist together or not at all. A replay gives the
same answer with ``Idempotency-Replayed: true``, for at least 24 hours (the scheduler forgets keys after 48); a secret
that is shown once is null in it. A refused request keeps no key, because it had no effect: the mended one may use it
again.
Fails: 422 for the same key with another request (method, path, query, body) or another right to personal data, 409 with
Retry-After while the first one is in flight.
Source: the IETF draft "The Idempotency-Key HTTP Header Field".
"""

import hashlib
from collections.abc import Awaitable, Callable

import orjson
from fastapi import Request, Response

from hayabin.database.engine import Connection
from services.api.access import Scope
from services.api.problems import Problem
from services.api.upload import file_parts, is_upload

KEY_MAX_CHARS = 200
_KEPT_HEADERS = frozenset({"content-type", "location"})


async def once(
    request: Request, connection: Connection, key: str, inner: Callable[[Request], Awaitable[Response]]
) -> Response:
    """The answer of ``inner``, or the one that was kept for this key; within the caller's transaction.

    Raises:
        Problem: see the module.
    """
    if not key or len(key) > KEY_MAX_CHARS or not key.isprintable():
        raise Problem(
            422, "invalid-idempotency-key", f"Idempotency-Key takes 1 to {KEY_MAX_CHARS} printable characters."
        )
    tenant_id = request.state.principal.tenant_id
    lock = int.from_bytes(hashlib.blake2b(f"{tenant_id}:{key}".encode(), digest_size=8).digest(), signed=True)
    if not await connection.fetchval("SELECT pg_try_advisory_xact_lock($1)", lock):
        raise Problem(
            409,
            "idempotency-in-flight",
            "The first request with this Idempotency-Key is still being worked on.",
            headers={"Retry-After": "1"},
        )
    kept = await connection.fetchrow(
        "SELECT fingerprint, status, headers, body FROM idempotency_keys WHERE tenant_id = $1 AND key = $2",
        tenant_id,
        key,
    )
    if kept is not None:
        if is_upload(request):
            async for _ in file_parts(request):
                pass
        if kept["fingerprint"] != await _fingerprint(request):
            raise Problem(422, "idempotency-key-reused", "This Idempotency-Key belongs to a different request.")
        return Response(kept["body"], kept["status"], {**kept["headers"], "Idempotency-Replayed": "true"})
    response = await inner(request)
    headers = {name: value for name, value in response.headers.items() if name in _KEPT_HEADERS}
    await connection.execute(
        "INSERT INTO idempotency_keys (tenant_id, key, fingerprint, status, headers, body) VALUES ($1,$2,$3,$4,$5,$6)",
        tenant_id,
        key,
        await _fingerprint(request),
        response.status_code,
        headers,
        _kept(request, response),
    )
    return response


def _kept(request: Request, response: Response) -> bytes:
    """The body for replays, without the member that the endpoint says is shown once."""
    body = bytes(response.body)
    secret: str | None = getattr(request.state, "shown_once", None)
    return body if secret is None else orjson.dumps({**orjson.loads(body), secret: None})


async def _fingerprint(request: Request) -> bytes:
    """Of method, path, query and body; the digest of an upload is taken while it is read."""
    digest = hashlib.blake2b(digest_size=16)
    digest.update(f"{request.method} {request.url.path}?{request.url.query}\n".encode())
    if not request.state.principal.may(Scope.CONTACTS_READ_PERSONAL):
        digest.update(b"masked\n")  # or it would be given the answer of a key that may see more
    digest.update(request.state.upload_digest if is_upload(request) else await request.body())
    return digest.digest()
