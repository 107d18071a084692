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
    drivers = {each.feature: each for each in find_drivers(FEATURES, ours, theirs, np.random.default_rng(1))}

    assert next(iter(drivers)) == "b"
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
        return {each.feature: (each.narrowed, each.low, each.high) for each in found}

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

    assert find_drivers(FEATURES, same, same, np.random.default_rng(0)) == ()


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
