"""An Oracle: the model alone, by which answers are found right or wrong."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    from .conversation import Arrays

ROUNDING = 1e-3
"""Share of an output's largest value by which an answer may differ, whatever company does."""

ASKED = 64
"""Rows by which it is found out what company changes."""


@dataclass
class Oracle:
    """The model alone.

    Args:
        run: the model, one request at a time.
        slack: by how much a number of an output may differ; an output of no floats must be the same, and is not compared where
            company alone changes it (NaN).
        sure: whether an answer is wrong where the model alone raises.
        known: what it said before, by the inputs' bytes.
    """

    run: Callable[[Arrays], Arrays]
    slack: Mapping[str, float]
    sure: bool = True
    known: dict[bytes, Arrays | None] = field(default_factory=dict)

    @staticmethod
    def of(run: Callable[[Arrays], Arrays], rows: Sequence[Arrays], *, stack: bool, sure: bool = True) -> Oracle:
        """Find out how much an answer changes by company alone, as it does where activations are quantized by the batch.

        Args:
            run: the model.
            rows: honest requests.
            stack: whether it takes any number of rows.
            sure: whether the model raises only where it cannot answer; a server that is asked may have other reasons.
        """
        few = [each for each in rows[:ASKED] if _alike(each, rows[0])]
        alone = [run(each) for each in few]
        together = run({name: np.concatenate([each[name] for each in few]) for name in few[0]}) if stack else None
        slack = {}
        for name, first in alone[0].items():
            one = np.concatenate([each[name] for each in alone]) if first.ndim else first
            all_ = together[name] if together is not None and together[name].shape == one.shape else one
            slack[name] = _slack(one, all_)
        return Oracle(run, slack, sure)

    def alone(self, feeds: Arrays) -> Arrays | None:
        """What the model says; None where it raises."""
        key = b"\0".join(name.encode() + _raw(array) for name, array in sorted(feeds.items()))
        if key not in self.known:
            try:
                self.known[key] = self.run(feeds)
            except Exception:  # noqa: BLE001  # whatever a runtime raises: a request that the model fails on has no right answer
                self.known[key] = None
        return self.known[key]

    def differs(self, feeds: Arrays, outputs: Arrays | None) -> str:
        """What is wrong with an answer; empty where nothing is."""
        right = self.alone(feeds)
        if right is None:
            return "an answer where the model alone fails" if self.sure else ""
        if outputs is None:
            return "an answer that cannot be read"
        if missing := sorted(set(right) - set(outputs)):
            return f"no {', '.join(missing)} in the answer"
        for name, expected in right.items():
            found = outputs[name]
            if found.shape != expected.shape:
                return f"{name} of the shape {list(found.shape)} where the model alone gives {list(expected.shape)}"
            if _text(found) != _text(expected):
                return f"{name} of another kind than the model alone gives"
            if not _same(found, expected, self.slack.get(name, 0.0)):
                return f"another {name} than the model alone gives"
        return ""


def _text(array: NDArray[Any]) -> bool:
    return array.dtype.kind in "OSU"


def _alike(a: Arrays, b: Arrays) -> bool:
    return all(a[name].shape[1:] == b[name].shape[1:] for name in b)


def _raw(array: NDArray[Any]) -> bytes:
    return repr((array.shape, array.dtype.str)).encode() + (
        repr(array.tolist()).encode() if array.dtype == object else array.tobytes()
    )


def _slack(alone: NDArray[Any], together: NDArray[Any]) -> float:
    if alone.dtype.kind != "f":
        return 0.0 if np.array_equal(alone, together) else np.nan
    finite = np.abs(alone[np.isfinite(alone)])
    with np.errstate(invalid="ignore"):  # infinite both times
        apart = np.abs(alone - together)
    # twice what was seen in one company, for others are worse
    return float(max(ROUNDING * finite.max(initial=0.0), 2.0 * apart[np.isfinite(apart)].max(initial=0.0)))


def _same(found: NDArray[Any], right: NDArray[Any], slack: float) -> bool:
    if right.dtype.kind != "f":
        return bool(np.isnan(slack) or np.array_equal(found, right))
    known = np.isfinite(right)
    if not np.array_equal(np.isfinite(found), known):
        return False
    reach = slack + ROUNDING * np.abs(right[known]).max(initial=0.0)
    return bool((np.abs(found[known].astype(np.float64) - right[known].astype(np.float64)) <= reach).all())
