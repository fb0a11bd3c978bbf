"""The FastAPI application.

Promises: everything under /v1 needs a key, but for /v1/health; the OpenAPI document, the reference page and the
explanations of problems need none, and load nothing from elsewhere.
"""

import time

from fastapi import FastAPI, Request
from fastapi.responses import HTMLResponse, JSONResponse, Response
from opentelemetry import trace
from opentelemetry.trace import SpanKind
from starlette.types import ASGIApp, Receive, Scope, Send

from hayabin.database.engine import AWAY, Database
from hayabin.telemetry import tracing
from services.api import problems
from services.api.admission import Admission, Limits
from services.api.body_limit import BodyLimit
from services.api.openapi import document_of
from services.api.rate_limit import RateLimit
from services.api.reference import problem_page, reference_page
from services.api.routes import (
    api_keys,
    approvals,
    attributes,
    audit,
    campaign_audience,
    campaign_launches,
    campaign_moves,
    campaign_reports,
    campaigns,
    checks,
    consents,
    contact_merges,
    contacts,
    domains,
    exports,
    import_errors,
    import_moves,
    imports,
    lanes,
    lists,
    me,
    messages,
    people,
    platform_suppressions,
    policies,
    pools,
    quotas,
    segments,
    settings,
    sign_up_forms,
    stages,
    subscriptions,
    suppressions,
    suspensions,
    templates,
    users,
    warmups,
)
from services.api.sending_rate import SendingRate
from services.api.settings import ApiSettings
from services.api.upload import Uploads

VERSION = "0.1.0"
_ROUTERS = (
    contact_merges, contacts, lists, subscriptions, imports, import_moves, import_errors, templates,
    campaigns, campaign_launches, campaign_moves,
    campaign_audience, campaign_reports, messages,
    suppressions, platform_suppressions, domains,
    attributes, stages, segments, consents, sign_up_forms, exports, people, checks, approvals,
    users, api_keys, me, settings, audit, quotas, pools, lanes, suspensions, policies, warmups,
)  # fmt: skip


class Traced:
    """ASGI middleware: one span for each request, so that every problem has a ``trace_id``."""

    def __init__(self, app: ASGIApp) -> None:
        """Wrap ``app``."""
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Begin the span; routes give it its name."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = {key.decode("latin-1"): value.decode("latin-1") for key, value in scope["headers"]}
        # The framework may have begun a span of its own for the request: then ours is its child, in one trace.
        begun = trace.get_current_span().get_span_context().is_valid
        with tracing.tracer().start_as_current_span(
            scope["method"], context=None if begun else tracing.extract(headers), kind=SpanKind.SERVER
        ):
            await self._app(scope, receive, send)


def make_app(settings: ApiSettings, database: Database) -> FastAPI:
    """The application on an open database."""
    app = FastAPI(
        title="Hayabin", version=VERSION, docs_url=None, redoc_url=None, openapi_url=None,
        description="Bulk email delivery: contacts, templates, campaigns, and what happened to every recipient.",
    )  # fmt: skip
    app.state.settings = settings
    app.state.database = database
    app.state.uploads = Uploads()
    app.state.trusted_proxies = settings.proxies
    app.state.rate_limit = RateLimit(settings.rate_per_s, settings.rate_burst, time.monotonic)
    app.state.sending_rate = SendingRate(time.monotonic)
    app.state.admission = Admission(Limits(settings.backlog_limit, settings.outbox_limit))
    app.add_middleware(BodyLimit)
    app.add_middleware(Traced)
    problems.install(app)
    for module in _ROUTERS:
        app.include_router(module.router)
    app.get("/v1/health", tags=["health"], operation_id="getHealth")(health)
    for path, page in (("/openapi.json", document), ("/docs", docs), ("/problems/{kind}", problem)):
        app.get(path, include_in_schema=False)(page)
    return app


async def health(request: Request) -> Response:
    """Whether API and database answer, whether what is launched is sent, and the age of what waits for the belt."""
    try:
        facts = await request.app.state.admission.health(request.app.state.database.pool)
    except AWAY as error:  # here and not by the framework, which would log it as a fault of ours
        return problems.answer(request, problems.translate(error))
    return JSONResponse({"version": VERSION, **facts}, headers={"Cache-Control": "no-store"})


async def document(request: Request) -> JSONResponse:
    """The OpenAPI document."""
    return JSONResponse(document_of(request.app))


async def docs(request: Request) -> HTMLResponse:
    """The reference page."""
    return _page(reference_page(document_of(request.app)))


async def problem(kind: str) -> HTMLResponse:
    """What a kind of problem means; ``type`` of a problem leads here."""
    return _page(problem_page(kind))


def _page(content: str) -> HTMLResponse:
    policy = (
        "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    return HTMLResponse(content, headers={"Content-Security-Policy": policy, "X-Content-Type-Options": "nosniff"})
