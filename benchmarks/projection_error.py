"""How far projections were off where the truth was measured afterwards, and the band that follows for the next one."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import stats as distributions

from windtunnel.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True)
class HeldOut:
    """One projection from a configuration that was calibrated to one that was left out, and what was measured there.

    Args:
        change: what differs between the two, such as `1 to 2 threads`; both directions are one change.
        case: the model and batch size.
        projected_s: the time of a batch as it was projected.
        measured_s: as it was measured.
    """

    change: str
    case: str
    projected_s: float
    measured_s: float

    @property
    def log_error(self) -> float:
        """The logarithm of the projected ÷ the measured time."""
        return math.log(self.projected_s / self.measured_s)


@dataclass(frozen=True)
class ProjectionError:
    """What leave-one-out showed.

    Args:
        held_out: every projection of every configuration that was left out.
        made_on: the day, as ISO 8601; empty where it is not known.
    """

    held_out: tuple[HeldOut, ...]
    made_on: str = ""

    def __post_init__(self) -> None:
        if not self.held_out:
            raise DataError("holds no projection", field="held_out", fix="leave at least one configuration out")

    def by_change(self) -> Mapping[str, tuple[float, ...]]:
        """The log errors of each change, in order."""
        changes = dict.fromkeys(each.change for each in self.held_out)
        return {name: tuple(each.log_error for each in self.held_out if each.change == name) for name in changes}

    def without(self, change: str) -> ProjectionError:
        """What was seen before a change was: its band is what would have been promised for it."""
        return ProjectionError(tuple(each for each in self.held_out if each.change != change))

    @property
    def deviation(self) -> float:
        """The root mean square of the log errors around zero; every change counts alike, however many cases it has."""
        return math.sqrt(float(np.mean([np.mean(np.square(errors)) for errors in self.by_change().values()])))

    def band(self, confidence: float = 0.95, *, unseen: float = 0.0) -> float:
        """The factor within which the time of the next configuration is expected, either way.

        `exp(t · s)`, with Student's quantile at as many degrees of freedom as changes were seen: the cases of one change err
        alike, and count for one. The deviation is taken around zero, not around its mean, so that a bias widens the band.
        With normal errors it covers exactly where all cases of a change err alike, and more where they do not (a prediction
        interval: Hahn & Meeker, *Statistical Intervals*, 1991, section 4.7, with a known mean). What no configuration here
        could show is added as `√((t · s)² + (z · unseen)²)`.

        Args:
            confidence: the share of configurations that shall lie within.
            unseen: the standard deviation of the log of what no configuration here could show.

        Example:
            >>> seen = ProjectionError(tuple(HeldOut(change, "m", 1.1, 1.0) for change in ("threads", "precision", "ISA")))
            >>> round(seen.band(), 2)
            1.35
        """
        upper = 0.5 + confidence / 2.0
        seen = float(distributions.t.ppf(upper, len(self.by_change()))) * self.deviation
        return math.exp(math.hypot(seen, float(distributions.norm.ppf(upper)) * unseen))

    def __str__(self) -> str:
        seen = "; ".join(
            f"{change}: {math.exp(float(np.median(np.abs(errors)))):.2f} × at the median, {math.exp(max(map(abs, errors))):.2f} × at worst"
            for change, errors in self.by_change().items()
        )
        day = f" on {self.made_on}" if self.made_on else ""
        return f"projections between configurations measured here{day} were off by ({seen})"

    def to_dict(self) -> dict[str, Any]:
        """The study as JSON values: every projection that was held against a measurement, and the band that follows."""
        return {"band": self.band(), "made_on": self.made_on, "held_out": [asdict(each) for each in self.held_out]}
