"""`windtunnel serve` with a canary, a shadow and a log; `windtunnel rollback`; `windtunnel backtest` on what was logged."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import polars as pl
import pytest
from onnx import TensorProto, helper, numpy_helper

from windtunnel.deployment import BatchPolicy, Deployment
from windtunnel.serving.running import serving
from windtunnel.serving.split import CANARY, Split

COMMAND = Path(sys.executable).parent / "windtunnel"
SHARE, CLIENTS, BEFORE, AFTER = 0.3, 4, 150, 40
FACTORS = {"old": 1.0, "new": 2.0, "far": 3.0}

BACKTEST = """
[backtest]
recording = "days"
incumbent = "served"
candidates = ["far"]
metric = "squared_error"
every = "1d"
horizon = "1d"

[backtest.columns]
predictions = { served = "prediction", far = "prediction.far" }
features = ["x[0]"]
arm = "arm"

[backtest.labels]
source = "labels.parquet"
id = "id"
label = "truth"
known_time = "known"

[backtest.ab_test]
control = "primary"
treatment = "canary"
shares = [0.7, 0.3]
"""


def _write_model(path: Path, factor: float) -> Path:
    """`y` = factor · the first of `x`: whoever answers is known by its answer."""
    weights = numpy_helper.from_array(np.array([factor, 0, 0, 0], np.float32), "w")
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 4])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch"])
    graph = helper.make_graph([helper.make_node("MatMul", ["x", "w"], ["y"])], path.stem, [x], [y], [weights])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), str(path))
    return path


@dataclass(frozen=True)
class Answered:
    """What one client saw of one request; `later`: it was sent after the rollback had returned."""

    number: int
    status: int
    model: str
    value: float
    later: bool


def _ask(url: str, number: int, *, later: bool) -> Answered:
    tensor = {"name": "x", "shape": [1, 4], "datatype": "FP32", "data": [number, 1, 1, 1]}
    body = json.dumps({"id": str(number), "inputs": [tensor]}).encode()
    with urllib.request.urlopen(urllib.request.Request(f"{url}/infer", data=body), timeout=60) as answer:  # noqa: S310  # loopback
        found = json.load(answer)
        assert found["id"] == str(number)
        return Answered(number, answer.status, answer.headers["x-model"], found["outputs"][0]["data"][0], later)


class Stream:
    """Clients that ask without a pause: each its next request as soon as it has an answer."""

    def __init__(self, url: str) -> None:
        self.url, self.seen, self.errors = url, list[Answered](), list[Exception]()
        self._stop, self.returned, self._more = threading.Event(), threading.Event(), threading.Condition()
        self._threads = [threading.Thread(target=self._ask_on, args=(first,)) for first in range(CLIENTS)]

    def __enter__(self) -> Stream:  # noqa: PYI034  # no subclass
        for each in self._threads:
            each.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for each in self._threads:
            each.join()

    def _ask_on(self, number: int) -> None:
        while not self._stop.is_set():
            try:
                found = _ask(self.url, number, later=self.returned.is_set())
            except Exception as error:  # noqa: BLE001  # the test says that there is none
                self.errors.append(error)
                found = Answered(number, 0, "", 0.0, later=False)
            with self._more:
                self.seen.append(found)
                self._more.notify_all()
            number += CLIENTS

    def until(self, count: int, *, later: bool = False) -> None:
        """Return when so many were answered."""
        with self._more:
            assert self._more.wait_for(lambda: sum(each.later >= later for each in self.seen) >= count, timeout=60)


@dataclass(frozen=True)
class Day:
    """All that happened."""

    home: Path
    answers: tuple[Answered, ...]
    errors: tuple[Exception, ...]
    rollback: dict[str, Any]
    metrics: str


@pytest.fixture(scope="module")
def day(tmp_path_factory: pytest.TempPathFactory) -> Day:
    """A server with company, a stream of requests, a rollback in the middle of it, more requests, and an orderly end."""
    home = tmp_path_factory.mktemp("day")
    models = {name: _write_model(home / f"{name}.onnx", factor) for name, factor in FACTORS.items()}
    company = ["--canary", f"{models['new']}={SHARE}", "--shadow", str(models["far"]), "--log", str(home / "log")]
    deployment = Deployment("old", 1, BatchPolicy(8, 0.001), machines=1, usd_per_hour=0.0)
    with serving(models["old"], deployment, more=company) as served, Stream(served.url) as stream:
        stream.until(BEFORE)
        port = served.root.rpartition(":")[2]
        ran = subprocess.run([COMMAND, "rollback", "--port", port, "--json"], capture_output=True, text=True)
        assert ran.returncode == 0, ran.stderr
        stream.returned.set()
        stream.until(AFTER, later=True)
        with urllib.request.urlopen(f"{served.root}/metrics", timeout=60) as page:  # noqa: S310  # loopback
            metrics = page.read().decode()
    return Day(home, tuple(stream.seen), tuple(stream.errors), json.loads(ran.stdout), metrics)


def test_no_request_is_lost(day: Day) -> None:
    """Through a rollback, and until the stream ends, every request is answered 200, rightly, by the model that it names."""
    assert day.errors == ()
    assert {each.status for each in day.answers} == {200}
    assert [each for each in day.answers if each.value != FACTORS[each.model] * each.number] == []


def test_the_canary_has_its_keys_until_the_rollback(day: Day) -> None:
    """Before, the hash says who answers; after the command has returned the canary answers nobody."""
    for each in day.answers[:BEFORE]:
        assert each.model == ("new" if Split(SHARE).arm_of(str(each.number))[0] == CANARY else "old")

    assert day.rollback == {"canary": SHARE, "shadow": True, "replicas": 1}
    assert {each.model for each in day.answers if each.later} == {"old"}


def _log(day: Day) -> pl.DataFrame:
    return pl.read_parquet(day.home / "log" / "*.parquet")


def test_the_log_holds_what_was_answered(day: Day) -> None:
    """One row a request, with the model, the answer, the inputs, and what the shadow said while it was there."""
    log = {int(row["id"]): row for row in _log(day).to_dicts()}

    assert sorted(log) == sorted(each.number for each in day.answers)
    for each in day.answers:
        row = log[each.number]
        assert (row["model"], row["prediction"], row["x[0]"]) == (each.model, each.value, each.number)
        assert row[f"prediction.{each.model}"] == each.value
        assert row["prediction.far"] in {3.0 * each.number, None}
        assert (row["weight"], row["latency_s"] > 0.0) == (1.0, True)
    shadowed = [log[each.number]["prediction.far"] for each in day.answers[:BEFORE]]
    assert sum(value is not None for value in shadowed) > 0.9 * BEFORE


def test_what_happened_is_counted(day: Day) -> None:
    """The metrics tell of canary, shadow and log."""
    told = dict(line.rsplit(" ", 1) for line in day.metrics.splitlines() if not line.startswith("#"))

    assert int(told['windtunnel_canary_requests_total{outcome="answered"}']) == sum(
        e.model == "new" for e in day.answers
    )
    assert int(told['windtunnel_shadow_requests_total{outcome="answered"}']) > 0.9 * BEFORE
    assert int(told['windtunnel_log_requests_total{outcome="failed"}']) == 0


def test_the_backtest_reads_the_log(day: Day, tmp_path: Path) -> None:
    """`windtunnel backtest` takes the folder as it is; here a second of serving is spread over days, so that there are looks."""
    log = _log(day).filter((pl.col("propensity") < 1.0) & pl.col("prediction.far").is_not_null())
    start = log["time"].min()
    span = (log["time"].max() - start).total_seconds()  # type: ignore[operator,union-attr]  # a column of times
    log = log.with_columns(time=start + (pl.col("time") - start) * round(6 * 86400 / span))
    (tmp_path / "days").mkdir()
    log.write_parquet(tmp_path / "days" / "log.parquet")
    known = log["time"].dt.offset_by("6h")
    log.select("id", truth=pl.col("x[0]") * 1.1, known=known).write_parquet(tmp_path / "labels.parquet")
    (tmp_path / "backtest.toml").write_text(BACKTEST)
    ran = subprocess.run([COMMAND, "backtest", "backtest.toml", "--json"], cwd=tmp_path, capture_output=True, text=True)
    assert ran.returncode in {0, 1, 3}, ran.stderr
    told = json.loads(ran.stdout)

    assert told["intake"]["format"] == "windtunnel"
    assert told["intake"]["requests"] == len(log)
    assert [each["name"] for each in told["candidates"]] == ["far"]
    assert told["ab_test"]["outcome"] == "label"


def test_nothing_half_written_is_left(day: Day) -> None:
    """The server finished its pieces before it went."""
    assert {path.suffix for path in (day.home / "log").iterdir() if path.name != ".lock"} == {".parquet"}
