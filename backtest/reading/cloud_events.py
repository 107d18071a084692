"""CloudEvents of the payload loggers of KServe and Seldon Core 1: a request and its response are two events of one id.

As JSON lines: structured events (`specversion`, `id`, `type`, `time`, `data` or `data_base64`), or HTTP messages as they were caught (`ce-id`,
`ce-type`, `ce-time`, … at the top or under `headers`, in any case, with `body` or `data`). Types end in `inference.request` and
`inference.response`. `time` is stamped when the logger sends, behind a queue of 100 events, so under load it is late. Columns: `id`, `time`,
`service`, `endpoint` (default or canary), `answered` (when the response was sent), and those of the payloads.
Source: KServe, pkg/logger/worker.go at 0217bda; Seldon Core 1 (`io.seldon.serving.inference.request|response`); CloudEvents 1.0, JSON format and HTTP
binding.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .flat import documents, instances, tabled
from .format import Format
from .payload import PayloadError, decode, rows_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from collections.abc import Set as AbstractSet

    import polars as pl

    from .intake import Tally
    from .roles import Wanted

    Row = dict[str, Any]

OWN = ("id", "time", "service", "endpoint", "answered")


def matches(names: AbstractSet[str]) -> bool:
    """Whether the first object is an event, or a message that carries one."""
    keys = {name.lower() for name in names}
    return {"specversion", "type", "time"} <= keys or {"ce-type", "ce-time"} <= keys


def read(file: str, wanted: Wanted, rows: int, tally: Tally) -> Iterator[pl.DataFrame]:
    """The requests with their answers; what is held meanwhile is what waits for its other half."""
    del rows
    bare = set(wanted.columns) <= {"id"}
    yield from tabled(_requests(file, tally, bare=bare), wanted, OWN, file)


def _requests(file: str, tally: Tally, *, bare: bool) -> Iterator[Row]:
    asked: dict[str, Row] = {}
    answered: dict[str, Row] = {}
    for _, document in documents(file, tally):
        event = _event(document)
        side = str(event["type"]).lower().rpartition(".")[2]
        if side not in {"request", "response"} or not event["id"]:
            tally.skip("events that are neither request nor response", example=event["type"])
            continue
        name = str(event["id"])
        ours, theirs = (asked, answered) if side == "request" else (answered, asked)
        if name in ours:
            tally.skip(f"{side}s logged twice", example=name)
        elif name in theirs:
            pair = (event, theirs.pop(name)) if side == "request" else (theirs.pop(name), event)
            yield from _rows(*pair, tally, bare=bare)
        else:
            ours[name] = event
    for event in asked.values():
        yield from _rows(event, None, tally, bare=bare)
    tally.skip("responses without a request", len(answered), example=next(iter(answered), ""))


def _event(document: Row) -> Row:
    """The attributes of an event, from its own keys or from the headers of its message, and its body."""
    top = {str(key).lower(): value for key, value in document.items()}
    headers = top.get("headers")
    inner = {str(key).lower(): value for key, value in headers.items()} if isinstance(headers, dict) else {}
    names = ("id", "type", "time", "inferenceservicename", "endpoint", "datacontenttype")
    event = {name: inner.get(f"ce-{name}", top.get(f"ce-{name}", top.get(name))) for name in names}
    event["encoding"] = "BASE64" if "data_base64" in top else ""
    event["body"] = top.get("data_base64", top.get("data", top.get("body")))
    event["datacontenttype"] = event["datacontenttype"] or inner.get("content-type", "")
    return event


def _rows(request: Row, response: Row | None, tally: Tally, *, bare: bool) -> Iterator[Row]:
    event = {
        "id": str(request["id"]), "time": request["time"], "service": request["inferenceservicename"],
        "endpoint": request["endpoint"], "answered": response and response["time"],
    }  # fmt: skip
    try:
        inputs = rows_of(_body(request), "input")
        outputs = rows_of(_body(response), "output", len(inputs)) if response and not bare else []
    except PayloadError:
        tally.skip("events with a payload that cannot be read", example=request["id"], bad=True)
        return
    yield from instances(event, inputs, outputs)


def _body(event: Row) -> Any:
    return decode(event["body"], event["encoding"], str(event["datacontenttype"]))


CLOUD_EVENTS = Format(
    "cloudevents", "JSON lines with specversion, type and time, or with ce-id, ce-type and ce-time", matches,
    {"id": "id", "time": "time"}, read,
)  # fmt: skip
