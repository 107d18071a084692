"""Metrics by the name that users write."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from windtunnel.errors import ConfigError, nearest
from windtunnel.source import is_function

from .binary import AT_THRESHOLD, BINARY, at_threshold
from .calibration import CALIBRATION
from .cost import cost_by_function
from .multiclass import MULTICLASS, top
from .ranking import RANKING, ndcg
from .regression import QUANTILE, REGRESSION

if TYPE_CHECKING:
    from .metric import Metric

METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        *BINARY, *(at_threshold(name, 0.5) for name in AT_THRESHOLD), *MULTICLASS, *REGRESSION, *RANKING, *CALIBRATION,
    )
}  # fmt: skip
"""Those that have a name of their own. Beside them: `f1@0.3` and the like, `top@3`, `ndcg@10`, `pinball@0.9`,
`coverage@0.9`, `file.py:cost`, and those that `cost_by_matrix` and `by_amount` make."""


def metric_named(text: str, home: Path = Path()) -> Metric:
    """Find a metric.

    Args:
        text: its name, with a number after `@` where it takes one; or a user's cost function.
        home: the folder that the function's file is named from.

    Raises:
        ConfigError: no such metric, or a number that it cannot take.

    Example:
        >>> metric_named("recall@0.3").better, metric_named("coverage@0.9").target, metric_named("ndcg@10").needs
        ('higher', 0.9, ('query',))
    """
    if is_function(text):
        return cost_by_function(text, home)
    name, _, value = text.partition("@")
    if not value and text in METRICS:
        return METRICS[text]
    if name in ("top", "ndcg"):
        k = _number(text, value, whole=True)
        return top(int(k)) if name == "top" else ndcg(int(k))
    if name in AT_THRESHOLD:
        return at_threshold(name, _number(text, value))
    if name in QUANTILE:
        return QUANTILE[name](_number(text, value))
    known = [*METRICS, "top@3", "ndcg@10", "pinball@0.9", "coverage@0.9"]
    raise ConfigError("is not a metric", field="metric", value=text, fix=nearest(text, known))


def _number(text: str, value: str, *, whole: bool = False) -> float:
    """The number after the @: a count, or a share between 0 and 1."""
    try:
        number = float(int(value)) if whole else float(value)
    except ValueError:
        number = 0.0
    if not (number >= 1.0 if whole else 0.0 < number < 1.0):
        wanted = "a whole number from 1 on" if whole else "a number between 0 and 1"
        name = text.partition("@")[0]
        raise ConfigError(
            f"needs {wanted} after the @", field="metric", value=text, fix=f"write {name}@{3 if whole else 0.9}"
        )
    return number
