"""SageMaker data capture: JSON lines, one a captured request, at a second's resolution in what was seen.

Keys `captureData`, `eventMetadata.eventId`, `eventMetadata.inferenceTime`, `eventVersion`. The file does not say which share of the
requests was captured (`InitialSamplingPercentage` of the endpoint): say it with `--sampled`.
Source: Amazon SageMaker Developer Guide, "Data capture" (the example of a captured event).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .flat import Flat
from .nested import Nested, text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .reading import Tally


def flatten(document: dict[str, Any], tally: Tally) -> Iterator[dict[str, Any]]:
    """The one request of an event."""
    tally.warn("what share of the requests was captured is not in the file: say it with --sampled if it was not all")
    yield {
        "inferenceTime": text(document, "eventMetadata", "inferenceTime"),
        "eventId": text(document, "eventMetadata", "eventId"),
    }


SAGEMAKER = Nested(
    Flat("sagemaker", frozenset(), "inferenceTime", identity="eventId"),
    flatten, frozenset({"captureData", "eventMetadata"}), "JSON lines with captureData and eventMetadata",
)  # fmt: skip
