from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from sklearn import metrics

from windtunnel.errors import ConfigError, DataError, InputError, ModelError
from windtunnel.optimize.metric import user_metric
from windtunnel.optimize.quality import METRICS, Holdout, Quality, check_metric, compare, read_metric
from windtunnel.optimize.slices import SliceDrop
from windtunnel.stats import Interval

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]


def _planted(rows: int, rng: np.random.Generator) -> tuple[Holdout, Floats, Floats]:
    """Labels in queries of ten, and two models' probabilities for them."""
    score = rng.normal(size=rows)
    label = (rng.random(rows) < 1 / (1 + np.exp(-2 * score))).astype(np.float64)
    parent, child = (1 / (1 + np.exp(-2 * score - rng.normal(scale=0.3, size=rows))) for _ in range(2))
    return Holdout({"x": score}, label, np.arange(rows) // 10), parent, child


def _compare(metric: str, label: Floats | None, parent: Floats, child: Floats) -> Quality:
    return compare(metric, Holdout({}, label), parent, child)


BY_SKLEARN: dict[str, Callable[[Floats, Floats], float]] = {
    "roc_auc": metrics.roc_auc_score,
    "average_precision": metrics.average_precision_score,
    "log_loss": metrics.log_loss,
    "brier": metrics.brier_score_loss,
    "accuracy": lambda y, p: metrics.accuracy_score(y, p >= 0.5),
    "mae": metrics.mean_absolute_error,
    "mse": metrics.mean_squared_error,
    "rmse": metrics.root_mean_squared_error,
    "pinball": lambda y, p: metrics.mean_pinball_loss(y, p, alpha=0.5),
    "pinball@0.9": lambda y, p: metrics.mean_pinball_loss(y, p, alpha=0.9),
    "ndcg@5": lambda y, p: metrics.ndcg_score(*_queries(y, p), k=5),
    "ndcg": lambda y, p: metrics.ndcg_score(*_queries(y, p)),
}


def _queries(label: Floats, score: Floats) -> tuple[Floats, Floats]:
    """Queries of ten in which something is relevant."""
    some = label.reshape(-1, 10).any(axis=1)
    return label.reshape(-1, 10)[some], score.reshape(-1, 10)[some]


@pytest.mark.parametrize("metric", sorted(BY_SKLEARN))
def test_against_scikit_learn(metric: str) -> None:
    """Each metric is what scikit-learn says; the drop is the difference of two of them, signed so that worse is above 0."""
    holdout, parent, child = _planted(800, np.random.default_rng(1))
    quality, theirs = compare(metric, holdout, parent, child), BY_SKLEARN[metric]
    label = holdout.label
    assert label is not None
    sign = -1.0 if read_metric(metric).higher_is_better else 1.0

    assert quality.value == pytest.approx(theirs(label, child))
    assert quality.parent_value == pytest.approx(theirs(label, parent))
    assert quality.drop.value == pytest.approx(sign * (theirs(label, child) - theirs(label, parent)), abs=1e-12)
    assert quality.drop.low < quality.drop.value < quality.drop.high
    assert quality.drop.samples == 800


def test_every_metric_is_compared() -> None:
    """The list of metrics is the list of what has been compared above, and of what no other library has."""
    assert set(METRICS) == {each.partition("@")[0] for each in BY_SKLEARN} | {
        "agreement", "cosine", "closeness", "neighbours", "ece",
    }  # fmt: skip


def _material(metric: str) -> tuple[Holdout, Floats, Floats]:
    """What a metric can judge: vectors for those that compare directions, else probabilities."""
    if read_metric(metric).takes != "vector":
        return _planted(800, np.random.default_rng(1))
    rng = np.random.default_rng(1)
    parent = rng.normal(size=(800, 6))
    return Holdout({}, None), parent, parent + 0.1 * rng.normal(size=parent.shape)


@pytest.mark.parametrize("metric", METRICS)
def test_a_twin_loses_nothing(metric: str) -> None:
    """A child that answers as its parent does loses nothing, with groups and without, and is proven where rows are enough."""
    holdout, parent, _ = _material(metric)
    quality = compare(metric, holdout, parent, parent.copy())

    assert quality.drop.value == 0.0
    assert quality.judge(0.05) == "proven"
    assert compare(metric, holdout.first(40), parent[:40], parent[:40]).judge(0.01) == "not-proven"


@pytest.mark.parametrize("metric", METRICS)
def test_same_seed_same_interval(metric: str) -> None:
    """The same rows and seed give the same quality, bit for bit, and JSON can hold it."""
    holdout, parent, child = _material(metric)
    first, second = (compare(metric, holdout, parent, child, seed=3, resamples=200) for _ in range(2))

    assert first == second
    assert json.loads(json.dumps(first.to_dict(), allow_nan=False))["metric"] == metric


@pytest.mark.parametrize(
    ("low", "high", "judgement"),
    [
        (-0.02, 0.009, "proven"),
        (-0.02, 0.01, "proven"),
        (0.002, 0.011, "not-proven"),
        (0.01, 0.02, "not-proven"),
        (0.011, 0.02, "worse"),
        (-math.inf, math.inf, "not-proven"),
    ],
)
def test_judgement(low: float, high: float, judgement: str) -> None:
    """Proven where the whole interval is within the tolerance, worse where none of it is, else not proven."""
    assert Quality("mae", 0.5, Interval((low + high) / 2, low, high, 100, 0.95)).judge(0.01) == judgement


def test_judgement_in_a_slice() -> None:
    """A child that is proven on all rows is worse all the same where a slice is shown to lose beyond the tolerance."""
    whole, part = Interval(0.0, -0.002, 0.002, 5000, 0.95), Interval(0.1, 0.04, 0.16, 200, 0.95)
    quality = Quality("accuracy", 0.9, whole, slices=(SliceDrop("origin", "= JFK", 200, part),))

    assert quality.worst_slice is quality.slices[0]
    assert quality.judge(0.01) == "worse"
    assert quality.reason(0.01) == "loses at least 0.0400 accuracy where origin = JFK (200 rows); allowed 0.01"
    assert quality.judge(0.05) == "proven"
    assert quality.reason(0.05) == "proven: loses at most 0.0020 accuracy; allowed 0.05"


def test_planted_children() -> None:
    """A child that is much worse is called worse, one that is hardly worse is proven."""
    rng = np.random.default_rng(1)
    label = rng.integers(2, size=4000).astype(np.float64)
    parent = np.where(label > 0, 0.8, 0.2)
    flips = rng.random(4000)
    bad, good = (np.where(flips < share, 1 - parent, parent) for share in (0.1, 0.002))
    holdout = Holdout({}, label, np.arange(4000) // 10)

    for metric in METRICS:
        if read_metric(metric).takes != "vector":
            assert compare(metric, holdout, parent, bad, resamples=500).judge(0.01) == "worse", metric
            assert compare(metric, holdout, parent, good, resamples=500).judge(0.02) == "proven", metric


@pytest.mark.parametrize("rows", [1, 2, 10, 100, 10_000])
def test_no_disagreement_leaves_room(rows: int) -> None:
    """Rows that all agree leave room for about four that would not, however many they are."""
    same = np.full(rows, 0.9)
    for metric in ("agreement", "accuracy"):
        drop = _compare(metric, np.ones(rows), same, same).drop

        assert drop.value == 0.0
        assert drop.high == pytest.approx(1.96**2 / (rows + 1.96**2), rel=1e-3)
        assert drop.low == -drop.high


@pytest.mark.parametrize("metric", ["roc_auc", "ndcg", "neighbours"])
def test_a_twin_on_few_rows_is_not_proven_to_the_last_bit(metric: str) -> None:
    """Nothing that changed on a few rows does not prove that nothing would: 20 of each class, 30 queries, 200 vectors."""
    rows = {"roc_auc": 40, "ndcg": 300, "neighbours": 200}[metric]
    told = np.random.default_rng(1).normal(size=(200, 8)) if metric == "neighbours" else np.linspace(0.0, 1.0, rows)
    holdout = Holdout({}, np.tile([0.0, 1.0], rows // 2), np.arange(rows) // 10 if metric == "ndcg" else None)

    assert compare(metric, holdout, told, told).judge(0.0001) == "not-proven"
    assert compare(metric, holdout, told, told).judge(0.2) == "proven"


def test_queries_without_an_order_are_no_witnesses() -> None:
    """Of 60 queries, 40 have nothing relevant or nothing else: the 20 left are too few, and it is said how many rows would do."""
    label = np.tile([0.0, 1.0], 150)
    label[100:200], label[200:] = 0.0, 2.0
    told = np.linspace(0.0, 1.0, 300)
    quality = compare("ndcg", Holdout({}, label, np.arange(300) // 5), told, told)

    assert quality.judge(1.0) == "not-proven"
    assert quality.rows_needed(0.01) == 450


@pytest.mark.parametrize("sides", [(0.9, 0.1), (0.1, 0.9)])
def test_all_rows_differ(sides: tuple[float, float]) -> None:
    """A child that decides every row otherwise has lost, or won, them all, as far as an interval can say."""
    parent, child = (np.full(50, side) for side in sides)
    drop = _compare("accuracy", np.ones(50), parent, child).drop

    assert drop.value == (1.0 if sides == (0.9, 0.1) else -1.0)
    assert -1.0 <= drop.low < drop.high <= 1.0


def test_several_classes() -> None:
    """Of several classes the largest decides, as logits or as probabilities; the losses are scikit-learn's."""
    rng = np.random.default_rng(2)
    label = rng.integers(3, size=600).astype(np.float64)
    logits = rng.normal(size=(2, 600, 3)) + 2.0 * np.eye(3)[label.astype(np.int64)]
    parent, child = np.exp(logits) / np.exp(logits).sum(axis=2, keepdims=True)
    hits = child.argmax(axis=1) == label

    assert _compare("accuracy", label, parent, child).value == pytest.approx(hits.mean())
    assert _compare("accuracy", label, logits[0], logits[1]).value == pytest.approx(hits.mean())
    assert _compare("agreement", None, *logits).value == np.mean(parent.argmax(axis=1) == child.argmax(axis=1))
    assert _compare("log_loss", label, parent, child).value == pytest.approx(metrics.log_loss(label, child))
    assert _compare("brier", label, parent, child).value == pytest.approx(
        ((child - np.eye(3)[label.astype(np.int64)]) ** 2).sum(axis=1).mean()
    )


def test_two_columns_are_one_probability() -> None:
    """Two classes that sum to 1 are judged as the second of them; two logits order rows by their difference."""
    holdout, parent, child = _planted(600, np.random.default_rng(3))
    columns = [np.stack([1.0 - each, each], axis=1) for each in (parent, child)]
    logits = [np.log(each) + 3.0 for each in columns]

    for metric in ("roc_auc", "log_loss", "accuracy", "ece", "mae"):
        assert compare(metric, holdout, *columns) == compare(metric, holdout, parent, child), metric
    assert compare("roc_auc", holdout, *logits).value == pytest.approx(compare("roc_auc", holdout, parent, child).value)


def _named(told: Floats) -> dict[str, NDArray[Any]]:
    return {"other": np.zeros(len(told)), "p": told.astype(np.float32)[:, None]}


def test_outputs_by_name() -> None:
    """A model's outputs may be given as they are; the one that is judged is named, the first where none is."""
    holdout, parent, child = _planted(600, np.random.default_rng(3))
    before, after = (_named(each) for each in (parent, child))

    assert compare("roc_auc", holdout, before, after, output="p").value == pytest.approx(
        compare("roc_auc", holdout, parent, child).value, abs=1e-6
    )
    assert compare("mae", holdout, before, after).drop.value == 0.0
    with pytest.raises(ConfigError, match="is not an output of int8; known: other, p"):
        compare("roc_auc", holdout, parent, after, name="int8", output="probability")


def _at_the_tolerance(metric: str, rows: int, drop: float, rng: np.random.Generator) -> Quality:
    """A child whose true drop is the tolerance itself: the hardest that must not be proven."""
    label, noise = np.ones(rows), rng.random(rows)
    lost, won = noise < 0.03 + drop, (noise >= 0.03 + drop) & (noise < 0.06 + drop)
    if metric == "agreement":
        return _compare(metric, None, np.full(rows, 0.9), np.where(noise < drop, 0.1, 0.9))
    if metric == "accuracy":
        return _compare(metric, label, np.where(won, 0.1, 0.9), np.where(lost, 0.1, 0.9))
    error = rng.normal(size=rows)
    return _compare(metric, label, label + error, label + np.abs(error) + drop + rng.normal(scale=0.1, size=rows))


@pytest.mark.parametrize(
    ("metric", "rows", "drop"),
    [("agreement", 300, 0.01), ("agreement", 2000, 0.01), ("accuracy", 1000, 0.01), ("mae", 500, 0.05)],
)
def test_what_is_at_the_tolerance_is_seldom_proven(metric: str, rows: int, drop: float) -> None:
    """A child whose true drop equals the tolerance is proven in at most one case of forty, however few rows differ."""
    rng = np.random.default_rng(5)
    proven = sum(_at_the_tolerance(metric, rows, drop, rng).judge(drop) == "proven" for _ in range(400))

    assert proven <= 400 * 0.025 + 2.6 * math.sqrt(400 * 0.025 * 0.975)


def test_the_interval_of_decisions_covers() -> None:
    """The interval of the lost share covers the truth in about 95 of 100 repetitions, with few differences too."""
    rng = np.random.default_rng(6)
    covered = 0
    for _ in range(400):
        drop = _at_the_tolerance("accuracy", 200, 0.02, rng).drop
        covered += drop.low <= 0.02 <= drop.high

    assert 400 * 0.95 - 2.6 * math.sqrt(400 * 0.95 * 0.05) <= covered


def test_rows_that_would_prove_it() -> None:
    """Four times the rows halve the interval; where the estimate itself is beyond the tolerance, no number would do."""
    wide = Quality("mae", 0.5, Interval(0.0, -0.02, 0.02, 100, 0.95))

    assert wide.rows_needed(0.01) == 400
    assert wide.reason(0.01) == "may lose up to 0.0200 mae; allowed 0.01; about 400 held-out rows would tell"
    assert wide.rows_needed(0.0) is None
    assert wide.reason(0.0).endswith("more rows are not likely to prove it")
    assert Quality("mae", 0.5, Interval(0.0, -math.inf, math.inf, 1, 0.95)).rows_needed(0.01) is None
    assert Quality("roc_auc", 0.5, Interval(math.nan, -math.inf, math.inf, 1, 0.95)).rows_needed(0.01) is None


@pytest.mark.parametrize(
    ("metric", "label", "groups", "needed"),
    [
        ("mae", np.tile([0.0, 1.0], 50), None, 500),
        ("rmse", np.tile([0.0, 1.0], 50), None, 500),
        ("roc_auc", np.repeat([0.0, 1.0], [90, 10]), None, 200),
        ("accuracy", np.tile([0.0, 1.0], 50), np.arange(100) // 20, 600),
    ],
)
def test_too_few_rows(metric: str, label: Floats, groups: Any, needed: int) -> None:
    """Too few rows, rows of one class or groups prove nothing, and the way out is so many rows."""
    told = np.linspace(0.0, 1.0, 100)
    quality = compare(metric, Holdout({}, label, groups), told, told)

    assert quality.rows_needed(0.01) == needed
    assert quality.judge(1.0) == "not-proven"
    assert quality.to_dict()["quality_drop_high"] is None
    assert quality.reason(0.01) == (
        f"100 held-out rows are too few to say anything of {metric}; at least {needed} are needed"
    )


def test_what_is_told_beside_the_drop() -> None:
    """Flips, calibration and the largest change are told where the answers are probabilities, and only then."""
    holdout, parent, child = _planted(600, np.random.default_rng(4))
    found = compare("roc_auc", holdout, parent, child)
    vectors = np.stack([parent, child, parent - child], axis=1) * 5.0

    assert found.flips is not None
    assert found.flips.share == np.mean((parent >= 0.5) != (child >= 0.5))
    assert found.calibration is not None
    assert found.calibration.shift == pytest.approx(np.mean(child - parent))
    assert found.largest is not None
    assert found.largest.row == np.abs(child - parent).argmax()
    assert compare("cosine", holdout, vectors, vectors).flips is None
    assert compare("rmse", holdout, parent, child).flips is None
    assert compare("ndcg", holdout, parent, child).flips is None
    assert compare("rmse", holdout, parent * 9, child * 9).calibration is None
    assert (
        compare(user_metric(lambda y, p: float(np.mean((p > 0.5) == y)), "hits"), holdout, parent, child).flips
        == found.flips
    )


LABEL = np.array([0.0, 1.0, 1.0])


@pytest.mark.parametrize(
    ("metric", "label", "error", "words"),
    [
        ("auc", LABEL, ConfigError, "`metric` (='auc') is not a metric; did you mean `roc_auc`"),
        ("f1", LABEL, ConfigError, "is not a metric; known: accuracy, agreement"),
        ("log_loss", None, DataError, "are needed for log_loss; name the label column, or use the metric agreement"),
        ("mae", None, DataError, "are needed for mae"),
        ("roc_auc", LABEL * 2, DataError, "must be 0 and 1 for roc_auc; use accuracy or log_loss for several classes"),
        ("accuracy", LABEL * np.nan, DataError, "must be 0 and 1, or class numbers 0, 1, 2 … for accuracy"),
        ("log_loss", LABEL - 0.5, DataError, "must be 0 and 1, or class numbers"),
        ("rmse", LABEL + np.inf, DataError, "must be numbers for rmse"),
        ("roc_auc", LABEL * 0, DataError, "are all of one class, so roc_auc says nothing; hold out more rows"),
        ("ndcg@3", LABEL, DataError, "`groups` are needed for ndcg@3; name the column of queries"),
        ("ndcg@3", LABEL - 1.0, DataError, "must be how relevant a row is, 0 or more for ndcg@3"),
    ],
)
def test_metrics_that_cannot_be_had(metric: str, label: Floats | None, error: type[InputError], words: str) -> None:
    """A metric that is not known, or that the labels cannot carry, is refused before any work."""
    with pytest.raises(error) as refusal:
        check_metric(metric, Holdout({"x": np.ones(3)}, label))

    assert words in str(refusal.value)


@pytest.mark.parametrize("metric", METRICS)
def test_metrics_that_can_be_had(metric: str) -> None:
    """Labels of two classes in groups carry every metric, before the parent has answered."""
    check_metric(metric, Holdout({"x": np.ones(3)}, LABEL, np.zeros(3)))


PROBABILITY, LOGITS = np.array([0.2, 0.7, 0.9]), np.array([[2.0, -1.0, 0.5]] * 3)


@pytest.mark.parametrize(
    ("metric", "told", "words"),
    [
        (
            "log_loss",
            PROBABILITY * 9,
            "`fp32` gives [rows] from 1.8 to 8.1 where log_loss needs probabilities; put the",
        ),
        (
            "log_loss",
            LOGITS,
            "gives [rows, 3] from -1 to 2 where log_loss needs probabilities; if these are logits, put",
        ),
        ("ece", LOGITS, "if these are logits, put the softmax into the model"),
        ("brier", np.array([0, 1, 1]), "gives whole numbers [rows] from 0 to 1 where brier needs probabilities"),
        ("agreement", PROBABILITY * 9, "use closeness for numbers and cosine for vectors (no labels)"),
        ("agreement", LOGITS / np.linalg.norm(LOGITS[0]), "use closeness for numbers and cosine for vectors"),
        ("accuracy", PROBABILITY[:, None, None] * np.ones((3, 2, 2)), "gives [rows, 2, 2]"),
        ("roc_auc", LOGITS, "where roc_auc needs one score a row"),
        ("cosine", PROBABILITY, "where cosine needs vectors; use agreement for decisions"),
        ("cosine", LOGITS, "gives the same answer for every row"),
        (
            "cosine",
            LOGITS * np.array([[1.0], [0.0], [2.0]]),
            "gives 1 vectors of zeros, which have no direction, first in row 1",
        ),
        ("closeness", np.ones(3), "gives the same answer for every row"),
        ("mae", LOGITS, "gives [rows, 3] from -1 to 2 where labels are [3]"),
    ],
)
def test_answers_that_cannot_be_judged(metric: str, told: Any, words: str) -> None:
    """What the parent answers is looked at before any child is made, and the refusal names the way out."""
    with pytest.raises(ModelError) as refusal:
        check_metric(metric, Holdout({"x": np.ones(3)}, LABEL), told, "fp32")

    assert words in str(refusal.value)


@pytest.mark.parametrize(
    ("told", "words"),
    [
        (PROBABILITY, "`fp32` gives one probability a row where a label is 4"),
        (np.full((3, 4), 0.25), "`fp32` tells 4 classes apart where a label is 4; number the classes from 0"),
    ],
)
def test_labels_beyond_the_classes(told: Floats, words: str) -> None:
    """A label that the model has no class for is refused."""
    with pytest.raises(ModelError) as refusal:
        check_metric("accuracy", Holdout({}, LABEL * 4), told, "fp32")

    assert words in str(refusal.value)


@pytest.mark.parametrize(
    ("holdout", "words"),
    [
        (Holdout({"x": np.ones(4)}, LABEL), "`labels` has 3 rows where input x has 4"),
        (Holdout({"x": np.ones(3)}, LABEL, np.ones(2)), "`groups` has 2 rows where input x has 3"),
        (Holdout({"x": np.ones(3)}, LABEL, None, {"port": np.ones(9)}), "`slice port` has 9 rows"),
        (Holdout({"x": np.ones(2)}, None), "`answers of fp32` has 3 rows where input x has 2"),
        (Holdout({"x": np.ones(0)}, None), "`answers of fp32` has 3 rows where input x has 0"),
    ],
)
def test_unequal_rows(holdout: Holdout, words: str) -> None:
    """Inputs, labels, groups, slices and answers have one entry a row."""
    with pytest.raises(DataError) as refusal:
        check_metric("agreement", holdout, PROBABILITY, "fp32")

    assert words in str(refusal.value)


def test_no_rows() -> None:
    """Nothing held out judges nothing, and ten neighbours are not found among three rows."""
    with pytest.raises(DataError, match="`input x` has no rows"):
        check_metric("agreement", Holdout({"x": np.ones(0)}, None))
    with pytest.raises(DataError, match=r"`rows held out` are 3 where neighbours@10 needs 12; hold out more"):
        check_metric("neighbours@10", Holdout({}, None), LOGITS * np.arange(1, 4)[:, None], "fp32")


@pytest.mark.parametrize("child", [np.ones((3, 2)), np.ones(2), np.array([0, 1, 1])])
def test_children_of_another_shape(child: Any) -> None:
    """A child that answers in another shape, or in whole numbers, is no child."""
    with pytest.raises(ModelError, match=r"`int8` gives .* where its parent gives \[rows\] from 0.2 to 0.9"):
        compare("agreement", Holdout({}, None), PROBABILITY, child, name="int8")


def test_the_first_rows() -> None:
    """The first rows of a holdout are the first of all that it holds."""
    first = Holdout({"x": np.arange(5)}, np.arange(5.0), np.arange(5), {"a": np.arange(5)}).first(2)

    assert first.label is not None
    assert first.groups is not None
    assert (len(first.feeds["x"]), len(first.slices["a"]), len(first.label), len(first.groups)) == (2, 2, 2, 2)
