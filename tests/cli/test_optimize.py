"""`windtunnel optimize` as a user types it: what is promised, what is refused, and that it goes on where it was stopped."""

from __future__ import annotations

import contextlib
import importlib
import json
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import pytest
from onnx import helper

import windtunnel as package
from windtunnel.digest import digest_file
from windtunnel.optimize import explore, search, space
from windtunnel.optimize.race import Finish
from windtunnel.optimize.static_int8 import static_int8
from windtunnel.table import write_arrays
from windtunnel.timings import Timings

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from tests.cli.conftest import Command

    Spoil = Callable[[Path], object]

PROMISED = {
    "name", "path", "runtime", "settings", "p50_s", "speedup", "speedup_low", "speedup_high", "quality", "quality_drop",
    "quality_drop_high", "bytes",
}  # fmt: skip
STATUSES = {
    "chosen", "on-frontier", "dominated", "not-proven", "worse", "slower", "batch-dependent", "failed",
}  # fmt: skip
OPTIMIZE = ("optimize", "model.onnx", "--data", "holdout.npz", "--runtime", "onnxruntime-cpu", "--budget", "20s")


class _Planted:
    """How fast each variant is, by its name, in place of every clock; and how often static int8 was made."""

    def __init__(self) -> None:
        self.of = {"int8-static": 3.0, "int8-dynamic": 0.5}
        self.made = 0

    def race(self, _parent: Any, ways: Sequence[Any], cells: Sequence[Any], **_more: Any) -> Any:
        """In place of a race."""
        speeds = [self.of.get(way.path.stem, 1.0) for way in ways]
        finishes = [
            Finish(way, speed, {c.name: speed for c in cells}, {c.name: 1e-3 / speed for c in cells}, 0.0)
            for way, speed in zip(ways, speeds, strict=True)
        ]
        return sorted(finishes, key=lambda each: -each.speedup), []

    def timing(self, *_given: Any) -> Any:
        """In place of the measuring stage."""

        def measure(openers: Any, _feeds: Any, batch_sizes: Any, **_budget: Any) -> Timings:
            rng = np.random.default_rng(1)
            blocks = {
                (name, batch): tuple(1e-3 / self.of.get(name, 1.0) * rng.uniform(0.99, 1.01, 20) for _ in range(12))
                for name in openers
                for batch in batch_sizes
            }
            return Timings(blocks, dict.fromkeys(blocks, True))

        return measure


@pytest.fixture
def planted(monkeypatch: pytest.MonkeyPatch) -> _Planted:
    """Two children only, of planted speeds, so that no clock decides what is found."""
    found = _Planted()

    def few(*arguments: Any) -> Any:
        branches, skipped = space.propose(*arguments)
        return [each for each in branches if each.step.name in found.of], skipped

    def counted(*arguments: Any) -> None:
        found.made += 1
        static_int8(*arguments)

    monkeypatch.setattr(search, "propose", few)
    monkeypatch.setattr(search, "race", found.race)
    monkeypatch.setattr(explore, "race", found.race)
    monkeypatch.setattr(space, "static_int8", counted)
    # the package's `optimize` is the verb; its module is what is called so on the path
    monkeypatch.setattr(importlib.import_module("windtunnel.verbs.optimize"), "timing", found.timing)
    return found


def _models(folder: Path) -> dict[str, str]:
    """The digest of every model in a run folder."""
    return {path.name: digest_file(path) for path in (folder / "optimize").glob("*.onnx")}


def _check_frontier(document: dict[str, Any], out: Path) -> None:
    """What holds of every result: all keys everywhere, reasons, and files that are what they are said to be."""
    assert set(document["chosen"]) >= PROMISED
    assert document["chosen"] in document["frontier"]
    for entry in document["frontier"]:
        assert set(entry) >= {*PROMISED, "status", "reason"}
        assert entry["status"] in STATUSES
        assert entry["reason"]
        if entry["status"] != "failed":
            assert digest_file(out / "optimize" / entry["path"]) == entry["sha256"]
    assert [each["status"] for each in document["frontier"]].count("chosen") == 1
    assert all(each["name"] and each["reason"] for each in document["skipped"])
    assert document["tried"] == len(document["frontier"])


def test_a_model_and_its_bundle(home: Path, windtunnel: Command) -> None:
    """With real clocks: one JSON document that keeps its promises, and a bundle that checks itself where nobody knows us."""
    ran = windtunnel(
        "optimize", "model.onnx", "--data", "holdout.npz", "--metric", "agreement", "--max-drop", "1%", "--batch", "1",
        "--budget", "2s", "--out", "runs/m", "--bundle", "bundle/", "--json",
    )  # fmt: skip
    document = ran.document

    assert (ran.code, document["verdict"], document["schema"]) == (0, "go", "windtunnel.optimize/1")
    _check_frontier(document, home / "runs" / "m")
    assert document["frontier"][0]["name"] == "fp32"
    assert (document["interrupted"], document["cached"], document["run"]) == (False, False, "runs/m")
    assert document["chosen"]["rows"] == 960
    checked = subprocess.run([sys.executable, "bundle/check.py"], capture_output=True, text=True, cwd=home)
    assert checked.returncode == 0, checked.stderr


def test_a_factory_on_a_table(home: Path, windtunnel: Command) -> None:
    """With real clocks: a package's factory is exported, fed from a table, and judged by labels at each batch size."""
    (home / "shop").mkdir()
    (home / "shop" / "__init__.py").touch()
    (home / "shop" / "ranking.py").write_text((home / "made.py").read_text())
    pl.read_parquet(home / "recorded.parquet").rename({"label": "late"}).write_parquet(home / "data.parquet")
    ran = windtunnel(
        "optimize", "shop.ranking:factory", "--data", "data.parquet", "--label", "late", "--metric", "roc_auc",
        "--max-drop", "0.005", "--batch", "1,32", "--budget", "500ms", "--runtime", "onnxruntime-cpu", "--out", "o", "--json",
    )  # fmt: skip
    document = ran.document

    assert (ran.code, document["verdict"]) == (0, "go"), ran.err
    _check_frontier(document, home / "o")
    assert (document["chosen"]["metric"], set(document["chosen"]["p50_s"])) == ("roc_auc", {"1", "32"})
    assert [each["name"] for each in document["chosen"]["signature"]["inputs"]] == list("abcd")


def test_a_child_is_chosen_and_told(home: Path, windtunnel: Command, planted: _Planted) -> None:
    """A child that is proven and faster is chosen, printed for people, bundled, and answers alike from every place."""
    ran = windtunnel(*OPTIMIZE, "--out", "o", "--bundle", "bundle")
    told = windtunnel(*OPTIMIZE, "--out", "o", "--json").document

    assert (ran.code, planted.made) == (0, 1)
    assert "int8-static is 3.0" in ran.out
    assert (told["chosen"]["name"], told["chosen"]["settings"]["step"]) == ("int8-static", "static-int8")
    assert told["chosen"]["speedup_low"] > 2.5
    assert told["chosen"]["quality_drop_high"] <= 0.01
    assert {each["name"]: each["status"] for each in told["frontier"]}["int8-dynamic"] == "slower"
    assert digest_file(home / "bundle" / "model.onnx") == told["chosen"]["sha256"]

    rows = {"x": np.load(home / "holdout.npz")["x"][:5]}
    answers = [package.load(home / place).run(rows)["y"] for place in ("o", "bundle")]
    assert np.array_equal(answers[0], answers[1])


def test_the_same_seed_makes_the_same_bytes(home: Path, windtunnel: Command, planted: _Planted) -> None:
    """Everything that is made is the same, bit for bit, for the same seed."""
    for out in ("one", "two"):
        windtunnel(*OPTIMIZE, "--seed", 7, "--out", out)

    assert _models(home / "one") == _models(home / "two")
    assert set(_models(home / "one")) == {"fp32.onnx", "int8-static.onnx", "int8-dynamic.onnx"}
    assert planted.made == 2


def test_the_same_is_done_once(home: Path, windtunnel: Command, planted: _Planted) -> None:
    """A second run is taken from the first; one with another tolerance is searched anew, and makes no file again."""
    first = windtunnel(*OPTIMIZE, "--out", "o", "--json").document
    second = windtunnel(*OPTIMIZE, "--out", "o", "--json").document

    assert (first["cached"], second["cached"]) == (False, True)
    assert second == {**first, "cached": True}

    before = _models(home / "o")
    third = windtunnel(*OPTIMIZE, "--max-drop", "2%", "--out", "o", "--json").document
    assert (third["cached"], planted.made) == (False, 1)
    assert _models(home / "o") == before


DEADLINE_S = 60.0


def _signalled(home: Path, record: str, number: signal.Signals, *, out: str) -> subprocess.CompletedProcess[str]:
    """Start the command in a process of its own, and signal it once a variant's record is there."""
    start = "from windtunnel.cli import main; main()"
    command = [sys.executable, "-c", start, *OPTIMIZE, "--out", out, "--json"]
    process = subprocess.Popen(command, cwd=home, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    until_s = time.monotonic() + DEADLINE_S
    while not list((home / out).glob(f".work-*/{record}")):
        assert time.monotonic() < until_s
        with contextlib.suppress(subprocess.TimeoutExpired):  # that it goes on is what is hoped for
            raise AssertionError(process.communicate(timeout=0.02))
    process.send_signal(number)
    printed = process.communicate(timeout=DEADLINE_S)
    return subprocess.CompletedProcess(command, process.returncode, *printed)


def test_killed_it_goes_on(home: Path, windtunnel: Command, planted: _Planted) -> None:
    """A run that was killed goes on where it was: what it had finished is not made again, and nothing is left over."""
    killed = _signalled(home, "int8-static.json", signal.SIGKILL, out="o")
    (made,) = (home / "o").glob(".work-*/int8-static.onnx")
    stamp = made.stat().st_mtime_ns
    ran = windtunnel(*OPTIMIZE, "--out", "o", "--json")

    assert (killed.returncode, killed.stdout) == (-signal.SIGKILL, "")
    assert (ran.code, ran.document["chosen"]["name"], ran.document["interrupted"]) == (0, "int8-static", False)
    assert planted.made == 0
    assert (home / "o" / "optimize" / "int8-static.onnx").stat().st_mtime_ns == stamp
    assert [each.name for each in (home / "o").iterdir() if each.name.startswith(".") and each.name != ".lock"] == []
    assert windtunnel("verify", "o").code == 0


def test_stopped_it_tells_the_best_so_far(home: Path, windtunnel: Command, planted: _Planted) -> None:
    """Ctrl-C prints what was found by then and leaves with 130; the same command goes on from there."""
    stopped = _signalled(home, "int8-static.json", signal.SIGINT, out="o")
    document = json.loads(stopped.stdout)

    assert (stopped.returncode, document["interrupted"]) == (130, True)
    assert "Traceback" not in stopped.stderr
    assert stopped.stderr.endswith("interrupted; what was finished is kept\n")
    assert "the same command goes on from there" in document["would_change"][-1]
    _check_frontier(document, home / "o")

    ran = windtunnel(*OPTIMIZE, "--out", "o", "--json").document
    assert (ran["interrupted"], ran["cached"], planted.made) == (False, False, 0)
    assert windtunnel(*OPTIMIZE, "--out", "o", "--json").document["cached"] is True


def test_stopped_without_a_name_it_goes_on(
    home: Path, windtunnel: Command, planted: _Planted, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run folder that is named by what was asked is gone on with too."""
    follow = explore.Explorer._follow

    def interrupted(self: explore.Explorer, branch: Any) -> None:
        if branch.step.name == "int8-dynamic":
            raise KeyboardInterrupt
        follow(self, branch)

    with monkeypatch.context() as patched:
        patched.setattr(explore.Explorer, "_follow", interrupted)
        stopped = windtunnel(*OPTIMIZE, "--json")
    ran = windtunnel(*OPTIMIZE, "--json")

    assert (stopped.code, stopped.document["interrupted"], ran.code) == (130, True, 0)
    assert (stopped.document["run"], planted.made) == (ran.document["run"], 1)
    assert [each.name for each in (home / "runs").iterdir()] == [ran.document["run"].rpartition("/")[2]]


X = np.zeros((30, 4), np.float32)
TROUBLE = """\
import torch


def metric(label, told):
    raise ValueError("of mine")


def loader():
    yield {"x": torch.zeros(3, 4).numpy()}
    raise OSError("the disk is gone")


def factory():
    return inner()


def inner():
    raise LookupError("no weights")
"""


def _arrays(**changed: np.ndarray) -> Spoil:
    """Write other arrays in place of the holdout."""
    return lambda home: write_arrays(home / "holdout.npz", changed)


def _nothing(_home: Path) -> None:
    """Leave the world as it is: the command itself is at fault."""


def _halve(home: Path) -> None:
    """Cut the model in the middle."""
    (home / "model.onnx").write_bytes((home / "model.onnx").read_bytes()[:60])


def _junk(home: Path) -> None:
    """Write what is no archive in place of the holdout."""
    (home / "holdout.npz").write_bytes(b"junk" * 10)


CASES: list[tuple[str, str, Spoil, list[str]]] = [
    ("objective", "--objective speed", _nothing, ["`--objective` (='speed') is not an objective; known: memory, p50, p99, size, throughput"]),
    ("runtime", "--runtime openvin", _nothing, ["`--runtime` (='openvin') is not known; did you mean `openvino`"]),
    ("runtime of modules", "--runtime torch-eager", _nothing, ["`--runtime` (='torch-eager') does not run ONNX files"]),
    ("threads zero", "--threads 0", _nothing, ["`--threads` (='0') holds a number below 1; write 1,8,64"]),
    ("threads too many", "--threads 1,4096", _nothing, ["`--threads`", "4096", "does not fit this machine; 1 to "]),
    ("batch zero", "--batch 0", _nothing, ["`--batch` (='0') holds a number below 1"]),
    ("output", "--output z", _nothing, ["model.onnx: `--output` (='z') is not an output of the model; known: y"]),
    ("slice", "--slice region", _nothing, ["holdout.npz: `region` is not an array; the arrays are: x, label"]),
    ("group", "--group query", _nothing, ["holdout.npz: `query` is not an array"]),
    ("size of no axis", "--size words=16", _nothing, ["`--size` (='words') is no free axis of the inputs; the free axes are: none"]),
    ("size of letters", "--size words", _nothing, ["`--size` (='words') is not one axis and its lengths; write words=16,128"]),
    ("metric", "--metric agrement", _nothing, ["`--metric` (='agrement')", "did you mean `agreement`?"]),
    ("metric of nobody", "--metric trouble.py:metrik", _nothing, ["'trouble.py:metrik'", "did you mean `metric`?"]),
    ("student of nobody", "--student trouble.py:pupil", _nothing, ["'trouble.py:pupil'", "known: "]),
    ("metric without labels", "--metric roc_auc", _arrays(x=X), ["holdout.npz: `labels` are needed for roc_auc"]),
    ("metric of vectors", "--metric cosine", _nothing, ["`fp32` gives [rows]", "where cosine needs vectors; use agreement"]),
    ("another dtype", "", _arrays(x=X.astype(np.float64)), ["holdout.npz: `x` is float64 [30, 4] where the model takes float32 ['batch', 4]; save the rows as the model takes them"]),
    ("another shape", "", _arrays(x=X[:, :3]), ["holdout.npz: `x` is float32 [30, 3] where the model takes"]),
    ("another name", "", _arrays(z=X), ["holdout.npz: `x` is an input of the model but not an array"]),
    ("no rows to calibrate", "", _arrays(x=X[:2]), ["holdout.npz: has 2 rows; give more: a third is for calibration"]),
    ("NaN in outputs", "", _arrays(x=np.where(np.arange(30)[:, None] == 7, np.float32("nan"), X)), ["`fp32` gives 1 answers that are NaN or infinite, first in row"]),
    ("budget of nothing", "--budget 0s", _nothing, ["`--budget` (=0.0) leaves no time to look; write 30s, 5m, or --exhaustive"]),
    ("everything may be lost", "--max-drop 150%", _nothing, ["`--max-drop` (=1.5) allows everything, for agreement is a share"]),
    ("no arrays", "", _arrays(), ["holdout.npz: holds no arrays; save one for each input of the model, rows on axis 0"]),
    ("no rows", "", _arrays(x=X[:0]), ["holdout.npz: (={'x': 0}) holds no rows; rows go on axis 0"]),
    ("one row", "", _arrays(x=X[:1]), ["holdout.npz: has 1 row; give more: a third is for calibration"]),
    ("no archive", "", _junk, ["holdout.npz: cannot be read (it is no npz archive, or a torn one); write numbers or text with numpy.savez"]),
    ("three classes", "--metric roc_auc", _arrays(x=X, label=np.arange(30) % 3), ["`labels` must be 0 and 1 for roc_auc; use accuracy or log_loss for several classes"]),
    ("classes by name", "--metric accuracy", _arrays(x=X, label=np.array(["a", "b"] * 15)), ["`label` is <U1 [30]", "save 0 and 1, or the number of each row's class"]),
    ("truncated", "", _halve, ["model.onnx: is not a whole ONNX model", "export the model again"]),
]  # fmt: skip


@pytest.mark.parametrize(("options", "spoil", "needles"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_refused(home: Path, windtunnel: Command, options: str, spoil: Spoil, needles: list[str]) -> None:
    """Exit 2, nothing on stdout, one line that names what is wrong and the way out, and nothing left behind."""
    (home / "trouble.py").write_text(TROUBLE)
    spoil(home)
    before = sorted(home.iterdir())
    ran = windtunnel(*OPTIMIZE, *options.split(), "--out", "o", "--quiet", "--json")

    assert (ran.code, ran.out, ran.err.count("\n")) == (2, "", 1)
    for needle in needles:
        assert needle in ran.err
    assert sorted(path for path in home.iterdir() if path.name != "__pycache__") == before


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("optimize model.h5 --data holdout.npz", "model.h5: does not exist; give the path of a model, or module.py:factory"),
        ("optimize trouble --data holdout.npz", "trouble: does not exist; give the path of a model, or module.py:factory"),
        ("optimize notes.h5 --data holdout.npz", "notes.h5: is not a whole ONNX model ("),
        ("optimize . --data holdout.npz", ".: is a directory; give the model's own file in it"),
        ("optimize model.onnx --data notes.h5", "notes.h5: is of a kind that is not read here; give .npz, .parquet, .csv"),
        ("optimize model.onnx --data nowhere.npz", "nowhere.npz: does not exist; give the path of a file that does"),
        ("optimize picture.onnx --data table.parquet", "`image` takes ['n', 3, 8, 8], and a column of a table holds one number a row; give the rows as npz"),
        ("optimize model.onnx --data table.parquet", "`x` takes 4 columns, and 1 are numbers: km; give a table with a column for each"),
        ("optimize other.py:f --data holdout.npz", "(='other.py:f') does not exist; write file.py:function, as seen from /"),
        ("export trouble.py --out e.onnx", "trouble.py: names no function; write trouble.py:factory"),
        ("export notes.h5 --out e.onnx", "notes.h5: is of no form that is exported; give module.py:factory, or a file that ends in"),
    ],
)  # fmt: skip
def test_inputs_of_other_kinds(home: Path, windtunnel: Command, command: str, words: str) -> None:
    """What is no model, or no table of it, is refused with a way out that is one."""
    (home / "trouble.py").write_text(TROUBLE)
    (home / "notes.h5").write_text("notes")
    pl.DataFrame({"km": np.arange(30.0)}).write_parquet(home / "table.parquet")
    image, pooled = (
        helper.make_tensor_value_info(n, 1, ["n", 3, *size]) for n, size in (("image", (8, 8)), ("y", (1, 1)))
    )
    graph = helper.make_graph([helper.make_node("GlobalAveragePool", ["image"], ["y"])], "g", [image], [pooled])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    (home / "picture.onnx").write_bytes(model.SerializeToString())
    ran = windtunnel(*command.split(), "--quiet", "--json")

    assert (ran.code, ran.out, ran.err.count("\n")) == (2, "", 1)
    assert words in ran.err


@pytest.mark.parametrize(
    ("command", "name", "error", "frames"),
    [
        ("optimize trouble.py:factory --data holdout.npz", "trouble.py:factory", "LookupError: no weights", 2),
        ("optimize model.onnx --data trouble.py:loader", "trouble.py:loader", "OSError: the disk is gone", 1),
        (
            "optimize model.onnx --data holdout.npz --metric trouble.py:metric",
            "trouble.py:metric",
            "ValueError: of mine",
            1,
        ),
    ],
    ids=["factory", "loader", "metric"],
)
def test_what_the_users_code_raises(
    home: Path, windtunnel: Command, command: str, name: str, error: str, frames: int
) -> None:
    """The user's own traceback is shown, every frame of theirs and none of ours."""
    (home / "trouble.py").write_text(TROUBLE)
    ran = windtunnel(*command.split(), "--budget", "1s", "--quiet", "--out", "o", "--json")
    lines = ran.err.splitlines()

    assert (ran.code, ran.out) == (2, "")
    assert lines[0] == f"windtunnel: `{name}` raised {error.partition(':')[0]}"
    assert lines[-1] == error
    assert [str(home / "trouble.py")] * frames == [line.split('"')[1] for line in lines if line.startswith("  File ")]
    assert not (home / "o").exists()
