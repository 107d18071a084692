"""Flips, counted by hand."""

from __future__ import annotations

import numpy as np
import pytest

from windtunnel.backtest.disagreement import KINDS, Flips, draw
from windtunnel.errors import ConfigError, DataError

LABEL = np.array([1.0, 1.0, 0.0, 0.0, 1.0, np.nan])
OURS = np.array([0.9, 0.1, 0.2, 0.9, 0.7, 0.1])
THEIRS = np.array([0.1, 0.9, 0.1, 0.2, 0.5, 0.9])


def test_flips_are_counted_by_who_was_right() -> None:
    """One negative flip, two positive ones, one of which nobody knows; the rates are over labelled rows."""
    told = Flips.of(LABEL, OURS, THEIRS).to_dict()

    assert told == {
        "rows": 6, "flips": 4, "labelled": 5, "both_right": 2, "right_to_wrong": 1, "wrong_to_right": 2,
        "wrong_to_wrong": 0, "flips_not_known": 1, "to_yes": 2, "to_no": 2, "negative_flip_rate": 0.2,
        "positive_flip_rate": 0.4,
    }  # fmt: skip


def test_each_model_may_have_a_threshold_of_its_own() -> None:
    """At its own threshold a candidate on another scale decides as the incumbent does."""
    assert len(Flips.of(LABEL, OURS, OURS / 2.0).rows) > 0
    assert len(Flips.of(LABEL, OURS, OURS / 2.0, 0.5, 0.25).rows) == 0


def test_classes_flip_where_the_likeliest_does() -> None:
    """From one wrong class to another is a flip of its own kind."""
    ours = np.array([[0.8, 0.1, 0.1], [0.8, 0.1, 0.1]])
    theirs = np.array([[0.1, 0.8, 0.1], [0.1, 0.1, 0.8]])
    flips = Flips.of(np.array([2.0, 2.0]), ours, theirs)

    assert [KINDS[code] for code in flips.kind] == ["both wrong otherwise", "wrong to right"]


def test_what_cannot_be_compared_is_refused() -> None:
    """Another signature, and a threshold that is none."""
    with pytest.raises(DataError, match="another signature"):
        Flips.of(LABEL, OURS, np.ones((6, 3)))
    with pytest.raises(ConfigError, match="is no number"):
        Flips.of(LABEL, OURS, THEIRS, float("nan"))


def test_models_that_agree_are_said_to() -> None:
    """No flip at all, and nothing asked at all, still make a section."""
    assert "0 of 6 requests (0.00%)" in draw("challenger", Flips.of(LABEL, OURS, OURS)).sentences[0]
    assert "0 of 0 requests" in draw("challenger", Flips.of(LABEL[:0], OURS[:0], OURS[:0])).sentences[0]
