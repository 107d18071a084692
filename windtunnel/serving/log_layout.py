"""The Layout of a prediction log: which columns it has, and how answered requests become rows of it.

It is windtunnel's own schema of record, which `windtunnel backtest` knows by itself (`backtest/reading/own.py`).
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from windtunnel.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    import polars as pl
    from numpy.typing import NDArray

    from windtunnel.variant import Tensor, Variant

    Arrays = Mapping[str, NDArray[Any]]

OWN = ("id", "time", "model", "version", "latency_s", "arm", "propensity", "key", "weight", "prediction")
"""Columns that mean something to the log; an input called so is `input.NAME` there."""

WIDEST = 256
"""A row of more numbers is one list, not a column a number."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One answered request, as the log gets it: nothing is copied.

    Args:
        id: of the request.
        received_s: when it came, in seconds since 1970, UTC.
        latency_s: from received to answered.
        model: who answered.
        feeds: the inputs, rows on axis 0.
        outputs: what was answered.
        arm: `primary` or `canary`: to whom the split gave it, whoever answered.
        propensity: the probability of that arm.
        key: what the split went by.
        shadows: what other models said of the same request, by name.
    """

    id: str
    received_s: float
    latency_s: float
    model: str
    feeds: Arrays
    outputs: Arrays
    arm: str = "primary"
    propensity: float = 1.0
    key: str = ""
    shadows: Mapping[str, Arrays] = field(default_factory=dict)

    @property
    def rows(self) -> int:
        """How many instances the request carries."""
        return len(next(iter(self.feeds.values())))

    @property
    def bytes(self) -> int:
        """What it keeps in memory."""
        shadows = (array for each in self.shadows.values() for array in each.values())
        return sum(array.nbytes for array in (*self.feeds.values(), *self.outputs.values(), *shadows))


@dataclass(frozen=True)
class Answers:
    """The output of a model that is its prediction: its name, and how many numbers a row has."""

    output: str
    width: int

    @staticmethod
    def of(variant: Variant) -> Answers:
        """The first output of floating-point numbers, else the first of numbers, with a known count of them a row.

        Raises:
            ModelError: there is none.
        """
        fit = [each for each in variant.signature.outputs if _countable(each)]
        floating = [each for each in fit if np.dtype(each.dtype).kind == "f"]
        if not fit:
            raise ModelError(
                "answers nothing that a prediction log could hold", field=variant.name,
                fix=f"serve it without --log, or let it answer at most {WIDEST} numbers a row",
            )  # fmt: skip
        tensor = (floating or fit)[0]
        return Answers(tensor.name, math.prod(int(axis) for axis in tensor.shape[1:]))

    def columns(self, prefix: str) -> list[str]:
        """What its columns are called."""
        return [prefix] if self.width == 1 else [f"{prefix}[{place}]" for place in range(self.width)]

    def read(self, outputs: Arrays, rows: int) -> NDArray[np.float64]:
        """The predictions, float64 [rows, width].

        Raises:
            ValueError: another shape.
        """
        return np.asarray(outputs[self.output], dtype=np.float64).reshape(rows, self.width)


def _countable(tensor: Tensor) -> bool:
    inner = tensor.shape[1:]
    if not tensor.shape or not all(isinstance(axis, int) for axis in inner):
        return False
    return tensor.dtype != "object" and math.prod(int(axis) for axis in inner) <= WIDEST


@dataclass(frozen=True)
class Layout:
    """The columns of a log.

    Args:
        inputs: of the models, which all take the same.
        versions: of each model that answers or listens, the first 12 digits of its digest.
        answers: of each, what its prediction is. The first answers where nothing else was said; all have one width.
        weight: how many requests a row stands for.
    """

    inputs: tuple[Tensor, ...]
    versions: Mapping[str, str]
    answers: Mapping[str, Answers]
    weight: float

    @staticmethod
    def of(models: Mapping[str, Variant], share: float) -> Layout:
        """The layout for some models, the primary first.

        Args:
            models: by the name under which they are served.
            share: of the requests that are logged.

        Raises:
            ModelError: predictions that cannot be logged, or not side by side.
        """
        answers = {name: Answers.of(each) for name, each in models.items()}
        widths = {each.width for each in answers.values()}
        if len(widths) > 1:
            raise ModelError(
                f"answer with {sorted(widths)} numbers a row", field=", ".join(models),
                fix="models that are logged side by side answer alike",
            )  # fmt: skip
        first = next(iter(models.values()))
        versions = {name: each.sha256[:12] for name, each in models.items()}
        return Layout(first.signature.inputs, versions, answers, 1.0 / share)

    def lean(self, entry: Entry) -> Entry:
        """The entry with what is written of it alone, and in memory of its own.

        What a model answers to a request is a part of what it answered to the batch, and would keep all of that as long as the
        entry waits.
        """
        outputs = self._written(entry.model, entry.outputs)
        shadows = {name: self._written(name, each) for name, each in entry.shadows.items()}
        return replace(entry, outputs=outputs, shadows=shadows)

    def _written(self, model: str, outputs: Arrays) -> Arrays:
        answers = self.answers.get(model)
        if answers is None or answers.output not in outputs:
            return outputs  # `check` finds it out
        array = outputs[answers.output]
        return {answers.output: array if array.base is None else array.copy()}

    def check(self, entry: Entry) -> None:
        """See that an entry can be a row, so that one that cannot spoils no piece.

        Raises:
            ValueError: an array of another shape than the model says.
            KeyError: an input, an output or a model that is not there.
        """
        rows = entry.rows
        for name, outputs in self._said(entry):
            self.answers[name].read(outputs, rows)
        for tensor in self.inputs:
            given = entry.feeds[tensor.name]
            fits = given.ndim == len(tensor.shape) and all(
                have == want
                for have, want in zip(given.shape[1:], tensor.shape[1:], strict=True)
                if isinstance(want, int)
            )
            if len(given) != rows or not fits:
                raise ValueError(f"{tensor.name} has the shape {given.shape}")

    def table(self, entries: Sequence[Entry]) -> pl.DataFrame:
        """Rows, in order of time, one an instance: of several in a request the ids are `ID#0`, `ID#1`, …."""
        import polars as pl

        counts = np.array([entry.rows for entry in entries])
        of = np.repeat(np.arange(len(entries)), counts)

        def spread(values: list[Any], dtype: Any) -> pl.Series:
            return pl.Series(values, dtype=dtype).gather(of)

        ids = [f"{e.id}#{row}" if e.rows > 1 else e.id for e in entries for row in range(e.rows)]
        columns = {
            "id": pl.Series([_clean(each) for each in ids], dtype=pl.String),
            "time": spread([round(e.received_s * 1e6) for e in entries], pl.Int64).cast(pl.Datetime("us", "UTC")),
            "model": spread([e.model for e in entries], pl.String),
            "version": spread([self.versions[e.model] for e in entries], pl.String),
            "latency_s": spread([e.latency_s for e in entries], pl.Float64),
            "arm": spread([e.arm for e in entries], pl.String),
            "propensity": spread([e.propensity for e in entries], pl.Float64),
            "key": spread([_clean(e.key) for e in entries], pl.String),
            "weight": pl.Series([self.weight] * len(ids), dtype=pl.Float64),
        }
        columns |= dict(self._predictions(entries, counts))
        columns |= {name: each for tensor in self.inputs for name, each in _features(tensor, entries)}
        return pl.DataFrame(columns).sort("time", maintain_order=True)

    def _said(self, entry: Entry) -> Iterator[tuple[str, Arrays]]:
        yield entry.model, entry.outputs
        yield from entry.shadows.items()

    def _predictions(self, entries: Sequence[Entry], counts: NDArray[np.int64]) -> Iterator[tuple[str, pl.Series]]:
        """`prediction`, what was answered; and where there are several models, what each said, null where it was not asked."""

        def answered(entry: Entry) -> NDArray[np.float64]:
            return self.answers[entry.model].read(entry.outputs, entry.rows)

        yield from self._columns("prediction", entries, counts, answered)
        for name in self.answers if len(self.answers) > 1 else ():

            def said(entry: Entry, name: str = name) -> NDArray[np.float64] | None:
                outputs = dict(self._said(entry)).get(name)
                return None if outputs is None else self.answers[name].read(outputs, entry.rows)

            yield from self._columns(f"prediction.{name}", entries, counts, said)

    def _columns(
        self,
        prefix: str,
        entries: Sequence[Entry],
        counts: NDArray[np.int64],
        said: Callable[[Entry], NDArray[np.float64] | None],
    ) -> Iterator[tuple[str, pl.Series]]:
        import polars as pl

        answers = next(iter(self.answers.values()))
        values = np.full((int(counts.sum()), answers.width), np.nan)
        start = 0
        for entry in entries:
            found = said(entry)
            if found is not None:
                values[start : start + len(found)] = found
            start += entry.rows
        for place, name in enumerate(answers.columns(prefix)):
            yield name, pl.Series(values[:, place]).fill_nan(None)


def _features(tensor: Tensor, entries: Sequence[Entry]) -> Iterator[tuple[str, pl.Series]]:
    """A number or a text a row is a column; few numbers a column each, `NAME[0]` …; many, or a varying count, a list."""
    import polars as pl

    name = tensor.name if tensor.name not in OWN and not _is_prediction(tensor.name) else f"input.{tensor.name}"
    arrays = [entry.feeds[tensor.name].reshape(entry.rows, -1) for entry in entries]
    inner = tensor.shape[1:]
    width = math.prod(int(axis) for axis in inner) if all(isinstance(axis, int) for axis in inner) else -1
    if tensor.dtype == "uint8" and len(inner) == 1 and width != 1:
        yield name, pl.Series([_text(row) for array in arrays for row in array], dtype=pl.String)
    elif width < 0 or width > WIDEST:
        yield name, pl.Series([_series(row) for array in arrays for row in array])
    else:
        whole = np.concatenate(arrays)
        for place in range(width):
            yield name if width == 1 else f"{name}[{place}]", _series(whole[:, place])


def _is_prediction(name: str) -> bool:
    return re.split(r"[.\[]", name, maxsplit=1)[0] == "prediction"


def _series(values: NDArray[Any]) -> pl.Series:
    import polars as pl

    if values.dtype == object:
        return pl.Series([_as_text(each) for each in values], dtype=pl.String)
    return pl.Series(np.ascontiguousarray(_held(values)))


def _held(values: NDArray[Any]) -> NDArray[Any]:
    """Numbers of a kind that Parquet has: it lacks 16-bit floats."""
    return values.astype(np.float32) if values.dtype == np.float16 else values


def _text(row: NDArray[np.uint8]) -> str:
    """The text that feeds a row of bytes: what `windtunnel.feed` made of it, taken back."""
    return row.tobytes().rstrip(b"\0").decode(errors="backslashreplace")


def _as_text(value: object) -> str:
    return value.decode(errors="backslashreplace") if isinstance(value, bytes) else _clean(str(value))


def _clean(text: str) -> str:
    """Text that UTF-8 can hold: lone surrogates, which JSON lets through, are spelled out."""
    return text.encode(errors="backslashreplace").decode()
