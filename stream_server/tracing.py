"""Spans for OpenTelemetry: what took how long, of requests, sessions and jobs. Off until `configure_tracing` is called.

Where it is off, nothing of OpenTelemetry is imported and a span costs one look at a variable. What is exported, and
where to, is the SDK's own affair, which reads its ``OTEL_*`` variables by itself. Spans hold ids, sizes and names of
ours: no audio, no text, no addresses. It does not know what it measures.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from stream_server import __version__

if TYPE_CHECKING:
    from opentelemetry import trace
    from opentelemetry.sdk.trace.export import SpanExporter

logger = logging.getLogger(__name__)

SERVICE: Final = "stream-server"
"""The service's name, where ``OTEL_SERVICE_NAME`` gives no other."""

Value = str | int | float | bool

_tracer: trace.Tracer | None = None


class Span:
    """One span, or nothing at all where tracing is off."""

    def __init__(self, inner: trace.Span | None) -> None:
        self._inner = inner

    def set(self, **attributes: Value | None) -> None:
        """Add attributes; those that are None are left out."""
        if self._inner is not None:
            self._inner.set_attributes({name: value for name, value in attributes.items() if value is not None})

    def rename(self, name: str) -> None:
        if self._inner is not None:
            self._inner.update_name(name)

    def fail(self, reason: str) -> None:
        """Mark it as failed through our fault."""
        if self._inner is not None:
            from opentelemetry.trace import Status, StatusCode

            self._inner.set_status(Status(StatusCode.ERROR, reason))

    def end(self) -> None:
        """For spans that were made by `begin`."""
        if self._inner is not None:
            self._inner.end()


_NOTHING: Final = Span(None)


def configure_tracing(exporter: SpanExporter | None = None) -> None:
    """Export spans from now on: by OTLP over HTTP, or by ``exporter`` at once, which is for tests.

    Without the extra ``otel`` a warning is logged, and nothing is exported.
    """
    global _tracer
    try:
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor

        if exporter is None:
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    except ImportError:
        logger.warning("OTEL_* asks for traces, which needs the extra otel: pip install 'stream-server[otel]'")
        return
    resource = Resource.create({"service.version": __version__})
    if str(resource.attributes["service.name"]).startswith("unknown_service"):
        resource = resource.merge(Resource({"service.name": SERVICE}))
    provider = TracerProvider(resource=resource)
    provider.add_span_processor(
        BatchSpanProcessor(OTLPSpanExporter()) if exporter is None else SimpleSpanProcessor(exporter)
    )
    _tracer = provider.get_tracer("stream_server", __version__)


@contextmanager
def span(name: str, *, caller: Mapping[str, str] | None = None, **attributes: Value | None) -> Iterator[Span]:
    """A span around a block; a span begun inside is its child. An exception that leaves the block marks it as failed.

    ``caller``: the headers of whoever asked for this. Then it is the span of a server, and part of the caller's trace
    where they name one (W3C ``traceparent``).
    """
    if _tracer is None:
        yield _NOTHING
        return
    from opentelemetry import propagate, trace

    with _tracer.start_as_current_span(
        name,
        context=propagate.extract(caller) if caller else None,
        kind=trace.SpanKind.INTERNAL if caller is None else trace.SpanKind.SERVER,
        record_exception=False,  # its message may hold what is nobody's business
        set_status_on_exception=False,
    ) as inner:
        made = Span(inner)
        made.set(**attributes)
        try:
            yield made
        except Exception as error:
            made.fail(type(error).__name__)
            raise


def begin(name: str, **attributes: Value | None) -> Span:
    """A span that ends when its `Span.end` is called; a child of the one around this call."""
    if _tracer is None:
        return _NOTHING
    made = Span(_tracer.start_span(name))
    made.set(**attributes)
    return made
