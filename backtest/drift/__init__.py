"""Has the world moved: distances from a reference, a domain classifier, streaming detectors, each tried beside a dummy.

`watch` holds the periods of a column (a feature, or a model's predictions) against a reference that lies before them;
`stream_alarms` runs river's detectors; `score_alarms` says what alarms were worth where the changes are known.
"""

from __future__ import annotations

from .distance import DISTANCES, jensen_shannon, kolmogorov_smirnov, psi, wasserstein
from .domain import domain_auc
from .stream import STREAMING, stream_alarms
from .trial import Score, Stream, make_stream, score_alarms
from .watch import Watch, watch

__all__ = [
    "DISTANCES",
    "STREAMING",
    "Score",
    "Stream",
    "Watch",
    "domain_auc",
    "jensen_shannon",
    "kolmogorov_smirnov",
    "make_stream",
    "psi",
    "score_alarms",
    "stream_alarms",
    "wasserstein",
    "watch",
]
