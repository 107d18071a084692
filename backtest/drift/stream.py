"""Detectors that read one value after another and keep their own idea of what was normal: river's, by name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from windtunnel.errors import ConfigError, MissingError, nearest

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

STREAMING = ("adwin", "kswin", "page_hinkley")
"""River's detectors by the name that users write."""


def stream_alarms(
    detector: str, values: Floats, *, reference: int = 300, seed: int = 1, **settings: Any
) -> NDArray[np.int64]:
    """The places at which a river detector (0.26) says that the stream has changed.

    The first values are the reference: the stream is told in their standard deviations from their mean, because the
    thresholds of Page–Hinkley are in units of the value; a detector sees them too, but an alarm there is not told.
    NaN and infinite values are passed over.

    Args:
        detector: one of `STREAMING`.
        values: float64 [n], in the order in which they became known.
        reference: how many of the first known values set the scale.
        seed: of KSWIN's draws.
        settings: of the detector, such as `delta=0.002`.

    Raises:
        ConfigError: an unknown detector, a setting that it does not have, or a stream shorter than the reference.
        MissingError: river is not installed.
    """
    known = np.flatnonzero(np.isfinite(values))
    if len(known) <= reference or reference < 2:
        raise ConfigError(
            f"leaves nothing to watch of {len(known)} values", field="reference", value=reference,
            fix="record longer, or take a shorter reference",
        )  # fmt: skip
    model = _detector(detector, seed, settings)
    first = values[known[:reference]]
    scale = float(np.std(first))
    told = (values[known] - first.mean()) / (scale if scale > 0.0 else 1.0)
    alarms = []
    for place, value in zip(known.tolist(), told.tolist(), strict=True):
        model.update(value)
        if model.drift_detected:
            alarms.append(place)
    found = np.array(alarms, dtype=np.int64)
    told_of: NDArray[np.int64] = found[found > known[reference - 1]]
    return told_of


def _detector(name: str, seed: int, settings: dict[str, Any]) -> Any:
    if name not in STREAMING:
        raise ConfigError("is not a streaming detector", field="drift", value=name, fix=nearest(name, STREAMING))
    try:
        from river import drift
    except ImportError as error:
        raise MissingError("streaming drift detectors need river: pip install 'windtunnel[drift]'") from error
    made: Any = {"adwin": drift.ADWIN, "kswin": drift.KSWIN, "page_hinkley": drift.PageHinkley}[name]
    try:
        return made(**({"seed": seed} if name == "kswin" else {}), **settings)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"has settings that river refuses ({error})", field="drift", value=name) from error
