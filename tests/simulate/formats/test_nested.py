from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from windtunnel.errors import DataError
from windtunnel.simulate.formats import Ask, read

if TYPE_CHECKING:
    from .conftest import Write

NANO = 1_700_000_000_000_000_000


def _span(n: int, *, kind: int | str = 2, **more: Any) -> dict[str, Any]:
    """A span that starts `n` halves of a second after the first and takes 20 ms more than `n` tens of ms."""
    start = NANO + n * 500_000_000
    attributes = [
        {"key": "http.response.status_code", "value": {"intValue": "200"}},
        {"key": "http.request.body.size", "value": {"intValue": str(100 + n)}},
    ]
    return {
        "traceId": "ab", "spanId": f"{n:016x}", "name": "POST /predict", "kind": kind, "startTimeUnixNano": str(start),
        "endTimeUnixNano": str(start + 20_000_000 + n * 10_000_000), "attributes": attributes, **more,
    }  # fmt: skip


def _otlp(*spans: dict[str, Any]) -> dict[str, Any]:
    return {"resourceSpans": [{"resource": {}, "scopeSpans": [{"scope": {}, "spans": list(spans)}]}]}


@pytest.mark.parametrize("form", ["lines", "document", "indented", "spans"])
def test_opentelemetry(write: Write, form: str) -> None:
    """Served spans are requests, to the nanosecond; the spans within them are counted; a span sent twice is one."""
    spans = [_span(0), _span(1, kind=3, parentSpanId="0"), _span(3), _span(2, kind="SPAN_KIND_SERVER"), _span(2)]
    text = {
        "lines": "".join(json.dumps(_otlp(each)) + "\n" for each in spans),
        "document": json.dumps(_otlp(*spans)),
        "indented": json.dumps(_otlp(*spans), indent=2),
        "spans": "".join(json.dumps(each) + "\n" for each in spans),
    }[form]
    reading = read(write(text))

    assert reading.format == "opentelemetry"
    assert reading.trace.arrivals_s.tolist() == [0.0, 1.0, 1.5]
    assert np.allclose([0.02, 0.04, 0.05], reading.trace.columns["duration_s"], rtol=0.0, atol=1e-12)
    assert reading.trace.columns["bytes"].tolist() == [100, 102, 103]
    assert reading.skipped == {"span_within": 1, "duplicate": 1}


def test_spans_as_the_sdk_writes_them(write: Write) -> None:
    """The SDK's own JSON, indented or not, has ISO times and names of kinds."""
    spans = [
        {
            "name": "predict", "context": {"trace_id": "0x1", "span_id": f"0x{n}"}, "kind": "SpanKind.SERVER", "parent_id": None,
            "start_time": f"2024-05-01T10:00:0{n}.250000Z", "end_time": f"2024-05-01T10:00:0{n}.750000Z",
            "attributes": {"http.status_code": 200 + n},
        }
        for n in range(3)
    ]  # fmt: skip
    for indent in (None, 4):
        reading = read(write("\n".join(json.dumps(each, indent=indent) for each in spans)))

        assert reading.trace.arrivals_s.tolist() == [0.0, 1.0, 2.0]
        assert reading.trace.columns["duration_s"].tolist() == [0.5, 0.5, 0.5]
        assert reading.trace.columns["status"].tolist() == [200, 201, 202]


def test_spans_that_end_before_they_start(write: Write) -> None:
    """Such a span is impossible: counted, left out."""
    back = _span(5, endTimeUnixNano=str(NANO))

    assert read(write(json.dumps(_otlp(_span(0), _span(1), back)))).skipped == {"duration_negative": 1}


def _captured(n: int, second: int) -> dict[str, Any]:
    data = {"observedContentType": "text/csv", "mode": "INPUT", "data": "1,2", "encoding": "CSV"}
    return {
        "captureData": {"endpointInput": data, "endpointOutput": {**data, "mode": "OUTPUT"}},
        "eventMetadata": {"eventId": f"e{n}", "inferenceTime": f"2019-11-20T02:57:{second:02d}Z"}, "eventVersion": "0",
    }  # fmt: skip


def test_sagemaker(write: Write) -> None:
    """Events at a second's resolution are spread; one captured twice is one; a share that is said is made up."""
    lines = "".join(json.dumps(_captured(n, n // 5)) + "\n" for n in range(100)) + json.dumps(_captured(7, 1)) + "\n"
    reading = read(write(lines))

    assert reading.format == "sagemaker"
    assert reading.skipped == {"duplicate": 1}
    assert reading.noticed["spread"] == 100
    assert reading.trace.arrivals_s[-1] < 20.0
    assert any("--sampled" in each for each in reading.warnings)
    assert len(read(write(lines), Ask(sampled=0.25)).trace) == 400


def _event(n: int, what: str, time: str, *, binary: bool, vendor: str = "org.kubeflow") -> dict[str, Any]:
    attributes = {
        "specversion": "1.0", "id": f"i{n}", "type": f"{vendor}.serving.inference.{what}", "time": time, "source": "s",
        "inferenceservicename": "m",
    }  # fmt: skip
    if not binary:
        return {**attributes, "data": {"instances": []}}
    return {"headers": {f"Ce-{name.capitalize()}": value for name, value in attributes.items()}, "body": {}}


@pytest.mark.parametrize("binary", [False, True])
@pytest.mark.parametrize("vendor", ["org.kubeflow", "io.seldon"])
def test_cloud_events(write: Write, vendor: str, *, binary: bool) -> None:
    """Requests are joined with their responses by id, in any order; what is neither, or has no request, is counted."""
    events = [
        _event(1, "request", "2024-05-01T10:00:01.5Z", binary=binary, vendor=vendor),
        _event(0, "response", "2024-05-01T10:00:00.75Z", binary=binary, vendor=vendor),
        _event(0, "request", "2024-05-01T10:00:00.5Z", binary=binary, vendor=vendor),
        _event(2, "request", "2024-05-01T10:00:04.5Z", binary=binary, vendor=vendor),
        _event(2, "request", "2024-05-01T10:00:04.5Z", binary=binary, vendor=vendor),
        _event(9, "response", "2024-05-01T10:00:05Z", binary=binary, vendor=vendor),
        _event(3, "feedback", "2024-05-01T10:00:05Z", binary=binary, vendor=vendor),
    ]
    reading = read(write("".join(json.dumps(each) + "\n" for each in events)))

    assert reading.format == "cloudevents"
    assert reading.trace.arrivals_s.tolist() == [0.0, 1.0, 4.0]
    assert np.array_equal([0.25, np.nan, np.nan], reading.trace.columns["duration_s"], equal_nan=True)
    assert reading.skipped == {"event_of_another_type": 1, "response_without_request": 1, "duplicate": 1}


def test_headers_at_the_top(write: Write) -> None:
    """A binary event's headers may also stand at the top of the line, in small letters."""
    lines = [
        {"ce-id": str(n), "ce-type": "org.kubeflow.serving.inference.request", "ce-time": f"2024-05-01T10:00:0{n}.5Z"}
        for n in range(3)
    ]
    reading = read(write("".join(json.dumps(each) + "\n" for each in lines)))

    assert reading.trace.arrivals_s.tolist() == [0.0, 1.0, 2.0]
    assert "duration_s" not in reading.trace.columns


def test_formats_that_must_be_json(write: Write) -> None:
    """A table cannot be called JSON, and a log of answers only holds no arrivals."""
    for form in ("opentelemetry", "sagemaker", "cloudevents"):
        with pytest.raises(DataError, match=f"is no JSON; {form} is JSON"):
            read(write("a,b\n1,2\n"), Ask(format=form))
    answers = [_event(n, "response", "2024-05-01T10:00:01Z", binary=False) for n in range(3)]
    with pytest.raises(DataError, match="has no event of a request"):
        read(write("".join(json.dumps(each) + "\n" for each in answers)))
