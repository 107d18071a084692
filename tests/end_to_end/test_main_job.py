"""The main job, from raw flights to a decision, through the installed command."""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import numpy as np
import onnxruntime
import polars as pl

from windtunnel.run_folder import RunManifest

from .conftest import COMMAND, windtunnel, write_slice

if TYPE_CHECKING:
    from pathlib import Path

    from .conftest import Finished

STAGES = ["optimize", "benchmark", "simulate", "backtest"]
EXIT_CODES = {"go": 0, "no-go": 1, "inconclusive": 3}


def test_document_has_the_promised_shape(finished: Finished) -> None:
    """`run --json` prints one document: schema, verdict, reasons, run, and one object per stage with its own verdict."""
    document = finished.document

    assert document["schema"] == "windtunnel.run/1"
    assert EXIT_CODES[document["verdict"]] == finished.code
    assert document["run"] == str(finished.folder)
    assert document["reasons"]
    assert sorted(document["stages"]) == sorted(STAGES)
    for stage in STAGES:
        entry = document["stages"][stage]
        assert entry["verdict"] in EXIT_CODES
        assert entry["seconds"] > 0
        assert entry["cached"] is False


def test_verdict_is_the_gravest_of_the_stages(finished: Finished) -> None:
    """One no-go is a no-go, else one doubt is a doubt."""
    verdicts = {finished.document["stages"][stage]["verdict"] for stage in STAGES}
    gravest = next(outcome for outcome in ("no-go", "inconclusive", "go") if outcome in verdicts)

    assert gravest == finished.document["verdict"]


def test_variants_were_made_and_the_best_were_judged(finished: Finished) -> None:
    """int8, students and the parent in other runtimes are in the frontier; what was judged has its intervals, one is chosen."""
    frontier = finished.document["stages"]["optimize"]["frontier"]
    judged = [each for each in frontier if each["quality"] is not None]

    assert {"fp32", "int8-static", "int8-dynamic"} <= {each["name"] for each in frontier}
    assert judged[0]["name"] == "fp32"
    for each in judged:
        assert each["quality_drop_low"] <= each["quality_drop"] <= each["quality_drop_high"]
        assert each["speedup_low"] <= each["speedup"] <= each["speedup_high"]
    assert [each["status"] for each in frontier].count("chosen") == 1
    assert all(each["reason"] for each in frontier)


def test_never_ship_worse(finished: Finished) -> None:
    """The chosen variant is the parent, or is proven within the tolerance, faster, and indifferent to its neighbours."""
    chosen = finished.document["stages"]["optimize"]["chosen"]

    assert chosen["name"] == "fp32" or (
        chosen["quality_drop_high"] <= 0.05
        and chosen["speedup_low"] > 1.0
        and chosen["batch_dependence"]["neighbours"] <= 1e-4
    )


def test_quality_is_what_an_independent_reading_gives(finished: Finished) -> None:
    """The reported ROC AUC of the parent on the held-out rows is scikit-learn's, from bare ONNX Runtime and polars."""
    from datetime import UTC, datetime

    from sklearn.metrics import roc_auc_score

    rows = pl.read_parquet(finished.folder / "recording" / "recording.parquet")
    until = datetime(2013, 2, 10, tzinfo=UTC)
    held = rows.filter(
        (pl.col("time") >= datetime(2013, 1, 31, tzinfo=UTC))
        & (pl.col("time") < until)
        & (pl.col("label_time") < until)
    )
    session = onnxruntime.InferenceSession(finished.folder / "optimize" / "fp32.onnx")
    feeds = {}
    for each in session.get_inputs():
        column = held[each.name]
        if column.dtype == pl.String:
            width = each.shape[1]
            feeds[each.name] = np.array([[*text.encode()] for text in column], dtype=np.uint8).reshape(-1, width)
        else:
            feeds[each.name] = column.cast(pl.Float32).fill_null(float("nan")).to_numpy()
    expected = roc_auc_score(held["label"].to_numpy(), session.run(None, feeds)[0])

    parent = finished.document["stages"]["optimize"]["frontier"][0]
    assert abs(expected - parent["quality"]) < 1e-6
    assert held.height == parent["rows"]


def test_no_feature_was_known_too_late(finished: Finished) -> None:
    """Every weather feature equals the latest observation whose hour had ended before the question."""
    import importlib.util

    spec = importlib.util.spec_from_file_location("flights_again", finished.config.parent / "slice.py")
    assert spec is not None
    assert spec.loader is not None
    flights = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(flights)
    weather = flights.weather()
    rows = pl.read_parquet(finished.folder / "recording" / "recording.parquet").sample(200, seed=1)
    for row in rows.iter_rows(named=True):
        past = weather.filter((pl.col("origin") == row["origin"]) & (pl.col("known_at") < row["time"])).sort("known_at")
        fresh = past.filter(pl.col("known_at") >= row["time"] - pl.duration(hours=6))
        expected = fresh["visib"][-1] if fresh.height else None
        assert expected == row["visib"]


def test_machines_that_nobody_measured_are_projected(finished: Finished) -> None:
    """At least three CPU and two GPU machines are priced: each says on what it rests, with a band, wider for GPUs."""
    costs = finished.document["stages"]["benchmark"]["costs"]
    gpu = [cost for cost in costs if cost["hardware"] in {"aws:g4dn.xlarge", "aws:g5.xlarge"}]
    cpu = [cost for cost in costs if cost not in gpu]

    assert len({cost["hardware"] for cost in gpu}) >= 2
    assert len({cost["hardware"] for cost in cpu}) >= 3
    assert {"projected"} == {cost["basis"] for cost in costs}
    assert min(cost["band"] for cost in gpu) > max(cost["band"] for cost in cpu) > 1.0
    known = [cost for cost in costs if cost["usd_per_million"] is not None]
    assert all(cost["usd_per_million_low"] < cost["usd_per_million"] for cost in known)
    assert all(cost["price_date"] and cost["currency"] == "USD" for cost in costs)


def test_only_what_may_be_shipped_is_priced(finished: Finished) -> None:
    """The cost table speaks of the parent and of children that nothing keeps out, never of one that was refused."""
    frontier = finished.document["stages"]["optimize"]["frontier"]
    judged = [each for each in frontier if each["quality"] is not None]
    allowed = {each["name"] for each in judged if each["status"] in {"chosen", "on-frontier", "dominated"}}
    priced = {cost["variant"] for cost in finished.document["stages"]["benchmark"]["costs"]}

    assert "int8-dynamic" not in priced  # a row's answer moves with its batch
    assert priced == allowed | {"fp32"}


def test_a_hundred_deployments_were_tried(finished: Finished) -> None:
    """The plan chooses among a good hundred deployments on the recorded traffic and the flash crowd, and flies the fewest."""
    simulate = finished.document["stages"]["simulate"]

    assert simulate["possible"] >= 100 > simulate["evaluated"] > 0
    assert {"recorded", "flash-crowd"} == set(simulate["traces"])
    assert simulate["traces"]["recorded"]["requests"] < simulate["traces"]["flash-crowd"]["requests"]


def test_backtest_counts_match_a_count_by_hand(finished: Finished) -> None:
    """Asked, matured, expired and pending as of one midnight are what a filter over the recording counts."""
    from datetime import datetime, timedelta

    from windtunnel.quantity import parse_duration

    rows = pl.read_parquet(finished.folder / "recording" / "recording.parquet")
    horizon = timedelta(seconds=parse_duration("2d"))
    entry = [e for e in finished.document["stages"]["backtest"]["timeline"] if e["name"] == "fp32"][10]
    tau = datetime.fromisoformat(entry["as_of"])
    start = datetime.fromisoformat("2013-02-10T00:00:00+00:00")
    asked = rows.filter((pl.col("time") >= start) & (pl.col("time") < tau))
    matured = asked.filter((pl.col("label_time") <= tau) & (pl.col("label_time") - pl.col("time") <= horizon))
    late = asked.join(matured, on="id", how="anti")
    expired = late.filter(tau - pl.col("time") > horizon)

    assert (asked.height, matured.height, expired.height) == (entry["asked"], entry["matured"], entry["expired"])
    assert late.height - expired.height == entry["pending"]


def test_second_run_takes_everything_from_the_first(finished: Finished) -> None:
    """Run again with nothing changed: every stage is cached and the results are the same."""
    again = windtunnel("run", finished.config, "--out", finished.folder, "--json")
    document = json.loads(again.stdout)

    assert finished.code == again.returncode
    for stage in STAGES:
        assert document["stages"][stage].pop("cached") is True
        before = {key: value for key, value in finished.document["stages"][stage].items() if key != "cached"}
        assert before == document["stages"][stage]


def test_verify_finds_a_changed_byte(finished: Finished, tmp_path: Path) -> None:
    """`verify` leaves with 0 where the run is intact, and with 1 and the file's name after one byte was changed."""
    copy = tmp_path / "run"
    shutil.copytree(finished.folder, copy)
    intact = windtunnel("verify", copy)
    model = copy / "optimize" / "fp32.onnx"
    data = bytearray(model.read_bytes())
    data[len(data) // 2] ^= 1
    model.write_bytes(data)
    changed = windtunnel("verify", copy, "--json")

    assert intact.returncode == 0
    assert changed.returncode == 1
    assert json.loads(changed.stdout)["problems"] == ["optimize/fp32.onnx: changed"]
    assert windtunnel("gate", copy).returncode == 1


def test_gate_leaves_with_the_verdict(finished: Finished) -> None:
    """`gate` gives a pipeline the run's own exit code."""
    assert finished.code == windtunnel("gate", finished.folder).returncode


def test_report_opens_offline(finished: Finished) -> None:
    """`report` writes one HTML file that loads nothing from anywhere, has a plot per stage, and leaves the run intact."""
    ran = windtunnel("report", finished.folder)
    page = (finished.folder / "report.html").read_text()
    loads = re.findall(r"<(?:script|link|img|iframe)[^>]*\s(?:src|href)\s*=", page)

    assert ran.returncode == 0
    assert loads == []
    for stage in STAGES:
        section = re.search(rf'<section id="{stage}">.*?</section>', page, flags=re.DOTALL)
        assert section is not None
        assert 'class="plot"' in section[0]
    assert windtunnel("verify", finished.folder).returncode == 0


def test_load_gives_the_chosen_variant(finished: Finished) -> None:
    """In a clean process `windtunnel.load(RUN)` answers as bare ONNX Runtime does with the chosen file."""
    chosen = finished.document["stages"]["optimize"]["chosen"]
    code = (
        "import sys, json, numpy as np, windtunnel\n"
        f"s = windtunnel.load({str(finished.folder)!r})\n"
        "feeds = {t.name: np.zeros([2, *t.shape[1:]], t.dtype) for t in s.signature.inputs}\n"
        "print(json.dumps({k: v.tolist() for k, v in s.run(feeds).items()}))\n"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    session = onnxruntime.InferenceSession(finished.folder / "optimize" / chosen["path"])
    dtypes = {"tensor(uint8)": np.uint8, "tensor(float)": np.float32}
    feeds = {each.name: np.zeros([2, *each.shape[1:]], dtypes[each.type]) for each in session.get_inputs()}

    assert np.allclose(session.run(None, feeds)[0], json.loads(ran.stdout)["output"])


def test_bundle_checks_itself(finished: Finished) -> None:
    """The bundle's own script runs its samples, finds what was expected, and exits 0."""
    check = finished.folder / "optimize" / "bundle" / "check.py"

    assert subprocess.run([sys.executable, check], capture_output=True, check=False).returncode == 0


def test_another_pipeline_is_refused(finished: Finished, tmp_path: Path) -> None:
    """A folder that holds a run of another pipeline is not written to: exit 2, and the run stays intact."""
    config = write_slice(tmp_path)
    config.write_text(config.read_text().replace('name = "slice"', 'name = "other"'))
    ran = windtunnel("run", config, "--out", finished.folder)

    assert ran.returncode == 2
    assert "holds a run of `slice`, not of `other`" in ran.stderr
    assert windtunnel("verify", finished.folder).returncode == 0


def test_ctrl_c_leaves_a_run_that_goes_on(finished: Finished, tmp_path: Path) -> None:
    """Ctrl-C while a stage is under way: exit 130; the same command again takes what was finished and ends alike."""
    copy = tmp_path / "run"
    shutil.copytree(finished.folder, copy)
    config = write_slice(tmp_path / "config")
    # another precision: what comes before the benchmark stays, the benchmark is done again
    config.write_text(config.read_text().replace('precision = "10%"', 'precision = "11%"'))
    said = []
    with subprocess.Popen(
        [COMMAND, "run", config, "--out", copy], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        for line in process.stderr:
            said.append(line)
            if line.startswith("benchmark …"):
                process.send_signal(signal.SIGINT)
    code = process.returncode
    again = windtunnel("run", config, "--out", copy, "--json")

    assert code == 130, said
    assert again.returncode in EXIT_CODES.values(), again.stderr
    assert said[-1].startswith("interrupted")
    assert "Traceback" not in "".join(said)
    document = json.loads(again.stdout)
    cached = {name: document["stages"][name]["cached"] for name in STAGES}
    assert (cached["optimize"], cached["benchmark"]) == (True, False)
    assert windtunnel("verify", copy).returncode == 0


def test_manifest_names_what_the_result_depends_on(finished: Finished) -> None:
    """A stage's manifest holds parameters, seed, digests of inputs and outputs, versions, hardware and seconds."""
    manifest = RunManifest.from_file(finished.folder / "backtest" / "manifest.json")

    assert manifest.seed == 1
    assert set(manifest.inputs) > {"recording", "fp32"}
    assert {"result.json", "section.json", "predictions.parquet"} == set(manifest.outputs)
    assert {"python", "windtunnel", "torch", "onnxruntime"} <= set(manifest.environment)
    assert manifest.hardware["cores"] > 0
