"""`windtunnel backtest`: a recording with logged predictions, from a file of its own."""

from __future__ import annotations

import importlib
import json
import shutil
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import polars as pl
import pytest
from onnx import numpy_helper

from windtunnel.bundle import write_bundle
from windtunnel.config import read_backtest
from windtunnel.runtime import open_session
from windtunnel.source import load_function
from windtunnel.variant import Variant

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.cli.conftest import Command


def test_document(windtunnel: Command) -> None:
    """The challenger that is truly better wins, and the document has the keys that were promised."""
    ran = windtunnel("backtest", "backtest.toml", "--json")

    assert (ran.code, ran.document["verdict"], ran.document["winner"]) == (0, "go", "challenger")
    assert datetime.fromisoformat(ran.document["decided_at"]) <= datetime.fromisoformat("2024-03-01T00:00:00+00:00")
    (challenger,) = ran.document["candidates"]
    assert {"name", "matured", "metric", "difference", "difference_low", "difference_high", "e_value"} <= set(
        challenger
    )
    assert challenger["difference_low"] <= challenger["difference"] <= challenger["difference_high"] < 0
    assert "leak_test" not in ran.document


def test_timeline(home: Path, windtunnel: Command) -> None:
    """At each look every request that was asked is matured, expired or pending, by the definitions, counted by hand."""
    rows = pl.read_parquet(home / "logged.parquet")
    asked = rows["asked_at"].to_numpy().astype("datetime64[us]")
    known = rows["known_at"].to_numpy().astype("datetime64[us]")
    timeline = windtunnel("backtest", "backtest.toml", "--json").document["timeline"]

    assert {each["name"] for each in timeline} == {"champion", "challenger"}
    for look in timeline:
        as_of = np.datetime64(datetime.fromisoformat(look["as_of"]).replace(tzinfo=None))
        was_asked = asked < as_of
        matured = was_asked & (known <= as_of) & (known - asked <= np.timedelta64(timedelta(days=7)))
        expired = was_asked & ~matured & (as_of - asked > np.timedelta64(timedelta(days=7)))
        counted = {"asked": was_asked.sum(), "matured": matured.sum(), "expired": expired.sum()}
        assert {key: look[key] for key in counted} == counted
        assert look["pending"] == look["asked"] - look["matured"] - look["expired"]
        assert look["coverage"] == pytest.approx(look["matured"] / look["asked"])


def test_leak_test(windtunnel: Command) -> None:
    """--leak-test deletes and scrambles what was known later, and says that nothing moved; the figures are the same."""
    plain = windtunnel("backtest", "backtest.toml", "--json").document
    tested = windtunnel("backtest", "backtest.toml", "--leak-test", "--json").document

    assert tested["leak_test"]["passed"] is True
    assert {each["change"] for each in tested["leak_test"]["checks"]} == {"deleted", "scrambled"}
    assert plain["timeline"] == tested["timeline"]


def test_worse_candidate(home: Path, windtunnel: Command) -> None:
    """A candidate that is truly worse is a no-go, exit 1."""
    text = (home / "backtest.toml").read_text()
    swapped = text.replace('champion = "p_old", challenger = "p_new"', 'champion = "p_new", challenger = "p_old"')
    (home / "backtest.toml").write_text(swapped)
    ran = windtunnel("backtest", "backtest.toml", "--json")

    assert (ran.code, ran.document["verdict"], ran.document["winner"]) == (1, "no-go", "champion")


def test_too_little(home: Path, windtunnel: Command) -> None:
    """Three days carry no decision: inconclusive, exit 3, and what would change it."""
    rows = pl.read_parquet(home / "logged.parquet").head(72)
    rows.write_parquet(home / "logged.parquet")
    ran = windtunnel("backtest", "backtest.toml", "--json")

    assert (ran.code, ran.document["verdict"]) == (3, "inconclusive")
    assert ran.document["would_change"]


def test_folder_and_glob(home: Path, windtunnel: Command) -> None:
    """A recording in several files, named by folder or glob, is judged as the same rows in one file."""
    whole = windtunnel("backtest", "backtest.toml", "--json").document
    rows, text = pl.read_parquet(home / "logged.parquet"), (home / "backtest.toml").read_text()
    (home / "logs").mkdir()
    rows.head(500).write_parquet(home / "logs" / "a.parquet")
    rows.tail(-500).write_parquet(home / "logs" / "b.parquet")
    for place in ("logs", "logs/*.parquet"):
        (home / "backtest.toml").write_text(text.replace("logged.parquet", place))

        assert windtunnel("backtest", "backtest.toml", "--json").document["timeline"] == whole["timeline"]


@pytest.fixture
def streaming(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Makes recordings of more than a hundred rows too large to be held, and samples small ones where that is asked."""

    def stream(sampled: int = 10**6) -> None:
        verb = importlib.import_module("windtunnel.verbs.backtest")
        monkeypatch.setattr(verb, "MOST_HELD", 100)
        monkeypatch.setattr(verb, "MOST_SAMPLED", sampled)

    return stream


def said(document: dict[str, Any]) -> dict[str, Any]:
    """A document but for what tells runs apart."""
    return {key: value for key, value in document.items() if key not in {"run", "seconds"}}


@pytest.mark.parametrize("forgiving", [False, True])
def test_a_large_recording_is_streamed(
    home: Path, windtunnel: Command, streaming: Callable[..., None], *, forgiving: bool
) -> None:
    """Read in pieces, whether as plain Parquet or with rows to be forgiven, a recording gives the document that memory gives, to the last bit."""
    if forgiving:
        rows = pl.read_parquet(home / "logged.parquet")
        again = rows.head(40).with_columns(late=1.0 - pl.col("late"), known_at=pl.col("known_at") + timedelta(days=1))
        early = rows.with_columns(
            known_at=pl.when(pl.int_range(pl.len()) == 700)
            .then(pl.col("asked_at") - timedelta(seconds=1))
            .otherwise("known_at")
        )
        pl.concat([early, again, rows.head(5)]).write_parquet(home / "logged.parquet")
    whole = windtunnel("backtest", "backtest.toml", "--out", "whole", "--json").document
    streaming()
    streamed = windtunnel("backtest", "backtest.toml", "--out", "other", "--json").document
    tested = windtunnel("backtest", "backtest.toml", "--out", "third", "--leak-test", "--json").document["leak_test"]

    assert said(streamed) == said(whole)
    assert (tested["passed"], tested["share"], len(tested["checks"]) > 0) == (True, 1.0, True)


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_a_large_recording_of_any_format_is_streamed(
    home: Path, windtunnel: Command, streaming: Callable[..., None], kind: str
) -> None:
    """CSV and JSON lines, with labels in a table of their own, are streamed to the document that memory makes of them."""
    rows, text = pl.read_parquet(home / "logged.parquet"), (home / "backtest.toml").read_text()
    rows.select("id", "late", "known_at").sample(fraction=1.0, shuffle=True, seed=1).write_parquet(
        home / "truth.parquet"
    )
    logged = rows.drop("late", "known_at")
    if kind == "csv":
        logged.write_csv(home / "logged.csv")
    else:
        logged.with_columns(pl.col("asked_at").dt.to_string("iso:strict")).write_ndjson(home / "logged.jsonl")
    text = text.replace('label = "late"\nlabel_time = "known_at"\n', "").replace("logged.parquet", f"logged.{kind}")
    labels = '[backtest.labels]\nsource = "truth.parquet"\nid = "id"\nlabel = "late"\nknown_time = "known_at"\n'
    (home / "backtest.toml").write_text(text + labels)
    whole = windtunnel("backtest", "backtest.toml", "--out", "whole", "--json").document
    streaming()

    assert said(windtunnel("backtest", "backtest.toml", "--out", "other", "--json").document) == said(whole)


def test_corrected_labels(home: Path, windtunnel: Command) -> None:
    """A label that is corrected counts as it was until its correction is known, and as corrected from then on; nothing leaks."""
    rows = pl.read_parquet(home / "logged.parquet")
    wrong = rows.head(48).with_columns(late=1.0 - pl.col("late"), known_at=pl.col("known_at") + timedelta(days=3))
    before = windtunnel("backtest", "backtest.toml", "--json").document["timeline"]
    pl.concat([rows, wrong]).sort("asked_at", maintain_order=True).write_parquet(home / "logged.parquet")
    tested = windtunnel("backtest", "backtest.toml", "--leak-test", "--json").document
    pairs = [(old["metric"], new["metric"]) for old, new in zip(before, tested["timeline"], strict=True)]
    counts = ("asked", "matured", "expired", "pending")

    assert tested["leak_test"]["passed"] is True
    assert all(old[key] == new[key] for old, new in zip(before, tested["timeline"], strict=True) for key in counts)
    assert [old == new for old, new in pairs[:6]] == [True] * 6
    assert all(old != new for old, new in pairs[12:20])


@pytest.mark.parametrize("metric", ['metric = "pinball@0.9"', 'metric = "cost"\ncost = [[0.0, 1.0], [5.0, 0.0]]'])
def test_losses_with_parameters(home: Path, windtunnel: Command, metric: str) -> None:
    """A quantile's loss and a cost matrix judge as any other."""
    text = (home / "backtest.toml").read_text().replace('metric = "log_loss"', metric)
    (home / "backtest.toml").write_text(text)
    document = windtunnel("backtest", "backtest.toml", "--json").document

    assert document["metric"] == metric.split('"')[1]
    assert document["candidates"][0]["matured"] > 0


def test_a_cost_needs_its_matrix(home: Path, windtunnel: Command) -> None:
    """`cost` without a matrix, and a matrix without `cost`, are refused with what to write."""
    text = (home / "backtest.toml").read_text()
    for metric in ('metric = "cost"', 'metric = "brier"\ncost = [[0.0, 1.0], [5.0, 0.0]]'):
        (home / "backtest.toml").write_text(text.replace('metric = "log_loss"', metric))
        ran = windtunnel("backtest", "backtest.toml")

        assert (ran.code, "takes metric" in ran.err) == (2, True)


def test_a_cost_of_ones_own(home: Path, windtunnel: Command) -> None:
    """A function may say what each prediction costs; the metric is its mean."""
    (home / "price.py").write_text("def cost(label, prediction):\n    return 3.0 * (label - prediction) ** 2\n")
    text = (home / "backtest.toml").read_text()
    (home / "backtest.toml").write_text(text.replace('"log_loss"', '"cost"\ncost = "price.py:cost"'))
    own = windtunnel("backtest", "backtest.toml", "--json").document["candidates"][0]
    (home / "backtest.toml").write_text(text.replace('"log_loss"', '"brier"'))
    brier = windtunnel("backtest", "backtest.toml", "--json").document["candidates"][0]

    assert own["metric"] == pytest.approx(3.0 * brier["metric"])


LOG = """
features = ["a", "b", "kind"]
entity = "who"
arm = "arm"
action = "acted"
propensity = "chance"
amount = "stake"

[backtest.estimate]
methods = ["cbpe", "dle"]

[backtest.drift]
columns = ["a", "kind", "champion"]
detectors = ["psi", "ks"]
reference = "20d"
changes = [2024-02-10]

[backtest.off_policy]
features = ["a", "b"]

[backtest.ab_test]
control = "x"
treatment = "y"
covariate = "a"
unit = "entity"
within = "3d"

[backtest.skew]
recompute = "prepare.py:again"
take = ["a"]

[backtest.slices]
depth = 1

[backtest.disagreement]
costliest = 7

[backtest.policy]
usd_per_loss = 1.0
usd_per_training = 2.0
fit = "prepare.py:fit"
start = "20d"

[[backtest.policy.rollout]]
name = "careful"
tolerance = 0.02
rollback_above = 0.05
alert = { window = "7d", above = 0.1, looks = 2 }

[[backtest.policy.retrain]]
name = "fortnightly"
every = "14d"
training = "1h"
"""

PREPARE = """
import polars as pl


class Rate:
    def __init__(self, rate):
        self.rate = rate

    def predict(self, rows):
        return [self.rate] * len(rows)


def fit(rows, seed):
    return Rate(float(rows["label"].mean()))


def again(rows):
    return rows.select(pl.col("a") + (pl.col("a") > 2.0))
"""


@pytest.fixture
def everything(home: Path) -> Path:
    """A log with every part, and a configuration that asks for everything."""
    rng = np.random.default_rng(5)
    rows = pl.read_parquet(home / "logged.parquet")
    features = pl.read_parquet(home / "recorded.parquet").select("a", "b")
    n = len(rows)
    rows.hstack(features).with_columns(
        kind=pl.Series(rng.choice(["red", "blue"], size=n)), who=pl.Series(rng.integers(0, 9000, size=n)),
        arm=pl.Series(rng.choice(["x", "y"], size=n)), acted=pl.Series(rng.integers(0, 2, size=n)), chance=pl.lit(0.5),
        stake=pl.Series(rng.integers(1, 4, size=n)),
    ).write_parquet(home / "logged.parquet")  # fmt: skip
    (home / "prepare.py").write_text(PREPARE)
    (home / "backtest.toml").write_text((home / "backtest.toml").read_text().rstrip() + LOG)
    return home


def test_everything_at_once(everything: Path, windtunnel: Command) -> None:
    """Every table of the file adds its key to the document, and the verdict stays one."""
    document = windtunnel("backtest", "backtest.toml", "--out", "run", "--json").document

    assert document["verdict"] == "go"
    assert {each["method"] for each in document["estimates"]} == {"cbpe", "dle"}
    assert {(each["column"], each["detector"]) for each in document["drift"]} >= {("kind", "ks"), ("champion", "psi")}
    assert [each["name"] for each in document["off_policy"]["policies"]] == ["champion", "challenger"]
    assert document["selective_labels"]["kind"] == "none"
    assert document["ab_test"]["units_in_both_arms"] >= 0
    assert document["skew"]["features"][0]["differing"] == int(
        (pl.read_parquet(everything / "logged.parquet")["a"] > 2.0).sum()
    )
    assert document["slices"][0]["searched"] > 4
    assert len(document["disagreement"][0]["costliest"]["requests"]) == 7
    assert {each["name"] for each in document["policies"]["rollout"]["policies"]} == {"careful", "stay", "at once"}
    assert {each["name"] for each in document["policies"]["retraining"]["policies"]} == {"fortnightly", "never"}
    assert document["intake"]["requests"] == 1440
    assert document["doubts"] == [
        reason.removeprefix("doubt: ") for reason in document["reasons"] if "doubt: " in reason
    ]
    assert pl.read_parquet(everything / "run" / "backtest" / "costliest-1.parquet").height == 7


def test_nothing_of_it_leaks(everything: Path, windtunnel: Command) -> None:
    """The leak test covers calibrators, thresholds and weights: whatever was said at a look stays as it was."""
    text = (everything / "backtest.toml").read_text()
    (everything / "backtest.toml").write_text(
        text[: text.index("[backtest.off_policy]")].replace('"cbpe", "dle"', '"cbpe"')
    )
    document = windtunnel("backtest", "backtest.toml", "--leak-test", "--json").document

    assert document["leak_test"]["passed"] is True


def test_labels_and_features_of_their_own(home: Path, windtunnel: Command) -> None:
    """Labels and features in tables of their own are found by id and joined as they were known; the figures are the same."""
    whole = windtunnel("backtest", "backtest.toml", "--json").document
    rows, text = pl.read_parquet(home / "logged.parquet"), (home / "backtest.toml").read_text()
    rows.select("id", "late", "known_at").sample(fraction=1.0, shuffle=True, seed=1).write_parquet(
        home / "truth.parquet"
    )
    rows.drop("late", "known_at").write_parquet(home / "logged.parquet")
    pl.DataFrame({"at": rows["asked_at"][::10], "mood": [float(each % 3) for each in range(144)]}).write_parquet(
        home / "moods.parquet"
    )
    text = text.replace('label = "late"\nlabel_time = "known_at"\n', "") + (
        '[backtest.labels]\nsource = "truth.parquet"\nid = "id"\nlabel = "late"\nknown_time = "known_at"\n'
        '[[backtest.features]]\nsource = "moods.parquet"\nknown_time = "at"\ntake = ["mood"]\nmax_age = "1d"\n'
        '[backtest.slices]\ncolumns = ["mood"]\n'
    )
    (home / "backtest.toml").write_text(text)
    apart = windtunnel("backtest", "backtest.toml", "--json").document

    assert [apart[key] for key in ("timeline", "candidates")] == [whole[key] for key in ("timeline", "candidates")]
    assert apart["intake"]["freshness"]["moods.parquet"]["missing"] == 1
    assert {each["columns"][0] for each in apart["slices"][0]["others"] + apart["slices"][0]["found"]} == {"mood"}


def test_models_are_asked(home: Path, windtunnel: Command, streaming: Callable[..., None]) -> None:
    """A model file in place of a logged prediction is asked what it would have said, fed from the columns it is named after."""
    rows, text = pl.read_parquet(home / "recorded.parquet"), (home / "backtest.toml").read_text()
    logged = pl.read_parquet(home / "logged.parquet").hstack(rows.select("a", "b", "c", "d"))
    logged.write_parquet(home / "logged.parquet")
    text = text.replace('candidates = ["challenger"]', 'candidates = ["challenger", "columns.onnx"]')
    (home / "backtest.toml").write_text(text)
    whole = windtunnel("backtest", "backtest.toml", "--json").document
    challenger, asked = whole["candidates"]
    streaming()
    streamed = windtunnel("backtest", "backtest.toml", "--out", "other", "--json").document

    assert (asked["name"], asked["matured"]) == ("columns.onnx", challenger["matured"])
    assert asked["metric"] == pytest.approx(challenger["metric"], rel=1e-5)
    assert said(streamed) == said(whole)


@pytest.fixture
def with_models(home: Path) -> Path:
    """A log with the models' inputs in it; beside `columns.onnx` and `model.onnx` a bundle and a run folder of the same model."""
    rows = pl.read_parquet(home / "recorded.parquet").select("a", "b", "c", "d")
    pl.read_parquet(home / "logged.parquet").hstack(rows).write_parquet(home / "logged.parquet")
    feeds = {name: rows[name].to_numpy().astype(np.float32)[:5] for name in "abcd"}
    variant = Variant.from_file(home / "columns.onnx")
    write_bundle(variant, feeds, open_session(variant).run(feeds), home / "bundle")
    stage = home / "run" / "optimize"
    stage.mkdir(parents=True)
    shutil.copy(home / "columns.onnx", stage)
    chosen = Variant.from_file(stage / "columns.onnx").to_dict(stage)
    (stage / "result.json").write_text(json.dumps({"chosen": chosen}))
    return home


def test_models_at_hand_are_asked_why_they_disagree(home: Path, windtunnel: Command) -> None:
    """Two models that differ in what `c` counts for: it alone is told to drive their flips, on the terminal and in the document."""
    rows, text = pl.read_parquet(home / "recorded.parquet"), (home / "backtest.toml").read_text()
    pl.read_parquet(home / "logged.parquet").hstack(rows.select("a", "b", "c", "d")).write_parquet(
        home / "logged.parquet"
    )
    model = onnx.load(home / "columns.onnx")
    weight = next(each for each in model.graph.initializer if each.name == "w_c")
    weight.CopyFrom(numpy_helper.from_array(0.2 * numpy_helper.to_array(weight), "w_c"))
    onnx.save(model, home / "other_columns.onnx")
    text = text.replace('"champion"', '"columns.onnx"').replace('"challenger"', '"other_columns.onnx"')
    (home / "backtest.toml").write_text(f"{text}[backtest.disagreement]\nfeatures = ['a', 'b']\n")
    (told,) = windtunnel("backtest", "backtest.toml", "--json").document["disagreement"]
    shown = windtunnel("backtest", "backtest.toml").out

    assert [each["feature"] for each in told["drivers"]["features"] if each["named"]] == ["c"]
    assert {each["feature"] for each in told["drivers"]["features"]} == set("abcd")
    assert "they are driven by `c` (" in " ".join(shown.split())


@pytest.mark.parametrize("model", ["columns.onnx", "model.onnx", "bundle", "run"])
def test_whatever_holds_a_model_is_asked(with_models: Path, windtunnel: Command, model: str) -> None:
    """A model fed by column or by one matrix, a bundle and a run folder say what the logged predictions of the same model say."""
    text = (with_models / "backtest.toml").read_text() + 'features = ["a", "b", "c", "d"]\n'
    (with_models / "backtest.toml").write_text(text.replace('["challenger"]', f'["challenger", "{model}"]'))
    challenger, asked = windtunnel("backtest", "backtest.toml", "--json").document["candidates"]

    assert (asked["name"], asked["matured"]) == (model, challenger["matured"])
    assert asked["metric"] == pytest.approx(challenger["metric"], rel=1e-5)


@pytest.mark.parametrize(
    ("model", "features", "told"),
    [
        ("columns.onnx", [], "logged.parquet: `d` (input of columns.onnx) is not a column"),
        ("model.onnx", [], "model.onnx: `x` takes 4 columns as one matrix, where columns.features names 0"),
        ("model.onnx", ["a", "b"], "where columns.features names 2; name in columns.features those that it was trained on"),
        ("empty", [], "empty: is neither a run folder with a chosen variant nor a bundle"),
    ],
)  # fmt: skip
def test_candidates_of_another_signature(
    with_models: Path, windtunnel: Command, model: str, features: list[str], told: str
) -> None:
    """A model that the log cannot feed is refused by its input, its name and the way out."""
    (with_models / "empty").mkdir()
    pl.read_parquet(with_models / "logged.parquet").drop("d").write_parquet(with_models / "logged.parquet")
    text = (with_models / "backtest.toml").read_text() + f"features = {json.dumps(features)}\n"
    (with_models / "backtest.toml").write_text(text.replace('["challenger"]', f'["{model}"]'))
    ran = windtunnel("backtest", "backtest.toml")

    assert (ran.code, told in " ".join(ran.err.split())) == (2, True), ran.err


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (pl.col("late") + 1.0, "logged.parquet: `late` (label) (=2.0) is no label that log_loss can take"),
        (pl.col("known_at") - timedelta(hours=3), "logged.parquet: `known_at` (label_time) (='2023-12-31T22:00:00Z') says that"),
        (pl.col("p_new") * 4.0, "logged.parquet: `p_new` (challenger) (="),
        (pl.when(pl.col("id") == 7).then(7.0).otherwise("p_new").alias("p_new"), "`p_new` (challenger) (=7.0) is the prediction of request 7,"),
        (pl.col("p_new").cast(pl.String), "logged.parquet: `p_new` (challenger) (="),
        ((pl.col("asked_at").dt.day() > 0).alias("asked_at"), "logged.parquet: `asked_at` has dtype Boolean where time stamps are needed"),
    ],
)  # fmt: skip
def test_refusals_speak_of_the_users_columns(home: Path, windtunnel: Command, change: pl.Expr, told: str) -> None:
    """The file is named as in the configuration, the column as in the file, and the part that it plays stands in brackets."""
    pl.read_parquet(home / "logged.parquet").with_columns(change).write_parquet(home / "logged.parquet")
    ran = windtunnel("backtest", "backtest.toml")

    assert (ran.code, told in " ".join(ran.err.split())) == (2, True), ran.err
    assert str(home) not in ran.err


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        ('propensity = "chance"\n', "", "[backtest.off_policy] needs columns.propensity"),
        ('arm = "arm"\n', "", "[backtest.ab_test] needs columns.arm"),
        ('fit = "prepare.py:fit"\n', "", 'takes [[backtest.policy.retrain]] and fit = "file.py:function" together'),
        ('take = ["a"]', 'take = ["c"]', "[backtest.skew] compares `c` with what was logged"),
        ('recompute = "prepare.py:again"\n', "", "needs either recompute, a function, or source"),
        ('every = "14d"\n', "", "is never triggered"),
        ("usd_per_loss = 1.0\n", "", "needs usd_per_loss or usd_per_wrong"),
        ('detectors = ["psi", "ks"]', 'detectors = ["psy"]', "is not a detector; did you mean `psi`"),
        ("changes = [2024-02-10]", "changes = [2024-01-10]", "lies in the reference"),
        ('treatment = "y"', 'treatment = "z"', "is an arm of which the recording has no request"),
        ('columns = ["a", "kind", "champion"]', 'columns = ["wind"]', "`wind` is not a column"),
        ('metric = "log_loss"', 'metric = "roc_auc"', "pairs of requests, which have no amount"),
        ('amount = "stake"', 'weight = "stake"', "columns.weight is not heeded by [backtest.estimate]"),
        ("depth = 1", "dept = 1", "is not a key; did you mean `depth`"),
    ],
)  # fmt: skip
def test_refusals(everything: Path, windtunnel: Command, before: str, after: str, told: str) -> None:
    """What cannot be done is refused before it is begun, exit 2, with the key and the way out."""
    text = (everything / "backtest.toml").read_text()
    assert before in text
    (everything / "backtest.toml").write_text(text.replace(before, after, 1).replace('"cbpe", "dle"', '"cbpe"'))
    ran = windtunnel("backtest", "backtest.toml")

    assert (ran.code, told in " ".join(ran.err.split())) == (2, True), ran.err


def test_ranks_alone(home: Path, windtunnel: Command) -> None:
    """ROC AUC is better the greater it is; delays are told, weighted means are not, and a slice of it is refused."""
    text = (home / "backtest.toml").read_text().replace('"log_loss"', '"roc_auc"')
    (home / "backtest.toml").write_text(text)
    document = windtunnel("backtest", "backtest.toml", "--json").document
    (home / "backtest.toml").write_text(text + '[backtest.slices]\ncolumns = ["id"]\n')
    refused = windtunnel("backtest", "backtest.toml")

    assert (document["greater_is_better"], document["weighted"]) == (True, [])
    assert document["candidates"][0]["difference"] == 0.0  # the two rank alike
    assert (refused.code, "is no mean over requests" in refused.err) == (2, True)


def test_other_measures(home: Path, windtunnel: Command) -> None:
    """Other metrics stand beside the one that decides, in every window, and in what is tested for leaks."""
    asked = '\n[backtest.measures]\nmetrics = ["roc_auc", "brier", "costs.py:cost"]\nlast = "7d"\n'
    (home / "costs.py").write_text("def cost(label, prediction):\n    return 5.0 * label * (prediction < 0.5)\n")
    (home / "backtest.toml").write_text((home / "backtest.toml").read_text() + asked)
    document = windtunnel("backtest", "backtest.toml", "--leak-test", "--json").document
    decided = windtunnel("backtest", "backtest.toml", "--json").document["candidates"]
    told = {(each["name"], each["metric"], each["window"]): each["value"] for each in document["measures"]}

    assert document["leak_test"]["passed"] is True
    assert len(told) == 2 * 3 * 2
    assert [each["metric"] for each in document["mornings"]] == ["roc_auc", "roc_auc"]
    assert document["candidates"] == decided
    (home / "costs.py").write_text("def cost(label, prediction):\n    return 10.0 * label * (prediction < 0.5)\n")
    again = windtunnel("backtest", "backtest.toml", "--json").document["measures"]
    name, metric, _ = next(key for key in told if key[1] not in ("roc_auc", "brier"))
    assert [
        each["value"]
        for each in again
        if (each["name"], each["metric"], each["window"]) == (name, metric, "cumulative")
    ] == [pytest.approx(2.0 * told[(name, metric, "cumulative")])]


def test_everything_of_a_large_recording_is_told_of_a_sample(
    everything: Path, windtunnel: Command, streaming: Callable[..., None]
) -> None:
    """What cannot be added up is worked out on a sample and says so in each entry; none of it is missing, and what adds up is as of all."""
    text = (everything / "backtest.toml").read_text()
    (everything / "backtest.toml").write_text(text.replace('unit = "entity"\nwithin = "3d"\n', ""))
    whole = windtunnel("backtest", "backtest.toml", "--out", "whole", "--json").document
    streaming(800)
    streamed = windtunnel("backtest", "backtest.toml", "--out", "other", "--json").document
    exact = {"timeline", "candidates", "by_event_time", "delays", "weighted", "noise_floor", "rows", "winner", "intake"}
    lists = {"estimates", "drift", "slices", "disagreement"}
    tables = {"off_policy", "selective_labels", "ab_test", "skew", "policies"}

    assert set(streamed) == set(whole)
    assert {key: streamed[key] for key in exact} == {key: whole[key] for key in exact}
    assert {each["sampled"] for key in lists for each in streamed[key]} == {0.5}
    assert {key: streamed[key]["sampled"] for key in tables} == dict.fromkeys(tables, 0.5)
    assert pl.read_parquet(everything / "other" / "backtest" / "costliest-1.parquet").height == 7


def test_measures_that_add_up_are_counted_on_all_of_a_large_recording(
    everything: Path, windtunnel: Command, streaming: Callable[..., None]
) -> None:
    """A mean over rows is told of every request in each window and group, as memory tells it to the last bit; what ranks rows, of a sample."""
    text = (everything / "backtest.toml").read_text()
    asked = '[backtest.measures]\nmetrics = ["roc_auc", "brier"]\nlast = "14d"\nhalf_life = "7d"\nby = "kind"\n'
    (everything / "backtest.toml").write_text(text[: text.index("[backtest.estimate]")] + asked)
    whole = windtunnel("backtest", "backtest.toml", "--out", "whole", "--json")
    streaming(800)
    streamed = windtunnel("backtest", "backtest.toml", "--out", "other", "--json")
    told = [
        {(each["name"], each["metric"], each["window"], each["group"]): each for each in ran.document["measures"]}
        for ran in (whole, streamed)
    ]

    assert told[0].keys() == told[1].keys()
    assert {key[1] for key, each in told[1].items() if "sampled" not in each} == {"brier"}
    assert all(each == told[0][key] for key, each in told[1].items() if key[1] == "brier")
    assert {each["sampled"] for key, each in told[1].items() if key[1] == "roc_auc"} == {0.5}


def test_what_a_sample_says_nothing_of_is_refused(
    everything: Path, windtunnel: Command, streaming: Callable[..., None]
) -> None:
    """Where whole entities must be held, and the recording is too large, that is refused with the way out."""
    streaming()
    ran = windtunnel("backtest", "backtest.toml")

    assert (ran.code, "adds up all that each entity asked" in ran.err) == (2, True), (everything, ran.err)


def test_the_timetable_of_the_document(home: Path, windtunnel: Command) -> None:
    """The table that docs/backtest.md begins with, to be checked by eye, is what the command says."""
    text = (Path(__file__).parents[2] / "docs" / "backtest.md").read_text()
    for kind, name in (("csv", "requests.csv"), ("toml", "backtest.toml")):
        (home / name).write_text(text.split(f"```{kind}\n")[1].split("```")[0])
    document = windtunnel("backtest", "backtest.toml", "--json").document
    table = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("| 2024-01-0")]
    told = [
        [
            old["as_of"][:10],
            *(str(old[state]) for state in ("asked", "matured", "expired", "pending")),
            *(f"{each['metric']:.3f}" for each in (old, new)),
        ]
        for old, new in zip(document["timeline"][::2], document["timeline"][1::2], strict=True)
    ]

    assert [row[:7] for row in table] == told


def test_the_example_is_whole() -> None:
    """The example is a file that is read, and its labels are truly corrected: departure says one thing, arrival another."""
    example = Path(__file__).parents[2] / "examples" / "flights"
    config = read_backtest(example / "backtest.toml")
    assert config.labels is not None
    assert config.policy is not None
    labels = load_function(config.labels.source, example)()
    by_flight = labels.sort("flight_id", "known_at").group_by("flight_id", maintain_order=True)
    versions = by_flight.agg(pl.len(), first=pl.col("late").first(), last=pl.col("late").last())

    assert set(versions["len"]) == {2}
    assert 0.05 < (versions["first"] != versions["last"]).mean() < 0.2
    assert callable(load_function(config.policy.fit, example))


@pytest.mark.parametrize(
    ("named", "told"),
    [
        ("[]", "names no candidate; name the models that may replace the incumbent"),
        ('["challenger", "challenger"]', "names a candidate twice"),
        ('["champion"]', "`champion` is the incumbent and cannot be its own candidate"),
    ],
)
def test_candidates_that_are_none(home: Path, windtunnel: Command, named: str, told: str) -> None:
    """No candidate, one named twice, and the incumbent itself are refused with the way out."""
    text = (home / "backtest.toml").read_text().replace('candidates = ["challenger"]', f"candidates = {named}")
    (home / "backtest.toml").write_text(text)
    ran = windtunnel("backtest", "backtest.toml")

    assert (ran.code, told in ran.err) == (2, True), ran.err
