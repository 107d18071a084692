"""Bad input, all of it in one table: refused before work starts, exit 2, one message that names the way out, nothing left."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
import pytest

from windtunnel.table import write_arrays

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.cli.conftest import Command

    Spoil = Callable[[Path], object]

RUN = "run windtunnel.toml"
OPTIMIZE = "optimize model.onnx --data holdout.npz"
SIMULATE = "simulate --profile profile.npz --trace arrivals.csv"
PLAN = "plan --profile profile.npz --trace arrivals.csv --hardware azure:D2s_v5 --slo p99<=50ms --max-batch 1,8"
BENCHMARK = "benchmark model.onnx"
PRICED = f"{BENCHMARK} --cost"


def nothing(_home: Path) -> None:
    """Leave the world as it is: the command itself is at fault."""


def halve(name: str) -> Spoil:
    """Cut a file in the middle."""
    return lambda home: (home / name).write_bytes((home / name).read_bytes()[: (home / name).stat().st_size // 2])


def empty(name: str) -> Spoil:
    """Leave nothing in a file."""
    return lambda home: (home / name).write_bytes(b"")


def remove(name: str) -> Spoil:
    """Take a file away."""
    return lambda home: (home / name).unlink()


def folder(name: str) -> Spoil:
    """Put a folder where a file was."""

    def spoil(home: Path) -> None:
        (home / name).unlink(missing_ok=True)
        (home / name).mkdir()

    return spoil


def edit(before: str, after: str, name: str = "windtunnel.toml") -> Spoil:
    """Change a text; what is changed must be there."""

    def spoil(home: Path) -> None:
        text = (home / name).read_text()
        assert before in text
        (home / name).write_text(text.replace(before, after, 1))

    return spoil


def frame(change: Callable[[pl.DataFrame], pl.DataFrame], name: str = "recorded.parquet") -> Spoil:
    """Change a table."""
    return lambda home: change(pl.read_parquet(home / name)).write_parquet(home / name)


def arrays(**changed: np.ndarray) -> Spoil:
    """Write other arrays in place of the holdout."""
    return lambda home: write_arrays(home / "holdout.npz", changed)


def cut_csv(home: Path) -> None:
    """Record as CSV, and cut the last row in the middle."""
    edit("recorded.parquet", "recorded.csv")(home)
    text = (home / "recorded.csv").read_text().rstrip("\n")
    (home / "recorded.csv").write_text(text[: text.rindex(",")])


def arrive(*times: object) -> Spoil:
    """Write other arrivals."""
    return lambda home: (home / "arrivals.csv").write_text("\n".join(["time", *map(str, times)]) + "\n")


def prices(usd: object) -> Spoil:
    """Write a price table of one machine."""
    heads = (
        "provider,instance_type,region,arch,vcpu,memory_gib,accelerator,accelerator_count,ondemand_usd_per_hour,"
        "catalog_date,source"
    )
    row = f"my,box,here,x86_64,4,16,,0,{usd},2026-11-01,an offer"
    return lambda home: (home / "prices.csv").write_text(f"{heads}\n{row}\n")


FIFTH = pl.int_range(pl.len()) == 5
X = np.zeros((30, 4), np.float32)

CASES: list[tuple[str, str, Spoil, list[str]]] = [
    # the configuration of a run
    ("toml missing", "run nowhere.toml", nothing, ["nowhere.toml: does not exist", "windtunnel init"]),
    ("toml a directory", "run .", nothing, [".: is a directory", "give the windtunnel.toml"]),
    ("toml broken", RUN, edit("[model]", "[model"), ["windtunnel.toml: is not TOML", "line"]),
    ("unknown key", RUN, edit("max_batch", "max_bach"), ["`simulate.max_bach`", "did you mean `max_batch`"]),
    ("unknown section", RUN, edit("[optimize]", "[optimise]"), ["`optimise`", "did you mean `optimize`?"]),
    ("missing key", RUN, edit('slo = "p99<=50ms"\n', ""), ["`simulate.slo` is missing"]),
    ("bad duration", RUN, edit('holdout = "5d"', 'holdout = "5"'), ["`recording.holdout`", "='5'", "50ms, 2s, 10m, 7d"]),
    ("impossible SLO", RUN, edit("p99<=50ms", "p99<=0ms"), ["`simulate.slo`", "p99<=0ms", "cannot be kept by anything"]),
    ("impossible quantile", RUN, edit("p99<=50ms", "p100<=50ms"), ["`simulate.slo`", "p100<=50ms", "quantile outside 0 to 100"]),
    ("unknown hardware", RUN, edit('hardware = "azure:D2s_v5"', 'hardware = "azure:D2s_v9"'), ["`simulate.hardware`", "azure:D2s_v9", "did you mean `azure:D2s_v5`"]),
    ("never profiled", RUN, edit("max_batch = [1, 4]", "max_batch = [1, 64]"), ["batches of 64", "[1, 4]", "measure 1 and the largest"]),
    ("negative seed in file", RUN, edit("seed = 3", "seed = -3"), ["`seed` (=-3)", "greater than or equal to 0"]),
    ("negative seed", f"{RUN} --seed -1", nothing, ["--seed", "greater than or equal to 0"]),
    ("unknown metric", RUN, edit('"roc_auc"', '"rocauc"'), ["windtunnel.toml: `optimize.metric` (='rocauc')", "did you mean `roc_auc`?"]),
    ("unknown loss", RUN, edit('"log_loss"', '"logloss"'), ["windtunnel.toml: `backtest.metric` (='logloss')", "'log_loss'"]),
    ("two models", RUN, edit('path = "columns.onnx"', 'path = "columns.onnx"\nfit = "made.py:factory"'), ["exactly one of path, factory and fit"]),
    ("develop_until outside", RUN, edit("2024-01-20", "2034-01-20"), ["`recording.develop_until`", "the recording runs from 2024-01-01"]),
    # the files of a run
    ("model missing", RUN, remove("columns.onnx"), ["columns.onnx: does not exist"]),
    ("model a directory", RUN, folder("columns.onnx"), ["columns.onnx: is a directory"]),
    ("model empty", RUN, empty("columns.onnx"), ["columns.onnx: is empty", "export the model again"]),
    ("model truncated", RUN, halve("columns.onnx"), ["columns.onnx: is not a whole ONNX model", "export the model again"]),
    ("factory missing", RUN, edit('path = "columns.onnx"', 'factory = "made.py:factori"'), ["made.py:factori", "did you mean `factory`?"]),
    ("recording missing", RUN, remove("recorded.parquet"), ["recorded.parquet: does not exist"]),
    ("recording a directory", RUN, folder("recorded.parquet"), ["recorded.parquet: is a directory"]),
    ("recording empty", RUN, empty("recorded.parquet"), ["recorded.parquet: is empty"]),
    ("recording truncated", RUN, halve("recorded.parquet"), ["recorded.parquet: cannot be read", "is it truncated?"]),
    ("csv truncated", RUN, cut_csv, ["recorded.csv", "ends in the middle of a row", "write it again"]),
    ("column missing", RUN, frame(lambda t: t.drop("label")), ["recorded.parquet: `label` is not a column", "the columns are: asked_at, a, b, c, d, known_at"]),
    ("input missing", RUN, frame(lambda t: t.drop("c")), ["recorded.parquet: `c` is an input of the model but not a column"]),
    ("input of text", RUN, frame(lambda t: t.with_columns(pl.col("a").cast(pl.String))), ["recorded.parquet: `a` is text where the model takes float32"]),
    ("time of numbers", RUN, frame(lambda t: t.with_columns(asked_at=pl.int_range(pl.len()))), ["`asked_at` has dtype Int64", "datetime or as ISO 8601"]),
    ("time null", RUN, frame(lambda t: t.with_columns(asked_at=pl.when(FIFTH).then(None).otherwise("asked_at"))), ["`asked_at` has no time in row 5", "drop or mend"]),
    ("time unsorted", RUN, frame(lambda t: t.reverse()), ["`asked_at` is not sorted: row 1 lies before row 0", "sort by it"]),
    ("label NaN", RUN, frame(lambda t: t.with_columns(label=pl.when(FIFTH).then(float("nan")).otherwise("label"))), ["`label` holds NaN", "null, not NaN"]),
    ("label of text", RUN, frame(lambda t: t.with_columns(pl.col("label").cast(pl.String))), ["`label` has dtype String", "store 0 and 1"]),
    ("label not binary", RUN, frame(lambda t: t.with_columns(label=pl.lit(0.5))), ["recorded.parquet: `label` (=0.5)", "it needs 0 or 1"]),
    ("known too early", RUN, frame(lambda t: t.with_columns(pl.col("known_at") - timedelta(days=1))), ["`known_at`", "1440 labels were known before they were asked about", "time zone"]),
    # the other verbs
    ("optimize data missing", "optimize model.onnx --data nowhere.npz", nothing, ["nowhere.npz: does not exist"]),
    ("optimize data a directory", "optimize model.onnx --data .", nothing, [".: is a directory"]),
    ("optimize data truncated", OPTIMIZE, halve("holdout.npz"), ["holdout.npz: cannot be read", "numpy.savez"]),
    ("npz of other names", OPTIMIZE, arrays(z=X), ["holdout.npz: `x` is an input of the model but not an array", "the arrays are: z"]),
    ("npz of another dtype", OPTIMIZE, arrays(x=X.astype(np.float64)), ["holdout.npz: `x` is float64 [30, 4] where the model takes float32 ['batch', 4]"]),
    ("npz of another shape", OPTIMIZE, arrays(x=X[:, :3]), ["holdout.npz: `x` is float32 [30, 3] where the model takes float32 ['batch', 4]"]),
    ("npz of other rows", OPTIMIZE, arrays(x=X, label=np.zeros(7)), ["{'x': 30, 'label': 7}", "same number of rows"]),
    ("npz of two rows", OPTIMIZE, arrays(x=X[:2]), ["holdout.npz: has 2 rows", "a third is for calibration"]),
    ("npz label of text", OPTIMIZE, arrays(x=X, label=np.array(["no"] * 30)), ["holdout.npz: `label` is <U2 [30]", "save 0 and 1"]),
    ("npz label NaN", f"{OPTIMIZE} --metric brier", arrays(x=X, label=np.full(30, np.nan)), ["holdout.npz: `label` has no label in row 0"]),
    ("metric without labels", f"{OPTIMIZE} --metric roc_auc", arrays(x=X), ["holdout.npz: `labels` are needed for roc_auc", "use the metric agreement"]),
    ("metric unknown", f"{OPTIMIZE} --metric rocauc", nothing, ["`--metric` (='rocauc')", "did you mean `roc_auc`?"]),
    ("label unknown", f"{OPTIMIZE} --label lable", nothing, ["holdout.npz: `lable` is not an array", "the arrays are: x, label"]),
    ("share too large", f"{OPTIMIZE} --max-drop 5", nothing, ["`--max-drop` (=5.0) allows everything, for agreement is a share", "write 0.01 or 1%"]),
    ("share of letters", f"{OPTIMIZE} --max-drop one", nothing, ["`--max-drop` (='one') is not a tolerance"]),
    ("list of letters", f"{OPTIMIZE} --batch 1,x", nothing, ["`--batch` (='1,x') is not a list of whole numbers", "write 1,8,64"]),
    ("duration without unit", f"{OPTIMIZE} --budget 5", nothing, ["`--budget` (='5') is not a duration", "50ms, 2s"]),
    ("bundle over something", f"{OPTIMIZE} --bundle .", nothing, [".: holds something that is not a bundle", "choose another folder"]),
    ("optimize negative seed", f"{OPTIMIZE} --seed -1", nothing, ["--seed", "greater than or equal to 0"]),
    ("factory raises", "optimize made.py:raises --data recorded.parquet", nothing, ["`made.py:raises` raised ZeroDivisionError", 'raise ZeroDivisionError("theirs")']),
    ("factory without shape", "optimize made.py:Tiny --data recorded.parquet", nothing, ["did not return a module and its example inputs", "return (module, {name: tensor})"]),
    ("benchmark empty model", "benchmark model.onnx", empty("model.onnx"), ["model.onnx: is empty"]),
    ("benchmark of two signatures", "benchmark model.onnx columns.onnx", nothing, ["columns.onnx: takes other inputs than the first model"]),
    ("benchmark of one name", "benchmark model.onnx ./model.onnx", nothing, ["['model', 'model']", "rename one"]),
    ("benchmark hardware", f"{PRICED} --hardware aws:g5.xlage --slo p99<=50ms", nothing, ["`--hardware` (='aws:g5.xlage')", "did you mean `aws:g5.xlarge`"]),
    ("benchmark slo", f"{PRICED} --hardware aws:g5.xlarge --slo p99<50", nothing, ["`--slo` (='p99<50') is not an SLO", "write p99<=50ms"]),
    ("benchmark slo alone", f"{PRICED} --slo p99<=50ms", nothing, ["`--hardware` is missing", "windtunnel doctor --catalog"]),
    ("benchmark cost alone", PRICED, nothing, ["`--hardware` is missing", "--slo"]),
    ("benchmark hardware without cost", f"{BENCHMARK} --hardware aws:g5.xlarge", nothing, ["`--hardware` is about money", "add --cost"]),
    ("benchmark edge", f"{PRICED} --hardware edge(purchase=500) --slo p99<=50ms", nothing, ["`--hardware` (='500') is not understood", "500usd"]),
    ("benchmark prices missing", f"{PRICED} --hardware aws:g5.xlarge --slo p99<=50ms --prices nowhere.csv", nothing, ["nowhere.csv: is not a file"]),
    ("benchmark prices of nothing", f"{PRICED} --hardware aws:g5.xlarge --slo p99<=50ms --prices holdout.npz", nothing, ["holdout.npz"]),
    ("benchmark prices negative", f"{PRICED} --hardware my:box --slo p99<=50ms --prices prices.csv", prices(-1), ["prices.csv", "my:box", "-1", "above zero"]),
    ("benchmark price missing", f"{PRICED} --hardware my:box --slo p99<=50ms --prices prices.csv", prices(""), ["prices.csv", "my:box", "above zero"]),
    ("benchmark price a filler", f"{PRICED} --hardware my:box --slo p99<=50ms --prices prices.csv", prices(700), ["`--hardware` (='my:box')", "a filler of 700 USD an hour", "--prices"]),
    ("benchmark load", f"{PRICED} --hardware aws:g5.xlarge --slo p99<=50ms --load -1", nothing, ["`--load` (=-1.0) is no figure"]),
    ("benchmark load of nothing", f"{PRICED} --hardware aws:g5.xlarge --slo p99<=50ms --load nan", nothing, ["`--load` (=nan) is no figure"]),
    ("benchmark of no hardware", f"{PRICED} --hardware , --slo p99<=50ms", nothing, ["`--hardware` names nothing to pay for"]),
    ("benchmark cost alone at once", f"{PRICED} --hardware aws:g5.xlarge --slo p99<=50ms --no-scaling", nothing, ["`--no-scaling` leaves out"]),
    ("benchmark cost without memory", f"{PRICED} --hardware aws:g5.xlarge --slo p99<=50ms --no-footprint", nothing, ["`--no-footprint` leaves out"]),
    ("benchmark cost of two lengths", f"{PRICED} --hardware aws:g5.xlarge --slo p99<=50ms --size words=1,2", nothing, ["`--size`", "price one length at a time"]),
    ("benchmark out that cannot be made", f"{BENCHMARK} --out /proc/foo", nothing, ["/proc/foo: cannot be made", "choose another --out"]),
    ("benchmark of a tuple", "benchmark tuple.py:make", lambda home: (home / "tuple.py").write_text("import torch\ndef make():\n    return torch.nn.Linear(2, 1), (torch.zeros(1, 2),)\n"), ["did not return a module and its example inputs", "{name: tensor}"]),
    ("benchmark cost of no lone request", f"{PRICED} --hardware aws:g5.xlarge --slo p99<=50ms --batch 8", nothing, ["`--batch`", "no batch of 1"]),
    ("benchmark of runs with options", "benchmark profile.npz profile.npz --batch 999", nothing, ["earlier runs are not measured again"]),
    ("benchmark cold share alone", f"{BENCHMARK} --cold-share 5%", nothing, ["`--cold-share` is about money", "add --cost"]),
    ("benchmark cluster address alone", f"{BENCHMARK} --ray-address 127.0.0.1:1", nothing, ["`--ray-address`", "add --on-cluster"]),
    ("benchmark beyond memory", f"{BENCHMARK} --batch 1,4000000000000", nothing, ["`batch` (=4000000000000) needs at least", "are free", "the largest batch that fits is"]),
    ("benchmark quantile", f"{BENCHMARK} --quantile p95", nothing, ["`--quantile` (='p95')", "p50, p90, p99, p999"]),
    ("benchmark runtime", f"{BENCHMARK} --runtime onnxruntime", nothing, ["`runtime` (='onnxruntime')", "did you mean `onnxruntime-cpu`"]),
    ("benchmark torch of a file", f"{BENCHMARK} --runtime torch-eager", nothing, ["model.onnx: is a file, and torch-eager runs", "give file.py:function"]),
    ("benchmark threads", f"{BENCHMARK} --threads 1,4096", nothing, ["`--threads` (=4096) is more than the", "give at most"]),
    ("benchmark concurrency", f"{BENCHMARK} --concurrency 4096", nothing, ["`--concurrency` (=4096) is more than the"]),
    ("benchmark size of letters", f"{BENCHMARK} --size words", nothing, ["`--size` (='words')", "write words=16,128"]),
    ("benchmark size unknown", f"{BENCHMARK} --size words=16", nothing, ["`--size` (='words') is no free axis", "the free axes are: none"]),
    ("benchmark here", f"{BENCHMARK} --here aws:m7i.lrge", nothing, ["aws:m7i.lrge", "did you mean `aws:m7i.large`"]),
    ("benchmark gate of one", f"{BENCHMARK} --fail-if-slower 3%", nothing, ["`--fail-if-slower` (=0.03)", "a second model"]),
    ("benchmark of a folder", "benchmark model.onnx .", nothing, ["are not two runs", "two run folders"]),
    ("benchmark of a folder of nothing", "benchmark here here", folder("here"), ["here: holds no profile"]),
    ("benchmark of no rows", f"{BENCHMARK} --data holdout.npz", arrays(x=X[:0]), ["holdout.npz: (={'x': 0}) holds no rows"]),
    ("benchmark of other columns", f"{BENCHMARK} --data holdout.npz", arrays(x=X[:, :3]), ["holdout.npz: `x` is float32 [30, 3] where the model takes"]),
    ("prices without catalog", "doctor --prices prices.csv", prices(1), ["`--prices` is listed with the catalogue", "add --catalog"]),
    ("benchmark precision", f"{BENCHMARK} --precision 0", nothing, ["`--precision`", "can never be reached", "write 5%"]),
    ("benchmark data", f"{BENCHMARK} --data holdout.npz", arrays(z=X), ["holdout.npz: `x` is an input"]),
    ("trace without the column", "trace recorded.parquet", nothing, ["recorded.parquet", "its columns are asked_at, a", "is of no format that is known", "--time"]),
    ("trace of one request", "trace arrivals.csv", arrive(1.0), ["arrivals.csv: `time` (=1) has fewer than two requests"]),
    ("trace of one instant", "trace arrivals.csv", arrive(1.0, 1.0), ["arrivals.csv: `time` has all its requests at one instant"]),
    ("trace NaN", "trace arrivals.csv", arrive(1.0, "NaN", "NaN", "NaN", 2.0), ["arrivals.csv", "time_missing"]),
    ("simulate without traffic", "simulate --profile profile.npz", nothing, ["--trace and --arrivals", "need exactly one"]),
    ("simulate with both", f"{SIMULATE} --arrivals poisson(rate=9)", nothing, ["--trace and --arrivals", "need exactly one"]),
    ("simulate generator", "simulate --profile profile.npz --arrivals poison(rate=9)", nothing, ["`--arrivals` (='poison') is not known", "did you mean `poisson`?"]),
    ("simulate rate of dots", "simulate --profile profile.npz --arrivals poisson(rate=1.1.1)", nothing, ["`--arrivals` (='1.1.1') is not a rate", "900, or 30/min"]),
    ("simulate rate zero", "simulate --profile profile.npz --arrivals poisson(rate=0)", nothing, ["`--arrivals` (=0.0) must be above zero"]),
    ("simulate scenario", f"{SIMULATE} --scenario flashcrowd", nothing, ["`--scenario` (='flashcrowd')", "did you mean `flash-crowd`?"]),
    ("simulate never profiled", f"{SIMULATE} --max-batch 64", nothing, ["`--max-batch` (=64) was never profiled", "measured sizes are [1, 8]"]),
    ("simulate wait", f"{SIMULATE} --max-wait 3", nothing, ["`--max-wait` (='3') is not a duration"]),
    ("simulate speed", f"{SIMULATE} --speed 0", nothing, ["`--speed` (=0.0) is not a speed", "above zero"]),
    ("profile missing", "simulate --profile nowhere.npz --trace arrivals.csv", nothing, ["nowhere.npz: is not a file", "benchmark --out"]),
    ("profile another file", "simulate --profile model.onnx --trace arrivals.csv", nothing, ["model.onnx: is not a latency profile"]),
    ("plan hardware", PLAN.replace("D2s_v5", "D2s_v9"), nothing, ["`--hardware` (='azure:D2s_v9')", "did you mean `azure:D2s_v5`"]),
    ("plan spot", PLAN.replace("azure:D2s_v5", "spot(azure:D2s_v5)"), nothing, ["`--hardware` (='spot(azure:D2s_v5)') needs instance types"]),
    ("plan batcher", f"{PLAN} --batcher rayserve", nothing, ["`--batcher` (='rayserve')", "did you mean `ray-serve`"]),
    ("plan assume", f"{PLAN} --patterns all --assume cold=1s", nothing, ["`--assume`", "has no setting cold"]),
    ("plan slo of zero", PLAN.replace("50ms", "0ms"), nothing, ["`--slo` (='p99<=0ms')", "its bound is zero"]),
    ("plan slo below service", PLAN.replace("50ms", "1us"), nothing, ["p99 ≤ 1 µs", "cannot be kept by any deployment", "allow more than"]),
    ("plan never profiled", PLAN.replace("1,8", "1,9"), nothing, ["`--max-batch` (=9) was never profiled"]),
    ("plan confidence", f"{PLAN} --confidence 100%", nothing, ["`--confidence` (=1.0) must lie between 50% and 100%"]),
    ("plan waits", f"{PLAN} --max-wait 1ms,2", nothing, ["`--max-wait` (='2') is not a duration"]),
    ("backtest missing", "backtest nowhere.toml", nothing, ["nowhere.toml: does not exist"]),
    ("backtest key", "backtest backtest.toml", edit("horizon", "horizn", "backtest.toml"), ["`backtest.horizn` is not a key", "did you mean `horizon`?"]),
    ("backtest candidate", "backtest backtest.toml", edit('["challenger"]', '["chalenger"]', "backtest.toml"), ["backtest.toml: `backtest.candidates` (='chalenger') has no predictions", "did you mean `challenger`?"]),
    ("backtest column", "backtest backtest.toml", edit("p_new", "p_nwe", "backtest.toml"), ["logged.parquet: `p_nwe` is not a column", "did you mean `p_new`?"]),
    ("backtest prediction null", "backtest backtest.toml", frame(lambda t: t.with_columns(p_new=pl.lit(None, pl.Float64)), "logged.parquet"), ["logged.parquet: `p_new` has no number in 1,440 of 1,440 requests", "most_missing"]),
    ("backtest known too early", "backtest backtest.toml", frame(lambda t: t.with_columns(pl.col("known_at") - timedelta(days=1)), "logged.parquet"), ["logged.parquet: `known_at` (label_time) (='2023-12-31T01:00:00Z')", "1,440 labels were known more than 1 s before the request", "time zone"]),
    ("gate nothing", "gate nowhere", nothing, ["nowhere: is not a run folder"]),
    ("verify a folder", "verify .", nothing, [".: is not a run folder", "windtunnel run --out"]),
    ("report nothing", "report nowhere", nothing, ["nowhere: is not a run folder"]),
    ("serve nothing", "serve nowhere", nothing, ["nowhere: does not exist"]),
    ("serve wait", "serve model.onnx --max-wait 3", nothing, ["`--max-wait` (='3') is not a duration"]),
    ("serve truncated", "serve model.onnx", halve("model.onnx"), ["model.onnx: is not a whole ONNX model"]),
    ("export a file", "export model.onnx", nothing, ["model.onnx: is ONNX by its name, and needs no export; give it to the other commands as it is"]),
    ("export over a file", "export made.py:factory --out model.onnx", nothing, ["`--out` (='model.onnx') exists"]),
    ("export a bad factory", "export made.py:Tiny --out new.onnx", nothing, ["did not return a module and its example inputs"]),
    ("unknown verb", "frobnicate", nothing, ["No such command 'frobnicate'"]),
    ("unknown option", "run --frobnicate", nothing, ["No such option", "--frobnicate"]),
]  # fmt: skip


@pytest.mark.parametrize(("command", "spoil", "needles"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_refused(home: Path, windtunnel: Command, command: str, spoil: Spoil, needles: list[str]) -> None:
    """Exit 2, nothing on stdout, one message without a traceback, and no folder left behind."""
    spoil(home)
    before = sorted(home.iterdir())
    ran = windtunnel(*command.split(" "), *([] if command.startswith(("serve", "frobnicate")) else ["--json"]))

    assert (ran.code, ran.out) == (2, "")
    for needle in needles:
        assert needle in ran.err
    assert ran.err.count("windtunnel: ") <= 1
    assert "Traceback" not in ran.err
    assert sorted(path for path in home.iterdir() if path.name != "__pycache__") == before


def test_names_are_used_once() -> None:
    """No case stands in the table twice."""
    names = [case[0] for case in CASES]

    assert len(set(names)) == len(names)


@pytest.mark.parametrize(
    ("make", "needle"),
    [
        (lambda out: out.write_text("mine"), "is a file; choose a folder"),
        (lambda out: (out.mkdir(), (out / "notes.txt").write_text("mine")), "holds something that is not a run"),
    ],
)
@pytest.mark.parametrize("command", [RUN, SIMULATE, "backtest backtest.toml"])
def test_out_is_taken(home: Path, windtunnel: Command, command: str, make: Spoil, needle: str) -> None:
    """An --out that is not a run is refused and left as it is."""
    make(home / "taken")
    before = {path: path.read_bytes() for path in [home / "taken", *home.glob("taken/*")] if path.is_file()}
    ran = windtunnel(*command.split(" "), "--out", "taken")

    assert (ran.code, ran.out) == (2, "")
    assert f"`--out` (='taken') {needle}" in ran.err
    assert before == {path: path.read_bytes() for path in [home / "taken", *home.glob("taken/*")] if path.is_file()}


def test_out_of_another_pipeline(home: Path, windtunnel: Command) -> None:
    """An --out that holds another pipeline's run is refused and stays intact."""
    windtunnel(*SIMULATE.split(" "), "--out", "taken")
    ran = windtunnel(*RUN.split(" "), "--out", "taken")

    assert ran.code == 2
    assert "`--out` (='taken') holds a run of `simulate`, not of `tiny`; choose another folder" in ran.err
    assert windtunnel("verify", "taken").code == 0
    assert home.is_dir()


def test_refusal_keeps_what_was_finished(home: Path, windtunnel: Command) -> None:
    """A refusal takes back only a folder that was new: what an earlier call finished stays, intact."""
    windtunnel(*SIMULATE.split(" "), "--out", "kept")
    (home / "arrivals.csv").write_text("time\n2\n")

    assert windtunnel(*SIMULATE.split(" "), "--out", "kept").code == 2
    assert windtunnel("gate", "kept").code == 0


def test_debug_shows_the_traceback(windtunnel: Command) -> None:
    """--debug shows where a refusal was raised, before the same message; without it there is none."""
    plain = windtunnel("gate", "nowhere")
    debugged = windtunnel("gate", "nowhere", "--debug")

    assert "Traceback" in debugged.err
    assert "Traceback" not in plain.err
    assert debugged.err.endswith(plain.err)
    assert (plain.code, debugged.code) == (2, 2)
