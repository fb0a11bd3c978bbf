"""The FastAPI application.

Promises: everything under /v1 needs a key, but for /v1/health; the OpenAPI document and the reference page need none.
"""

from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import HTMLResponse, JSONResponse

from hayabin.database.engine import Database
from services.api import problems
from services.api.body_limit import BodyLimit
from services.api.reference import reference_page
from services.api.routes import (
    campaigns,
    contacts,
    domains,
    imports,
    lists,
    messages,
    pools,
    suppressions,
    templates,
)
from services.api.settings import ApiSettings

VERSION = "0.1.0"
_ROUTERS = (contacts, lists, imports, templates, campaigns, messages, suppressions, domains, pools)


def make_app(settings: ApiSettings, database: Database) -> FastAPI:
    """The application on an open database."""
    app = FastAPI(
        title="Hayabin", version=VERSION, docs_url=None, redoc_url=None, openapi_url="/openapi.json",
        description="Bulk email delivery: contacts, templates, campaigns, and what happened to every recipient.",
    )  # fmt: skip
    app.state.settings = settings
    app.state.database = database
    app.add_middleware(BodyLimit)
    problems.install(app)
    for module in _ROUTERS:
        app.include_router(module.router)
    app.get("/v1/health", tags=["health"], operation_id="getHealth")(health)
    app.get("/docs", include_in_schema=False)(docs)
    return app


async def health(request: Request) -> JSONResponse:
    """Whether the API and its database answer, and the age of what waits for the belt."""
    row = await request.app.state.database.pool.fetchrow(
        "SELECT COALESCE(EXTRACT(EPOCH FROM now() - (SELECT min(created_at) FROM outbox)), 0)::float8 AS outbox_age_s, "
        "(SELECT count(*) FROM instances WHERE seen_at > now() - interval '20 seconds') AS dispatchers"
    )
    body: dict[str, Any] = {"status": "ok", "version": VERSION, **dict(row)}
    return JSONResponse(body)


async def docs(request: Request) -> HTMLResponse:
    """The reference page."""
    page = reference_page(request.app.openapi())
    policy = "default-src 'none'; style-src 'unsafe-inline'"
    return HTMLResponse(page, headers={"Content-Security-Policy": policy})
