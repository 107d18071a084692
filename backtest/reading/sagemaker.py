"""SageMaker data capture and the ground truth that is merged with it: JSON lines, one a captured request or a label.

A capture has `captureData.endpointInput` and `.endpointOutput` (`data`, `encoding` CSV, JSON or BASE64, `observedContentType`) and
`eventMetadata` (`eventId`, `inferenceId` if the caller gave one, `inferenceTime` in whole seconds). Ground truth has
`groundTruthData` and the id: the inference id where there is one, else the event id. It holds no time; it lies under
`…/yyyy/mm/dd/hh/`, as captures do. That is read here as the hour in which it was uploaded, so it counts as known when that hour is over. A merged file has both, but its folder is
that of the request: when its label was known it does not say.
Source: Amazon SageMaker Developer Guide, "Data capture" and "Ingest Ground Truth labels and merge them with predictions".
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from windtunnel.errors import DataError

from .flat import documents, instances, tabled
from .format import Format
from .payload import PayloadError, decode, rows_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    import polars as pl

    from .intake import Tally
    from .roles import Wanted

HOUR = re.compile(r"(\d{4})/(\d\d)/(\d\d)/(\d\d)/[^/]+$")
CAPTURED = ("id", "time", "label")
LABELLED = ("id", "label", "known")


def read_captures(file: str, wanted: Wanted, rows: int, tally: Tally) -> Iterator[pl.DataFrame]:
    """The captured requests: columns `id`, `time`, `label` (of merged files), and those of the payload."""
    del rows  # documents come in pieces of their own
    yield from tabled(_captures(file, tally, bare=set(wanted.columns) <= {"id"}), wanted, CAPTURED, file)


def _captures(file: str, tally: Tally, *, bare: bool) -> Iterator[dict[str, Any]]:
    for _, document in documents(file, tally):
        capture, event = document.get("captureData"), _event(document)
        if not isinstance(capture, dict) or event is None:
            tally.skip("lines that are no capture", example=document, bad=True)
            continue
        event["label"] = _label(document)
        try:
            inputs = rows_of(_side(capture, "endpointInput"), "input")
            # how many instances there were decides the ids, so the input is read even where only ids are asked for
            outputs = [] if bare else rows_of(_side(capture, "endpointOutput"), "output", len(inputs))
        except PayloadError:
            tally.skip("captures with a payload that cannot be read", example=capture, bad=True)
            continue
        yield from instances(event, inputs, outputs)


def _event(document: dict[str, Any]) -> dict[str, Any] | None:
    metadata = document.get("eventMetadata")
    if not isinstance(metadata, dict):
        return None
    name, time = metadata.get("inferenceId") or metadata.get("eventId"), metadata.get("inferenceTime")
    return {"id": str(name), "time": str(time)} if name and time else None


def _side(capture: dict[str, Any], side: str) -> Any:
    """The body of a request or of its answer; an empty row where only the other side was captured."""
    found = capture.get(side)
    if not isinstance(found, dict) or found.get("data") is None:
        return {}
    return decode(found["data"], str(found.get("encoding", "")), str(found.get("observedContentType", "")))


def _label(document: dict[str, Any]) -> float | None:
    truth = document.get("groundTruthData")
    if not isinstance(truth, dict):
        return None
    try:
        values = list(rows_of(decode(truth.get("data"), str(truth.get("encoding", "")), ""), "label")[0].values())
    except (PayloadError, IndexError):
        return None
    return values[0] if values and isinstance(values[0], float) else None


def read_truth(file: str, wanted: Wanted, rows: int, tally: Tally) -> Iterator[pl.DataFrame]:
    """The labels: columns `id`, `label`, `known`.

    Raises:
        DataError: a file that does not lie in the folder of an hour.
    """
    del rows
    yield from tabled(_truths(file, tally), wanted, LABELLED, file)


def _truths(file: str, tally: Tally) -> Iterator[dict[str, Any]]:
    for place, document in documents(file, tally):
        metadata, label = document.get("eventMetadata"), _label(document)
        name = metadata.get("eventId") if isinstance(metadata, dict) else None
        if name is None or label is None:
            tally.skip("labels without an id or a number", example=document, bad=True)
            continue
        yield {"id": str(name), "label": label, "known": _uploaded(place).isoformat()}


def _uploaded(place: str) -> datetime:
    """The end of the hour in whose folder a file lies.

    Example:
        >>> _uploaded("s3://b/truth/2024/05/01/23/labels.jsonl").isoformat()
        '2024-05-02T00:00:00+00:00'
    """
    found = HOUR.search(place.replace("\\", "/"))
    if found is None:
        raise DataError(
            "does not lie in the folder of an hour, so when its labels were known is not known", file=place,
            fix="keep …/yyyy/mm/dd/hh/file, or write a table with a known time",
        )  # fmt: skip
    year, month, day, hour = map(int, found.groups())
    return datetime(year, month, day, hour, tzinfo=UTC) + timedelta(hours=1)


SAGEMAKER = Format(
    "sagemaker", "JSON lines with captureData and eventMetadata",
    lambda names: {"captureData", "eventMetadata"} <= names, {"id": "id", "time": "time"}, read_captures,
)  # fmt: skip
SAGEMAKER_TRUTH = Format(
    "sagemaker-truth", "JSON lines with groundTruthData and eventMetadata, in folders of hours",
    lambda names: "groundTruthData" in names and "captureData" not in names,
    {"id": "id", "label": "label", "label_time": "known"}, read_truth,
)  # fmt: skip
