"""A Trainer: the user's `fit`, called on what was known, timed, and asked what it would have said from then on."""

from __future__ import annotations

import pickle
import time
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from windtunnel.backtest.comparison import moment
from windtunnel.digest import digest_bytes, digest_value
from windtunnel.errors import DataError, ModelError
from windtunnel.feed import feed_table
from windtunnel.recording import LABEL, LABEL_TIME, TIME
from windtunnel.source import call, load_function, passing_on
from windtunnel.variant import Signature, Tensor

from .known import Labels, digest_rows, rows_known

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import polars as pl
    from numpy.typing import NDArray

    from windtunnel.loss import Loss
    from windtunnel.recording import Recording

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]
    Predict = Callable[[pl.DataFrame], Floats]

RETURN = "return an object with predict(rows), or (torch module, {input: example tensor})"


@dataclass(frozen=True)
class Trainer:
    """A user's function that fits a model: `fit(rows, seed)`, or `fit(rows, seed, model_before)` for a warm start.

    It is given the recording's columns, `label` among them, of the rows that may be learnt from. It gives an object
    with `predict(rows)`, which is given the same columns but for the label and its time, and answers with one number a row; or a
    torch module with example inputs, as `[model] fit` does.

    Args:
        function: `file.py:function` or `package.module:function`.
        home: the folder that it is relative to.
        seed: that it is given, every time.
    """

    function: str
    home: Path
    seed: int


@dataclass(frozen=True)
class Order:
    """A training that is wanted; equal ones are trained once.

    Args:
        at_us: when it begins.
        window_us: how far back requests count; None: all.
        before: for a warm start, the training of the model before.
    """

    at_us: int
    window_us: int | None = None
    before: Order | None = None


@dataclass(frozen=True)
class Trained:
    """What came of it.

    Args:
        at_us: when it began.
        rows: learnt from.
        wall_s: how long `fit` took here.
        snapshot: digest of those rows, the seed, and the snapshot of the model before where there is one.
        answers: digest of the predictions. Where `fit` is reproducible, equal snapshots give equal answers.
        first: the place of the first request asked from then on.
        predictions: float64 [n − first].
        model: what `fit` gave, pickled; empty where no model is started from it.
    """

    at_us: int
    rows: int
    wall_s: float
    snapshot: str
    answers: str
    first: int
    predictions: Floats
    model: bytes = b""


@dataclass(frozen=True)
class Workshop:
    """Everything that a training needs, sent to each worker once.

    Args:
        recording: the requests.
        labels: theirs, all versions.
        looks_us: the looks, int64 [looks].
        trainer: the user's function.
        loss: that its predictions are checked for.
        keep: whether models are kept for warm starts.
    """

    recording: Recording
    labels: Labels
    looks_us: Ints
    trainer: Trainer
    loss: Loss
    keep: bool = False

    @cached_property
    def time_us(self) -> Ints:
        """When each request was asked, int64 [n]."""
        return self.recording.frame[TIME].dt.timestamp("us").to_numpy()

    def place(self, at_us: int) -> int:
        """The place of the first request asked at a moment or later."""
        return int(np.searchsorted(self.time_us, at_us))


def train(shop: Workshop, wanted: tuple[Order, Trained | None]) -> Trained:
    """Train one model, and ask it about every request from then on.

    The requests of one look are put to it together and alone, so that what it says of them cannot hang on later ones.

    Args:
        shop: the recording and the function.
        wanted: the order, and for a warm start the model before.

    Raises:
        DataError: no label was known by then, or a prediction that the loss cannot take.
        UserCodeError: the user's function raised.
        ModelError: it gave something that cannot predict, or that cannot be kept for a warm start.
    """
    order, before = wanted
    trainer = shop.trainer
    fit = load_function(trainer.function, trainer.home)
    rows = rows_known(shop.recording, shop.labels, order.at_us, order.window_us)
    if rows.is_empty():
        raise DataError(
            f"has no row whose label was known before {moment(order.at_us):%Y-%m-%d %H:%M}", file=shop.recording.name,
            field=LABEL, fix="begin later, or learn from a longer window",
        )  # fmt: skip
    snapshot = digest_value({
        "rows": digest_rows(rows), "seed": trainer.seed, "before": before.snapshot if before else ""
    })  # fmt: skip
    more = () if before is None else (pickle.loads(before.model),)  # noqa: S301  # what this very run wrote
    started = time.perf_counter()
    made = call(fit, rows, trainer.seed, *more, name=trainer.function)
    wall_s = time.perf_counter() - started
    first = shop.place(order.at_us)
    predictions = _ask(shop, _predictor(made, trainer.function), first, order.at_us)
    answers = digest_bytes(predictions.tobytes())
    model = _kept(made, trainer.function) if shop.keep else b""
    return Trained(order.at_us, len(rows), wall_s, snapshot, answers, first, predictions, model)


def _kept(made: Any, name: str) -> bytes:
    try:
        return pickle.dumps(made)
    except (pickle.PicklingError, TypeError, AttributeError) as error:
        raise ModelError(
            f"gave a model that cannot be kept for a warm start ({error})", field=name,
            fix="return one that can be pickled, or start cold",
        ) from error  # fmt: skip


def _ask(shop: Workshop, predict: Predict, first: int, at_us: int) -> Floats:
    """Predictions for all requests from a place on, look by look."""
    asked = shop.recording.frame.drop(LABEL, LABEL_TIME)
    edges = [shop.place(int(us)) for us in shop.looks_us[shop.looks_us > at_us]]
    answers = np.empty(len(asked) - first)
    for start, end in zip([first, *edges], [*edges, len(asked)], strict=True):
        if end > start:
            with passing_on(shop.trainer.function):
                answer = np.asarray(predict(asked[start:end]), dtype=np.float64)
            shop.loss.check_predictions(shop.trainer.function, answer, end - start, start)
            answers[start - first : end - first] = answer
    return answers


def _predictor(made: Any, name: str) -> Predict:
    if callable(getattr(made, "predict", None)):
        predict: Predict = made.predict
        return predict
    if isinstance(made, tuple) and len(made) >= 2 and isinstance(made[1], dict):
        return _torch_predictor(made[0], made[1])
    raise ModelError("did not return a model that can predict", field=name, fix=RETURN)


def _torch_predictor(module: Any, inputs: dict[str, Any]) -> Predict:
    """Feeds a module from the columns that its example inputs are named after."""
    import torch

    signature = Signature(
        tuple(
            Tensor(name, str(tensor.dtype).removeprefix("torch."), ("batch", *tensor.shape[1:]))
            for name, tensor in inputs.items()
        ),
        (),
    )

    def predict(rows: pl.DataFrame) -> Floats:
        feeds = feed_table(rows, signature)
        with torch.inference_mode():
            answer = module(**{name: torch.from_numpy(array) for name, array in feeds.items()})
        answered: Floats = answer.numpy().reshape(-1).astype(np.float64)
        return answered

    return predict
