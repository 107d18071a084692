"""The script that sets us beside our peers: its arithmetic, its models, and that it runs on its smallest row."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tests.performance.optimize_vs_peers import OURS, PARENT, ROWS, Contender, Outcome, ask
from tests.performance.peer_models import SentenceEncoder, _published, perceptron, sentences
from windtunnel.stats import Interval

ROOT = Path(__file__).parents[2]


def outcome(low: float, high: float) -> Outcome:
    """A row in which the best peer's time is between these shares of ours."""
    lines = (Contender(OURS, 1.0, 0.9, 0.0, proven=True), Contender("peer", 1.0, 0.9, 0.0, proven=True))
    against, parent = Interval((low + high) / 2, low, high, 5, 0.95), Interval(1.0, 0.99, 1.01, 5, 0.95)
    return Outcome("mlp-1", "fp32", lines, "peer", against, parent, {})


def test_missed() -> None:
    """A row is missed only where the whole interval lies below the bar."""
    assert [outcome(*each).missed for each in ((0.90, 0.96), (0.90, 0.98), (0.98, 1.2))] == [True, False, False]
    assert outcome(0.90, 0.96).lines()[-1].strip() == "MISSED"


def test_ask() -> None:
    """All rows are answered in order, in batches of one size only."""
    sizes: list[int] = []

    def run(feeds: dict[str, Any]) -> Any:
        sizes.append(len(feeds["x"]))
        return feeds["x"] * 2

    assert ask(run, {"x": np.arange(7)}, 3).tolist() == [0, 2, 4, 6, 8, 10, 12]
    assert sizes == [3, 3, 3]


def test_sentence_encoder() -> None:
    """A sentence's vector has length 1 and does not depend on its padding; each weight has one published name."""
    config = {
        "hidden_size": 16, "vocab_size": 50, "max_position_embeddings": 12, "type_vocab_size": 2, "layer_norm_eps": 1e-12,
        "num_attention_heads": 4, "intermediate_size": 32, "num_hidden_layers": 2,
    }  # fmt: skip
    torch.manual_seed(0)
    encoder = SentenceEncoder(config).eval()
    ids, mask = torch.tensor([[5, 6, 7, 0, 0]]), torch.tensor([[1, 1, 1, 0, 0]])
    with torch.no_grad():
        padded, bare = encoder(ids, mask), encoder(ids[:, :3], mask[:, :3])

    assert torch.allclose(padded, bare, atol=1e-6)
    assert abs(float(padded.norm()) - 1.0) < 1e-6
    names = [_published(name) for name in encoder.state_dict()]
    assert len(set(names)) == len(names)


def test_sentences() -> None:
    """The sentences are the same each time, none twice."""
    assert sentences(500)[:20] == sentences(20)
    assert len(set(sentences(500))) == 500


def test_perceptron() -> None:
    """The dense layers answer one probability a row."""
    told = perceptron(4, 8, 1)(torch.zeros(3, 4))

    assert list(told.shape) == [3, 1]
    assert bool(((told > 0) & (told < 1)).all())


def test_rows() -> None:
    """The issue's rows are there by their names."""
    issue = {"minilm-1x32", "minilm-1x128", "minilm-16x32", "minilm-16x128", "resnet18-1", "resnet18-8"}
    assert issue | {"mlp-1", "mlp-64", "mlp-4096", "lightgbm-1", "xgboost-4096"} <= set(ROWS)


def test_script(tmp_path: Path) -> None:
    """The smallest row is optimized, proven and timed beside its peers; the figures are written."""
    told = tmp_path / "told.json"
    command = [sys.executable, "-m", "tests.performance.optimize_vs_peers", "--rows", "xgboost-1", "--budget", "1"]
    command += ["--rounds", "2", "--lasting", "0.01", "--json", str(told)]
    ran = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)

    assert told.exists(), ran.stderr
    (row,) = json.loads(told.read_text())
    assert row["row"] == "xgboost-1"
    names = {each["name"] for each in row["contenders"]}
    assert {OURS, PARENT, "ORT fp32", "own predict"} <= names
    assert all(each["proven"] for each in row["contenders"])
    assert row["best"] in names - {OURS, PARENT}
