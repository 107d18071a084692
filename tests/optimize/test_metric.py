from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import pytest

from windtunnel.errors import ConfigError, UserCodeError
from windtunnel.optimize.metric import METRICS, read_metric
from windtunnel.optimize.quality import Holdout, compare

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Draw = Callable[[np.random.Generator], tuple[Holdout, Floats, Floats]]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("acuracy", "`metric` (='acuracy') is not a metric; did you mean `accuracy`?"),
        ("accuracy@3", "(='accuracy@3') is not a metric"),
        ("ndcg@0", "(='ndcg@0') counts no rows; write ndcg@10"),
        ("neighbours@1.5", "(='neighbours@1.5') counts no rows; write neighbours@10"),
        ("neighbours@101", "(='neighbours@101') counts too many neighbours; write neighbours@100 or fewer"),
        ("pinball@1", "(='pinball@1') is no quantile between 0 and 1; write pinball@0.9"),
        ("pinball@.9.", "is no quantile between 0 and 1"),
        ("", "is not a metric; known: accuracy, agreement"),
    ],
)
def test_metrics_that_are_none(text: str, words: str) -> None:
    """A name that is not known, or a number that a metric cannot have, is refused with the way out."""
    with pytest.raises(ConfigError) as refusal:
        read_metric(text)

    assert words in str(refusal.value)


@pytest.mark.parametrize("name", METRICS)
def test_every_metric_says_what_it_is(name: str) -> None:
    """Every metric has its name, a unit and a way that is better; shares of one are those that are better when more, and ECE."""
    metric = read_metric(name)

    assert metric.name == name
    assert metric.unit
    assert metric.share == (metric.higher_is_better or name == "ece")


THEIRS = """
def within(labels, predictions):
    return float((abs(labels - predictions) < 0.5).mean())

def off(labels, predictions):
    return float(abs(labels - predictions).mean())
off.lower_is_better = True

def raises(labels, predictions):
    return labels[len(labels)]

def words(labels, predictions):
    return "good"

def nothing(labels, predictions):
    return float("nan")

def greedy(labels, predictions):
    labels[:] = 0.0
    predictions[:] = 0.0
    return 1.0
"""


@pytest.fixture
def theirs(tmp_path: Path) -> Path:
    """A folder with a user's metrics."""
    (tmp_path / "metrics.py").write_text(THEIRS)
    return tmp_path


def _two(rng: np.random.Generator, rows: int = 600) -> tuple[Holdout, Floats, Floats]:
    label = rng.normal(size=rows)
    parent = label + 0.5 * rng.normal(size=rows)
    return Holdout({}, label), parent, parent + 0.3 * rng.normal(size=rows)


def test_a_metric_of_the_users(theirs: Path) -> None:
    """A user's function is a metric: more is better unless it says that less is, and its interval is that of the rows."""
    holdout, parent, child = _two(np.random.default_rng(1))
    within, off = (read_metric(f"metrics.py:{name}", theirs) for name in ("within", "off"))
    found, known = compare(off, holdout, parent, child), compare("mae", holdout, parent, child)

    assert (within.higher_is_better, off.higher_is_better) == (True, False)
    assert compare(within, holdout, parent, child).drop.value > 0.0
    assert found.drop.value == pytest.approx(known.drop.value)
    assert found.drop.low == pytest.approx(known.drop.low, abs=0.1 * (known.drop.high - known.drop.low))
    assert found.drop.high == pytest.approx(known.drop.high, abs=0.1 * (known.drop.high - known.drop.low))


def test_a_users_metric_changes_nothing(theirs: Path) -> None:
    """A function that writes into what it is given writes into copies."""
    holdout, parent, child = _two(np.random.default_rng(1))
    before = child.copy()
    compare(read_metric("metrics.py:greedy", theirs), holdout, parent, child)

    assert (child == before).all()


@pytest.mark.parametrize(
    ("name", "error", "words"),
    [
        ("raises", UserCodeError, "return labels[len(labels)]"),
        ("words", ConfigError, "did not return a number; return one float"),
        ("nothing", ConfigError, "is not finite on the rows held out"),
    ],
)
def test_users_metrics_that_fail(theirs: Path, name: str, error: type[Exception], words: str) -> None:
    """What the user's function raises is shown as theirs, and what is no number is refused."""
    holdout, parent, child = _two(np.random.default_rng(1))
    with pytest.raises(error) as refusal:
        compare(read_metric(f"metrics.py:{name}", theirs), holdout, parent, child)

    assert words in str(refusal.value)


def test_a_metric_that_is_not_there(theirs: Path) -> None:
    """A function that the file does not have is refused with the nearest that it has."""
    with pytest.raises(ConfigError, match="did you mean `within`"):
        read_metric("metrics.py:witin", theirs)


def _rmse(rng: np.random.Generator) -> tuple[Holdout, Floats, Floats]:
    label = rng.standard_t(8, size=500)
    parent = label + rng.normal(size=500)
    return Holdout({}, label), parent, parent + 0.5 * rng.normal(size=500)


def _pinball(rng: np.random.Generator) -> tuple[Holdout, Floats, Floats]:
    label = rng.exponential(size=500)
    told = np.full(500, math.log(10.0))
    return Holdout({}, label), told, told - 0.5


def _cosine(rng: np.random.Generator) -> tuple[Holdout, Floats, Floats]:
    parent = rng.normal(size=(300, 8))
    return Holdout({}, None), parent, parent + rng.exponential(0.2, size=(300, 1)) * rng.normal(size=(300, 8))


def _closeness(rng: np.random.Generator) -> tuple[Holdout, Floats, Floats]:
    parent = rng.normal(size=500)
    return Holdout({}, None), parent, parent + 0.2 * rng.normal(size=500)


PINBALL_DROP = 10**-1 * (math.exp(0.5) - 1.0) - 0.1 * 0.5
"""The mean loss of Exp(1) at q is e^−q + 0.1 (q − 1), here from q = ln 10, its 0.9 quantile, to half a unit below."""

COSINE_DROP = 0.03556
"""Of five million rows drawn as `_cosine` draws them."""


@pytest.mark.parametrize(
    ("metric", "draw", "truth"),
    [
        ("rmse", _rmse, math.sqrt(1.25) - 1.0),
        ("pinball@0.9", _pinball, PINBALL_DROP),
        ("cosine", _cosine, COSINE_DROP),
        ("closeness", _closeness, 0.04),
    ],
)
def test_intervals_cover(metric: str, draw: Draw, truth: float) -> None:
    """The interval holds the truth in about 95 of 100 draws, and proves a drop that is there in about one of forty."""
    rng, draws = np.random.default_rng(11), 200
    drops = [compare(metric, *draw(rng), seed=each, resamples=300).drop for each in range(draws)]
    covered = sum(drop.low <= truth <= drop.high for drop in drops)
    proven = sum(drop.high < truth for drop in drops)

    assert covered >= draws * 0.95 - 3.0 * math.sqrt(draws * 0.95 * 0.05)
    assert proven <= draws * 0.025 + 3.0 * math.sqrt(draws * 0.025 * 0.975)
