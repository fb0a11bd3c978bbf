"""Traces: one from the REST call to the SMTP reply, carried by W3C ``traceparent`` in AMQP headers.

Promises: batches link the spans that they came from and have a span of their own; exporting never blocks a hot path
(batch processor, bounded queue).
Fails: an unreachable collector costs spans, not mail.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import orjson
from opentelemetry import propagate, trace
from opentelemetry.context import Context
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.trace import Link, SpanContext, TraceFlags

SCOPE = "hayabin"


class JsonLinesExporter(SpanExporter):
    """Appends finished spans to a file, one JSON object a line; for tests and the demo."""

    def __init__(self, path: Path) -> None:
        """Write to ``path``, which several processes may share (each line is one O_APPEND write)."""
        self._path = path

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Write the spans."""
        with self._path.open("ab", buffering=0) as file:
            for span in spans:
                file.write(orjson.dumps(_as_json(span), default=str) + b"\n")
        return SpanExportResult.SUCCESS


def _as_json(span: ReadableSpan) -> dict[str, object]:
    context = span.get_span_context()
    return {
        "name": span.name,
        "trace_id": format(context.trace_id, "032x") if context else "",
        "span_id": format(context.span_id, "016x") if context else "",
        "parent_id": format(span.parent.span_id, "016x") if span.parent else None,
        "links": [format(link.context.trace_id, "032x") for link in span.links],
        "service": span.resource.attributes.get("service.name"),
        "start_ns": span.start_time,
        "end_ns": span.end_time,
        "attributes": dict(span.attributes or {}),
    }


def setup(service: str, instance: str, *, otlp_endpoint: str = "", trace_file: str = "") -> TracerProvider:
    """Start tracing for this process; spans go to the collector and the file that are given, if any."""
    provider = TracerProvider(
        resource=Resource.create({"service.name": f"hayabin-{service}", "service.instance.id": instance})
    )
    if otlp_endpoint:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415 - slow import

        endpoint = otlp_endpoint.rstrip("/") + "/v1/traces"
        provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=endpoint)))
    if trace_file:
        exporter = JsonLinesExporter(Path(trace_file))
        provider.add_span_processor(BatchSpanProcessor(exporter, schedule_delay_millis=500))
    trace.set_tracer_provider(provider)
    return provider


def tracer() -> trace.Tracer:
    """Our tracer."""
    return trace.get_tracer(SCOPE)


def inject(headers: dict[str, str]) -> dict[str, str]:
    """Put the current trace context into ``headers`` and return them."""
    propagate.inject(headers)
    return headers


def extract(headers: Mapping[str, str]) -> Context:
    """The trace context that ``headers`` carry; an empty one where they carry none or a malformed one."""
    return propagate.extract({key.lower(): str(value) for key, value in headers.items()})


def current_traceparent() -> str:
    """The current ``traceparent`` header, or an empty text outside a span."""
    return inject({}).get("traceparent", "")


def link_of(traceparent: str) -> list[Link]:
    """A link to the span that ``traceparent`` names; none where it names none."""
    context: SpanContext = trace.get_current_span(extract({"traceparent": traceparent})).get_span_context()
    return [Link(context)] if context.is_valid and context.trace_flags == TraceFlags.SAMPLED else []
