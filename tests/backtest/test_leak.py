from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import polars as pl
import pytest

from windtunnel.backtest.leak import leak_test
from windtunnel.backtest.replay import backtest
from windtunnel.errors import DataError
from windtunnel.recording import LABEL, LABEL_TIME, TIME, Recording

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    from windtunnel.backtest.comparison import Comparison

    Floats = NDArray[np.float64]


def honest(
    recording: Recording, predictions: Mapping[str, Floats], *, corrections: pl.DataFrame | None = None
) -> Comparison:
    return backtest(
        recording, predictions, incumbent="a", candidates=["b", "c"], horizon_s=2 * 86400.0, corrections=corrections
    )


def calibrated_on_final_labels(recording: Recording, predictions: Mapping[str, Floats]) -> Comparison:
    """Leaks: the candidate is shifted to the final share of ones."""
    share = float(recording.frame[LABEL].to_numpy()[~np.isnan(recording.frame[LABEL].to_numpy())].mean())
    return honest(recording, {**predictions, "b": np.clip(predictions["b"] + share / 10.0, 0.0, 1.0)})


def known_when_asked(recording: Recording, predictions: Mapping[str, Floats]) -> Comparison:
    """Leaks: every label that ever came is taken as known at once."""
    at_once = pl.when(pl.col(LABEL_TIME).is_not_null()).then(pl.col(TIME)).alias(LABEL_TIME)
    return honest(Recording(recording.name, recording.frame.with_columns(at_once)), predictions)


def without_those_that_never_came(recording: Recording, predictions: Mapping[str, Floats]) -> Comparison:
    """Leaks: which requests would never get a label is known only at the end."""
    kept = recording.frame[LABEL].is_not_null()
    rows = kept.to_numpy()
    return honest(Recording(recording.name, recording.frame.filter(kept)), {n: p[rows] for n, p in predictions.items()})


def normalised_over_everything(recording: Recording, predictions: Mapping[str, Floats]) -> Comparison:
    """Leaks: the candidate's scores are put on a scale that only the last of them reaches."""
    low, high = float(predictions["b"].min()), float(predictions["b"].max())
    ranks = predictions["b"].argsort().argsort() / len(recording)
    return honest(recording, {**predictions, "b": np.clip(ranks * (high - low) + low, 0.0, 1.0)})


def with_tomorrows_features(recording: Recording, predictions: Mapping[str, Floats]) -> Comparison:
    """Leaks: the candidate is fed with a feature of the request a day's traffic later."""
    shifted = recording.frame["load"].shift(-20, fill_value=0.5).to_numpy()
    return honest(recording, {**predictions, "b": np.clip(0.9 * predictions["b"] + 0.1 * shifted, 0.0, 1.0)})


def fitted_on_what_was_to_come(recording: Recording, predictions: Mapping[str, Floats]) -> Comparison:
    """Leaks: the candidate's slope was fitted on the labels of the whole recording."""
    label = recording.frame[LABEL].to_numpy()
    known = ~np.isnan(label)
    slope = float(np.polyfit(predictions["b"][known], label[known], 1)[0])
    return honest(recording, {**predictions, "b": np.clip(predictions["b"] * slope, 0.0, 1.0)})


def corrected_at_once(
    recording: Recording, predictions: Mapping[str, Floats], *, corrections: pl.DataFrame | None = None
) -> Comparison:
    """Leaks: a corrected label counts as corrected from the first."""
    assert corrections is not None
    right = corrections.select("id", truth="label")
    frame = recording.frame.join(right, on="id", how="left", maintain_order="left")
    told = frame.with_columns(pl.coalesce("truth", LABEL).alias(LABEL)).drop("truth")
    return honest(Recording(recording.name, told), predictions)


@pytest.fixture(scope="module")
def traffic(make_traffic: Callable[..., tuple[Recording, Floats]]) -> tuple[Recording, dict[str, Floats]]:
    recording, truth = make_traffic(60, per_day=20)
    rng = np.random.default_rng(1)
    recording = Recording(recording.name, recording.frame.with_columns(load=pl.Series(rng.random(len(recording)))))
    return recording, {name: np.clip(truth + rng.normal(0.0, 0.1, len(truth)), 0.01, 0.99) for name in "abc"}


def test_nothing_said_hangs_on_a_later_label(traffic: tuple[Recording, dict[str, Floats]]) -> None:
    """Deleting or scrambling all labels known after a look moves no count, metric or bound up to it by a single bit."""
    checks = leak_test(*traffic, honest, np.random.default_rng(2), times=8)

    assert len(checks) == 16
    assert all(check.passed for check in checks)
    assert {check.change for check in checks} == {"deleted", "scrambled"}
    assert min(check.labels for check in checks) > 0
    assert max(check.looks for check in checks) > 30


@pytest.mark.parametrize(
    "leaky",
    [
        calibrated_on_final_labels, known_when_asked, without_those_that_never_came, normalised_over_everything,
        with_tomorrows_features, fitted_on_what_was_to_come,
    ],
)  # fmt: skip
def test_planted_leaks_are_found(
    traffic: tuple[Recording, dict[str, Floats]], leaky: Callable[[Recording, Mapping[str, Floats]], Comparison]
) -> None:
    """A variant that uses final labels is caught at every look, and the series that moved are named."""
    checks = leak_test(*traffic, leaky, np.random.default_rng(2), times=3)

    assert not any(check.passed for check in checks if check.change == "scrambled")
    assert any("of b" in name or name == "matured" for check in checks for name in check.moved)


def corrected(recording: Recording) -> pl.DataFrame:
    """A third of the labels that came turn out to be wrong, half a day later."""
    wrong = recording.frame.filter(pl.col(LABEL).is_not_null()).gather_every(3)
    return wrong.select("id", (1.0 - pl.col(LABEL)).alias(LABEL), pl.col(LABEL_TIME).dt.offset_by("12h"))


def test_corrections_come_when_they_are_known(traffic: tuple[Recording, dict[str, Floats]]) -> None:
    """Deleting and scrambling later corrections moves nothing that was said before them."""
    corrections = corrected(traffic[0])

    assert all(
        check.passed
        for check in leak_test(*traffic, honest, np.random.default_rng(2), times=3, corrections=corrections)
    )


def test_corrections_used_too_early_are_found(traffic: tuple[Recording, dict[str, Floats]]) -> None:
    """A replay that takes each label as it was corrected later is caught."""
    rng, corrections = np.random.default_rng(2), corrected(traffic[0])
    checks = leak_test(*traffic, corrected_at_once, rng, times=3, corrections=corrections)

    assert not any(check.passed for check in checks if check.change == "deleted")


def test_a_recording_too_short_to_look_at_is_refused(make_recording: Callable[..., Recording]) -> None:
    """Where no look lies between the first and the last request there is nothing to test, and that is said."""
    recording = make_recording([0, 10], [2 * 86_400_000_000] * 2, [0.0, 1.0])

    with pytest.raises(DataError, match="has no look between its first and last request"):
        leak_test(recording, {name: np.full(2, 0.5) for name in "abc"}, honest, np.random.default_rng(0))


def test_a_label_known_at_the_very_look_is_left_alone(make_recording: Callable[..., Recording]) -> None:
    """What became known exactly at a look was known as of it, so the test does not touch it and an honest replay passes."""
    day = 86_400_000_000
    time = [each * day + 5 for each in range(12)]
    recording = make_recording(time, [(each + 1) * day for each in range(12)], [float(each % 2) for each in range(12)])
    predictions = {name: np.linspace(0.1, 0.9, 12) for name in "abc"}

    assert all(check.passed for check in leak_test(recording, predictions, honest, np.random.default_rng(0)))
