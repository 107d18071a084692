"""CloudEvents of model servers' payload loggers (KServe, Seldon), as JSON lines.

Structured events have `specversion`, `id`, `type`, `time`, `source`; binary ones are the headers of the HTTP message (`ce-id`, `ce-type`,
`ce-time`, …), either at the top or under `headers`, in any case. A request is an event whose type ends in `request`; the event
whose type ends in `response` and has the same id gives its duration. `time` is stamped when the logger sends, behind a queue of
100 events in KServe, so under load it may be late. `key` numbers the services.
Source: KServe 0.15, pkg/logger (types `org.kubeflow.serving.inference.request|response`); Seldon Core 1 (types
`io.seldon.serving.inference.request|response`); CloudEvents 1.0, JSON format and HTTP binding.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import polars as pl

from windtunnel.errors import DataError

from .rows import Rows
from .source import frames_of
from .stamps import Clock, between_s

if TYPE_CHECKING:
    from collections.abc import Iterator

    from windtunnel.seeds import Seeds

    from .reading import Ask, Tally
    from .source import Source

COLUMNS = ("id", "type", "time", "inferenceservicename")


def _event(document: dict[str, Any]) -> dict[str, str | None]:
    """The attributes of an event, from its own keys or from the headers of its message."""
    top = {str(key).lower(): value for key, value in document.items()}
    headers = top.get("headers")
    inner = {str(key).lower(): value for key, value in headers.items()} if isinstance(headers, dict) else {}
    found = {name: inner.get(f"ce-{name}", top.get(f"ce-{name}", top.get(name))) for name in COLUMNS}
    return {name: None if value is None else str(value) for name, value in found.items()}


@dataclass(frozen=True)
class CloudEvents:
    """Events of requests and responses, joined by their id."""

    hears: ClassVar[frozenset[str]] = frozenset({"time_unit"})

    name: str = "cloudevents"
    looks: str = "JSON lines with specversion, type and time, or with ce-id, ce-type and ce-time"

    def matches(self, source: Source) -> bool:
        """Whether the first document is an event."""
        if source.kind != "json":
            return False
        keys = {key.lower() for key in source.header}
        return (
            {"specversion", "type", "time"} <= keys
            or {"ce-type", "ce-time"} <= keys
            or "ce-type" in source.first.lower()
        )

    def read(self, source: Source, ask: Ask, tally: Tally, seeds: Seeds) -> Rows:
        """Read the requests, and how long each took where its response is there.

        Raises:
            DataError: no event of a request.
        """
        del seeds  # nothing here is left to chance
        if source.kind != "json":
            raise DataError("is no JSON", file=source.path, value=source.first[:40], fix=f"{self.name} is {self.looks}")
        frames = list(frames_of(_events(source, tally), COLUMNS))
        events = pl.concat(frames)
        clock = Clock("time", ask.time_unit, tally)
        times = pl.Series("at", clock.read(events["time"]))
        events = events.with_columns(
            times, events["type"].str.to_lowercase().str.extract(r"(request|response)$").alias("kind")
        )
        requests = events.filter(pl.col("kind") == "request")
        if requests.height == 0:
            raise DataError(
                "has no event of a request", file=source.path, field="type", fix="log requests, not only responses"
            )
        return _joined(requests, events.filter(pl.col("kind") == "response"), tally)


def _events(source: Source, tally: Tally) -> Iterator[dict[str, Any]]:
    for document in source.documents(tally):
        event = _event(document)
        if str(event["type"]).lower().endswith(("request", "response")):
            yield event
        else:
            tally.skip("event_of_another_type", bad=False, example=event["type"])


def _joined(requests: pl.DataFrame, responses: pl.DataFrame, tally: Tally) -> Rows:
    answered = responses.unique("id", keep="first", maintain_order=True).select("id", pl.col("at").alias("answered_at"))
    both = requests.join(answered.drop_nulls("id"), on="id", how="left", maintain_order="left")
    strays = answered.join(requests.select("id"), on="id", how="anti").height
    tally.skip("response_without_request", strays, bad=False)
    missing = np.nan if both["at"].dtype == pl.Float64 else np.iinfo(np.int64).min
    times, ends = both["at"].to_numpy(), both["answered_at"].fill_null(missing).to_numpy()
    durations_s = between_s(times, ends)
    services = both["inferenceservicename"]
    return Rows(
        "time", times, durations_s if np.isfinite(durations_s).any() else None,
        columns={"key": services} if services.count() else {}, identity=both["id"],
    )  # fmt: skip


CLOUD_EVENTS = CloudEvents()
