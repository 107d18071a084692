"""What answers cost the business: by a matrix, by the amount at stake, or by a function of the user's."""

from __future__ import annotations

import inspect
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from windtunnel.errors import ConfigError, UserCodeError
from windtunnel.loss import cost_loss
from windtunnel.source import call, load_function

from .binary import of_loss
from .metric import Metric

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from .judged import Judged

    Floats = NDArray[np.float64]

GIVEN = ("label", "prediction", "amount")
"""What a user's cost function may ask for, by the names of its arguments."""


def cost_by_matrix(matrix: Sequence[Sequence[float]], threshold: float = 0.5) -> Metric:
    """What decisions cost.

    Args:
        matrix: what each decision costs for each label: `[[label 0: no, yes], [label 1: no, yes]]`; or, for probabilities
            of classes, one row a class and one column for each class that was thought likeliest. Gains are below zero.
        threshold: from which prediction on the decision is yes; of no meaning for more than two classes.

    Raises:
        ConfigError: the matrix is not square, or not of finite numbers.

    Example: to take class 2 for class 0 costs nine.

        >>> from windtunnel.backtest.metrics import Judged
        >>> metric = cost_by_matrix([[0, 1, 1], [1, 0, 1], [9, 1, 0]])
        >>> metric.measure(Judged(np.array([2.0, 1.0]), np.array([[0.8, 0.1, 0.1], [0.2, 0.7, 0.1]]))).value
        4.5
    """
    if len(matrix) == 2:
        return of_loss(cost_loss(matrix, threshold))
    costs = _square(matrix)

    def row(rows: Judged) -> Floats:
        if rows.prediction.shape[1] != len(costs):
            raise ConfigError(
                f"is for {len(costs)} classes where the model tells {rows.prediction.shape[1]} apart", field="cost",
                fix="give one row and one column a class",
            )  # fmt: skip
        told: Floats = costs[rows.label.astype(np.int64), rows.prediction.argmax(axis=1)]
        return told

    return Metric("cost", "cost a request", "lower", "classes", "probabilities", row=row)


def _square(matrix: Sequence[Sequence[float]]) -> Floats:
    if len(matrix) < 2 or any(len(row) != len(matrix) for row in matrix) or not np.isfinite(matrix).all():
        raise ConfigError(
            "is no square of finite numbers", field="cost", value=matrix, fix="write [[0.0, 1.0], [5.0, 0.0]]"
        )
    return np.asarray(matrix, dtype=np.float64)


def by_amount(metric: Metric) -> Metric:
    """The same metric with each row's value multiplied by the amount at stake in it.

    Raises:
        ConfigError: the metric is not a mean over rows, so that no row has a value of its own.

    Example:
        >>> from windtunnel.backtest.metrics import Judged
        >>> metric = by_amount(cost_by_matrix([[0, 1], [1, 0]]))
        >>> metric.measure(Judged(np.array([1.0, 1.0]), np.array([0.2, 0.9]), amount=np.array([300.0, 50.0]))).value
        150.0
    """
    inner = metric.row
    if inner is None:
        raise ConfigError(
            "has no value of its own in each row to be multiplied by an amount",
            field="metric",
            value=metric.name,
            fix="use a cost, log_loss, brier or another mean over rows",
        )

    def row(rows: Judged) -> Floats:
        return inner(rows) * rows.amount

    return replace(
        metric,
        name=f"{metric.name} by amount",
        unit=f"{metric.unit} × amount",
        row=row,
        needs=(*metric.needs, "amount"),
    )


def cost_by_function(text: str, home: Path) -> Metric:
    """What a user's function says that each row costs; the less the better.

    Args:
        text: `file.py:function`, whose arguments are any of `label`, `prediction` and `amount`, arrays [n], and which gives the
            cost of each row, [n]. It may hang on nothing but its row: what one row costs is the same in any company.
        home: the folder that the file is named from.

    Raises:
        ConfigError: there is no such function, or it asks for something else.
        UserCodeError: when it is used: it raised, or gave something else than one finite number a row.
    """
    function = load_function(text, home)
    asked = _arguments(function, text)

    def row(rows: Judged) -> Floats:
        given = [_read_only(getattr(rows, name)) for name in asked]
        told = np.asarray(call(function, *given, name=text), dtype=np.float64)
        if told.shape != (len(rows),) or not np.isfinite(told).all():
            raise UserCodeError(
                f"gave {'costs of shape ' + str(told.shape) if told.shape != (len(rows),) else 'a cost that is no number'} "
                f"for {len(rows)} rows", field=text, fix="return one finite number a row",
            )  # fmt: skip
        return told

    needs = ("amount",) if "amount" in asked else ()
    return Metric(text, "cost a request", "lower", "numbers", "number", row=row, needs=needs)


def _arguments(function: Callable[..., object], text: str) -> tuple[str, ...]:
    asked = tuple(inspect.signature(function).parameters)
    strangers = [name for name in asked if name not in GIVEN]
    if strangers or not asked:
        raise ConfigError(
            f"asks for `{strangers[0]}`, which is not given" if strangers else "asks for nothing", value=text,
            field="metric", fix=f"name its arguments {', '.join(GIVEN)}",
        )  # fmt: skip
    return asked


def _read_only(values: NDArray[np.float64]) -> NDArray[np.float64]:
    view = values.view()
    view.setflags(write=False)
    return view
