"""What drives flips, where it is known beforehand."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import pytest

from windtunnel.backtest.disagreement import ask_session, check_signatures, find_drivers
from windtunnel.errors import DataError, ModelError
from windtunnel.session import Session
from windtunnel.variant import Signature, Tensor

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

FEATURES = pl.DataFrame(dict(zip("abc", np.random.default_rng(0).random((3, 4000)), strict=True)))


class Formula(Session):
    """A model that is a formula of its inputs."""

    def __init__(self, inputs: str, formula: Callable[..., NDArray[Any]]) -> None:
        self.signature = Signature(
            tuple(Tensor(name, "float64", ("n",)) for name in inputs), (Tensor("p", "float64", ("n", 1)),)
        )
        self.formula = formula

    def run(self, feeds: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Work it out."""
        return {"p": self.formula(**feeds)[:, None]}


def test_the_feature_that_only_the_candidate_reads_drives_the_flips() -> None:
    """Hiding `b` brings the models nearer; `c`, which neither reads, moves not a bit; intervals say so."""
    ours = ask_session("champion", Formula("a", lambda a: a))
    theirs = ask_session("challenger", Formula("ab", lambda a, b: 0.6 * a + 0.4 * b))
    found = find_drivers(FEATURES, ours, theirs, np.random.default_rng(1))
    assert found is not None
    drivers = {each.feature: each for each in found.features}

    assert next(iter(drivers)) == "b"
    assert found.answers == found.asked * 4 * 3 <= 12_000
    assert drivers["b"].low > 0.0
    assert drivers["b"].undone > 0.3
    assert (drivers["c"].narrowed, drivers["c"].undone) == (0.0, 0.0)


def test_intervals_of_a_driver_hold_its_mean_over_all_flips() -> None:
    """Of 50 samples of 200 flips, about 95% of intervals hold what all flips together say."""

    def ours(rows: pl.DataFrame) -> NDArray[np.float64]:
        return rows["a"].to_numpy()

    def theirs(rows: pl.DataFrame) -> NDArray[np.float64]:
        return (0.6 * rows["a"] + 0.4 * rows["b"]).to_numpy()

    def narrowed(rng: np.random.Generator, rows: int, repeats: int) -> dict[str, tuple[float, float, float]]:
        found = find_drivers(FEATURES, ours, theirs, rng, most_rows=rows, repeats=repeats)
        assert found is not None
        return {each.feature: (each.narrowed, each.low, each.high) for each in found.features}

    truth = narrowed(np.random.default_rng(5), 4000, 40)["b"][0]
    held = [
        low <= truth <= high
        for seed in range(50)
        for _, low, high in (narrowed(np.random.default_rng(seed), 200, 4)["b"],)
    ]

    assert np.mean(held) >= 0.89


def test_models_that_agree_have_no_drivers() -> None:
    """Without a flip there is nothing to drive."""
    same = ask_session("champion", Formula("a", lambda a: a))

    assert find_drivers(FEATURES, same, same, np.random.default_rng(0)) is None


def _logistic(**weights: float) -> Callable[[pl.DataFrame], NDArray[np.float64]]:
    """A logistic regression, as a model of single precision answers."""

    def ask(rows: pl.DataFrame) -> NDArray[np.float64]:
        evidence = sum(weight * (rows[name].to_numpy() - 0.5) for name, weight in weights.items())
        told: NDArray[np.float64] = (1.0 / (1.0 + np.exp(-np.asarray(evidence)))).astype(np.float32).astype(np.float64)
        return told

    return ask


@pytest.mark.parametrize("seed", range(10))
def test_of_models_that_differ_by_one_feature_that_one_is_named_alone(seed: int) -> None:
    """Two logistic regressions that share `a` and `c` and differ in `b`: hiding what they share moves both alike in log-odds."""
    ours, theirs = _logistic(a=3.0, c=1.0), _logistic(a=3.0, c=1.0, b=2.0)
    day = np.arange(len(FEATURES)) // 100
    rng = np.random.default_rng(seed)
    found = find_drivers(FEATURES, ours, theirs, rng, scale="log-odds", day=day, most_rows=500)

    assert found is not None
    assert [each.feature for each in found.named] == ["b"]
    assert abs(found.features[-1].narrowed) < 1e-4


def test_work_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """With many features fewer flips are asked about, so that no model is asked for more answers than are allowed."""
    monkeypatch.setattr("windtunnel.backtest.disagreement.drivers.MOST_ANSWERS", 600)
    asked: list[int] = []

    def theirs(rows: pl.DataFrame) -> NDArray[np.float64]:
        asked.append(len(rows))
        return (0.5 * rows["a"] + 0.5 * rows["b"]).to_numpy()

    told = FEATURES["a"].to_numpy(), theirs(FEATURES)
    asked.clear()
    found = find_drivers(FEATURES, lambda rows: rows["a"].to_numpy(), theirs, np.random.default_rng(0), told=told)

    assert found is not None
    assert (sum(asked), found.answers, found.asked) == (600, 600, 50)


def test_a_candidate_of_another_signature_is_refused() -> None:
    """An input that is not logged, an output that is not there, and answers of another shape."""
    ours, theirs = Formula("a", lambda a: a), Formula("az", lambda a, z: a * z)
    wide = Signature(ours.signature.inputs, (Tensor("p", "float64", ("n", 3)),))
    with pytest.raises(DataError, match="the incumbent does not take and the recording does not hold"):
        check_signatures(ours.signature, theirs.signature, FEATURES.columns)
    with pytest.raises(ModelError, match=r"answers a tensor \[3\] a row where the incumbent answers one number"):
        check_signatures(ours.signature, wide, FEATURES.columns)
    with pytest.raises(DataError, match="`z`"):
        ask_session("challenger", theirs)(FEATURES)
    with pytest.raises(ModelError, match="the outputs are: p"):
        ask_session("champion", ours, "q")(FEATURES)
    with pytest.raises(ModelError, match="one number a row"):
        ask_session("champion", Formula("a", lambda a: np.stack([a, a], axis=1)))(FEATURES)
