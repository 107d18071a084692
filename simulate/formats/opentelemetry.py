"""OpenTelemetry spans: OTLP JSON (one document or lines, as the collector's file exporter writes them), or a span a line.

A request is a span of kind SERVER or CONSUMER, with its start and end in nanoseconds; spans of other kinds are a request's
inner work and are counted as `span_within`. Where no span says its kind, those without a parent are taken. `key` numbers the
span names (routes).
Source: opentelemetry-proto 1.x, `opentelemetry/proto/trace/v1/trace.proto` and its JSON mapping; semantic conventions of HTTP spans
(`http.response.status_code`, before that `http.status_code`; `http.request.body.size`); for a span a line, the SDK's `Span.to_json`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .flat import Flat
from .nested import Nested, text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .reading import Tally

SERVED = {"2", "5", "SPAN_KIND_SERVER", "SPAN_KIND_CONSUMER", "SpanKind.SERVER", "SpanKind.CONSUMER"}
UNKNOWN = {"None", "0", "SPAN_KIND_UNSPECIFIED"}


def _spans(document: dict[str, Any]) -> Iterator[dict[str, Any]]:
    groups = document.get("resourceSpans") or document.get("resource_spans")
    if groups is None:
        yield document
        return
    for group in groups:
        for scope in (
            group.get("scopeSpans") or group.get("scope_spans") or group.get("instrumentationLibrarySpans") or ()
        ):
            yield from scope.get("spans") or ()


def _attributes(span: dict[str, Any]) -> dict[str, Any]:
    """Attributes by name, from OTLP's list of tagged values or the SDK's plain object."""
    given = span.get("attributes") or {}
    if isinstance(given, dict):
        return given
    return {each.get("key", ""): next(iter((each.get("value") or {"": None}).values())) for each in given}


def flatten(document: dict[str, Any], tally: Tally) -> Iterator[dict[str, Any]]:
    """The served spans of one document: start, duration, name, status and size."""
    for span in _spans(document):
        parent = span.get("parentSpanId") or span.get("parent_span_id") or span.get("parent_id")
        kind = str(span.get("kind"))
        if kind not in SERVED and not (kind in UNKNOWN and not parent):
            tally.skip("span_within", bad=False)
            continue
        found = _attributes(span)
        start, end = (_moment(span, each) for each in ("start", "end"))
        yield {
            "start": start, "end": end, "name": span.get("name"),
            "id": f"{_id(span, 'trace')}/{_id(span, 'span')}" if _id(span, "span") else None,
            "status": found.get("http.response.status_code", found.get("http.status_code")),
            "size": found.get("http.request.body.size", found.get("http.request_content_length")),
        }  # fmt: skip


def _moment(span: dict[str, Any], which: str) -> str | None:
    nanoseconds = span.get(f"{which}TimeUnixNano", span.get(f"{which}_time_unix_nano"))
    return str(nanoseconds) if nanoseconds is not None else text(span, f"{which}_time")


def _id(span: dict[str, Any], which: str) -> str | None:
    return text(span, f"{which}Id") or text(span, f"{which}_id") or text(span, "context", f"{which}_id")


OPENTELEMETRY = Nested(
    Flat("opentelemetry", frozenset(), "start", end="end", columns={"key": "name", "status": "status", "bytes": "size"}, identity="id"),
    flatten, frozenset({"resourceSpans", "resource_spans", "startTimeUnixNano", "start_time_unix_nano", "traceId", "parent_id"}),
    "JSON with resourceSpans, or a span a line with startTimeUnixNano",
)  # fmt: skip
