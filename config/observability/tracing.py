"""Export traces of requests and the tasks that follow to OpenTelemetry, without personal data.

Loaded where OTEL_EXPORTER_OTLP_ENDPOINT is set; the other variables of its specification hold too.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from django.db.backends.signals import connection_created
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.instrumentation.celery import CeleryInstrumentor
from opentelemetry.instrumentation.django import DjangoInstrumentor
from opentelemetry.instrumentation.psycopg import PsycopgInstrumentor
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import Event, ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.trace import Status

from config.environment import env
from config.observability.logs import redacted_message
from config.observability.metrics import PROGRAM

# Most time that a process waits for a collector that is away, also when it stops.
SECONDS = 2
# No addresses, queries, headers or arguments.
_EXPORTED_ATTRIBUTES = frozenset(
    {
        *(
            "http.method",
            "http.request.method",
            "http.route",
            "http.status_code",
            "http.response.status_code",
        ),
        *("db.system", "db.system.name", "db.name", "db.namespace", "db.statement", "db.query.text"),
        *(
            "celery.action",
            "celery.state",
            "celery.task_name",
            "messaging.message.id",
            "messaging.message_id",
        ),
        *("messaging.destination", "messaging.destination.name", "exception.type"),
    }
)


class _WithoutData(SpanExporter):
    """Exports spans with allowed attributes only."""

    def __init__(self, exporter: SpanExporter) -> None:
        self._exporter = exporter

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        return self._exporter.export([_without_data(span) for span in spans])

    def shutdown(self) -> None:
        self._exporter.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        return self._exporter.force_flush(timeout_millis)


def start() -> None:
    """Begin to trace requests, tasks and statements."""
    name = env("OTEL_SERVICE_NAME")
    provider = TracerProvider(resource=Resource.create({SERVICE_NAME: name, "headrace.program": PROGRAM}))
    provider.add_span_processor(BatchSpanProcessor(_WithoutData(OTLPSpanExporter(timeout=SECONDS))))
    trace.set_tracer_provider(provider)
    if PROGRAM == "web":
        DjangoInstrumentor().instrument(tracer_provider=provider)
    CeleryInstrumentor().instrument(tracer_provider=provider)  # type: ignore[no-untyped-call]  # its constructor
    connection_created.connect(_trace_statements, dispatch_uid="config.observability.tracing")


def _trace_statements(connection: Any, **_: Any) -> None:
    # Not by `instrument`: Django chooses the class of cursors after it has connected.
    PsycopgInstrumentor.instrument_connection(connection.connection)


def _without_data(span: ReadableSpan) -> ReadableSpan:
    events = [
        Event(event.name, _exported_attributes(event.attributes or {}), event.timestamp)
        for event in span.events
    ]
    return ReadableSpan(
        name=span.name,
        context=span.context,
        parent=span.parent,
        resource=span.resource,
        attributes=_exported_attributes(span.attributes or {}),
        events=events,
        links=span.links,
        kind=span.kind,
        instrumentation_scope=span.instrumentation_scope,
        status=Status(span.status.status_code, redacted_message(span.status.description or "") or None),
        start_time=span.start_time,
        end_time=span.end_time,
    )


def _exported_attributes(attributes: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in attributes.items() if name in _EXPORTED_ATTRIBUTES}
