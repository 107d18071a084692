from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import replace
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import pytest

from windtunnel.errors import ConfigError, ModelError
from windtunnel.serving.company import Company, Seat, asked_of
from windtunnel.serving.desk import Served
from windtunnel.serving.prediction_log import LogSettings
from windtunnel.serving.protocol import InferenceRequest
from windtunnel.serving.switchboard import Switchboard
from windtunnel.serving.traffic import Plan
from windtunnel.variant import Origin, Signature, Tensor, Variant
from windtunnel.verbs import Beside

if TYPE_CHECKING:
    from pathlib import Path

X, Y = Tensor("x", "float32", ("n", 4)), Tensor("y", "float32", ("n",))


def _variant(
    name: str, digest: str, *, inputs: tuple[Tensor, ...] = (X,), outputs: tuple[Tensor, ...] = (Y,)
) -> Variant:
    from pathlib import Path

    return Variant(name, Path(f"{name}.onnx"), digest * 8, "fp32", 1, Signature(inputs, outputs), Origin("file"))


OLD, NEW, FAR = _variant("old", "0123abcd"), _variant("new", "4567abcd"), _variant("far", "89efabcd")


def test_those_who_take_other_inputs_are_refused() -> None:
    """A canary or shadow takes and answers what the primary does; what a free axis is called does not matter."""
    Company(OLD, canary=_variant("b", "1" * 8, inputs=(Tensor("x", "float32", ("batch", 4)),)), share=0.1)
    for other in (
        _variant("b", "1" * 8, inputs=(Tensor("x", "float64", ("n", 4)),)),
        _variant("b", "1" * 8, inputs=(X, Tensor("z", "int64", ("n",)))),
        _variant("b", "1" * 8, outputs=(Tensor("p", "float32", ("n",)),)),
    ):
        with pytest.raises(ModelError, match="--canary"):
            Company(OLD, canary=other, share=0.1)
        with pytest.raises(ModelError, match="--shadow"):
            Company(OLD, shadow=other)


def test_no_two_models_have_one_name() -> None:
    """Two runs often call their choice alike: the digest tells them apart; one model in two parts has one name."""
    twin = replace(NEW, name="old")

    assert Company(OLD, canary=NEW, share=0.1, shadow=FAR).names == {"primary": "old", "canary": "new", "shadow": "far"}
    assert Company(OLD, canary=twin, share=0.1, shadow=twin).names == {
        "primary": "old", "canary": "old-4567ab", "shadow": "old-4567ab",
    }  # fmt: skip
    assert Company(OLD, canary=NEW, share=0.1, shadow=NEW).names["shadow"] == "new"


def test_what_cannot_be_logged_is_refused_before_a_server_starts(tmp_path: Path) -> None:
    """A model that answers text has no predictions."""
    text = _variant("t", "2" * 8, outputs=(Tensor("y", "object", ("n",)),))
    with pytest.raises(ModelError, match="prediction log"):
        Company(text, log=LogSettings(tmp_path))


@pytest.mark.parametrize(
    ("request_id", "parameters", "headers", "wanted"),
    [
        ("7", {}, {}, ("7", "")),
        ("7", {"key": "u"}, {b"x-key": b"v"}, ("7", "u")),
        ("", {}, {b"x-request-id": b"8", b"x-key": b"v"}, ("8", "v")),
        ("7", {"key": 12}, {b"x-request-id": b"8"}, ("7", "12")),
    ],
)
def test_what_a_request_is_called(
    request_id: str, parameters: dict[str, Any], headers: dict[bytes, bytes], wanted: tuple[str, str]
) -> None:
    """The body goes before the header; what the sender knows is not told to it again."""
    asked, told = asked_of(request_id, parameters, headers)

    assert ((asked.id, asked.key), told) == (wanted, ())


def test_a_request_without_an_id_gets_one() -> None:
    """And its sender is told which, so that labels can be joined to it later."""
    (first, told), (second, _) = (asked_of("", {}, {}) for _ in range(2))

    assert told == ((b"x-request-id", first.id.encode()),)
    assert first.id != second.id


class Handle:
    """What Ray Serve gives to ask another deployment by."""

    def __init__(self, factor: float) -> None:
        async def infer(feeds: Any) -> Served:
            return Served({"y": feeds["x"][:, 0] * factor}, 0.0, 0.0, 1)

        async def mirror(requests: list[Any]) -> list[Any]:
            return [{"y": each["x"][:, 0] * factor} for each in requests]

        self.infer, self.mirror = SimpleNamespace(remote=infer), SimpleNamespace(remote=mirror)


def test_a_table_from_end_to_end(tmp_path: Path) -> None:
    """A replica at its table: the plan is asked for, the split heeded, the shadow mirrored, and the log holds one row a request."""
    company = Company(OLD, NEW, 0.5, FAR, LogSettings(tmp_path / "log"))
    counts: Counter[str] = Counter()

    async def own(feeds: Any) -> Served:
        return Served({"y": feeds["x"][:, 0]}, 0.0, 0.0, 1)

    async def main() -> list[tuple[bytes, float]]:
        seat = Seat(company, tmp_path / "s", Handle(2.0), Handle(3.0))
        table = seat.take(lambda name, n: counts.update({name: int(n)}))
        answers = []
        for number in range(200):
            feeds = {"x": np.full((1, 4), number, np.float32)}
            served = await table.answer(InferenceRequest(feeds, str(number)), {}, own)
            assert isinstance(served.outputs, dict)
            answers.append((dict(served.headers)[b"x-model"], float(served.outputs["y"][0])))
        assert table.traffic.shadow is not None
        await table.traffic.shadow[1].settled()
        await asyncio.to_thread(table.close)
        return answers

    with Switchboard(tmp_path / "s", company.plan, say=print):
        answers = asyncio.run(main())
    assert company.plan == Plan(0.5, shadow=True)
    assert answers == [
        (b"new", 2.0 * n) if model == b"new" else (b"old", float(n)) for n, (model, _) in enumerate(answers)
    ]
    log = pl.read_parquet(tmp_path / "log" / "*.parquet").sort(pl.col("id").cast(pl.Int64))
    assert log["id"].to_list() == [str(n) for n in range(200)]
    assert log["model"].to_list() == [model.decode() for model, _ in answers]
    assert log["prediction"].to_list() == [value for _, value in answers]
    assert log["prediction.far"].to_list() == [3.0 * n for n in range(200)]
    assert set(log["propensity"]) == {0.5}
    assert 60 < (log["arm"] == "canary").sum() < 140


def _file(path: Path) -> Path:
    path.touch()
    return path


def test_options_that_would_do_nothing_are_refused(tmp_path: Path) -> None:
    """A sample or a bound without a log, sizes and shares that are none, and a place where no log can be, name their option."""
    for beside, option in (
        (Beside(log_sample="10%"), "--log-sample"),
        (Beside(log_most="1GB"), "--log-most"),
        (Beside(log=tmp_path, log_sample="200%"), "--log-sample"),
        (Beside(log=tmp_path, log_sample="0"), "--log-sample"),
        (Beside(log=tmp_path, log_most="much"), "--log-most"),
        (Beside(canary="runs/new"), "--canary"),
        (Beside(log=_file(tmp_path / "file")), "--log"),
    ):
        with pytest.raises(ConfigError, match=option):
            beside.build(OLD)
    assert Beside().build(OLD) is None
