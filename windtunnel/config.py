"""windtunnel.toml: what a pipeline is asked to do. Every key is used; a key that is not known is refused with the nearest."""

from __future__ import annotations

import contextlib
import re
import tomllib
from datetime import UTC, date, datetime, time
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from windtunnel.deployment import Slo
from windtunnel.errors import ConfigError, nearest
from windtunnel.loss import loss_named
from windtunnel.price import find_price
from windtunnel.quantity import Duration, Share, Tolerance
from windtunnel.runtime import RUNTIMES

if TYPE_CHECKING:
    from pathlib import Path


def _instant(value: object) -> object:
    """Take a date as its midnight, and a time without a zone as UTC."""
    if isinstance(value, str):
        with contextlib.suppress(ValueError):
            value = datetime.fromisoformat(value)
    if not isinstance(value, date):
        raise ValueError("is not a time; write 2013-04-01 or 2013-04-01T00:00:00Z")  # noqa: TRY004  # pydantic's way
    if isinstance(value, date) and not isinstance(value, datetime):
        value = datetime.combine(value, time())
    return value.replace(tzinfo=UTC) if isinstance(value, datetime) and value.tzinfo is None else value


HIGHEST_QUANTILE = 0.999
"""Of a promise in a pipeline: its capacity is found on 20,000 simulated requests, and twenty must lie beyond."""


def _slo(text: str) -> str:
    try:
        slo = Slo.parse(text)
    except ConfigError as error:
        raise ValueError(error.problem) from error
    if slo.quantile > HIGHEST_QUANTILE:
        raise ValueError(f"asks for more than p{HIGHEST_QUANTILE * 100:g}, which the samples of a run cannot show")
    return text


def _known_price(name: str) -> str:
    try:
        find_price(name)
    except ConfigError as error:
        raise ValueError(error.problem) from error
    return name


def _known_runtime(name: str) -> str:
    if name not in RUNTIMES or RUNTIMES[name].takes != "onnx":
        raise ValueError("is not a runtime of ONNX files; see `windtunnel doctor`")
    return name


def _above_zero(seconds: float) -> float:
    if seconds <= 0.0:
        raise ValueError("must be above zero; write 10m, 1d, 5%")
    return seconds


def _sorted(counts: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(sorted(set(counts)))


Model = TypeVar("Model", bound=BaseModel)

LossName = Literal["log_loss", "brier", "zero_one", "squared_error", "absolute_error", "rmse"]
"""The losses that the backtesting stage knows; a test holds the two together."""

Instant = Annotated[datetime, BeforeValidator(_instant)]
Period = Annotated[Duration, AfterValidator(_above_zero)]
Precision = Annotated[Share, AfterValidator(_above_zero)]
Counts = Annotated[tuple[Annotated[int, Field(ge=1)], ...], Field(min_length=1), AfterValidator(_sorted)]
Hardwares = tuple[Annotated[str, AfterValidator(_known_price)], ...]


def _known_loss(name: str) -> str:
    """A loss that is known by name, or that of a cost matrix."""
    if name != "cost":
        try:
            loss_named(name)
        except ConfigError as error:
            raise ValueError(error.problem) from error
    return name


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _not_a_switch(cls, value: object) -> object:
        if isinstance(value, bool):
            # or it would be taken as 0 or 1
            raise ValueError("should not be true or false; no key is a switch")  # noqa: TRY004  # pydantic's way
        return value


class ColumnsSection(_Section):
    """`[recording.columns]`: which columns play which part."""

    id: str = ""
    time: str
    label: str
    label_time: str


class JoinSection(_Section):
    """`[[recording.join]]`: features from a table of their own, as they were known when each request was asked."""

    source: str
    by: tuple[str, ...] = Field(min_length=1)
    known_time: str
    take: tuple[str, ...] = Field(min_length=1)
    max_age: Duration


class RecordingSection(_Section):
    """`[recording]`: the recorded traffic, and where its past ends."""

    source: str
    depends_on: tuple[str, ...] = ()
    columns: ColumnsSection
    join: tuple[JoinSection, ...] = ()
    develop_until: Instant
    holdout: Period


class ModelSection(_Section):
    """`[model]`: exactly one of a file, a factory, or a fit on the recording's past; and a student, where there is one."""

    path: str = ""
    factory: str = ""
    fit: str = ""
    student: str = ""
    depends_on: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _one_source(self) -> ModelSection:
        given = [key for key in ("path", "factory", "fit") if getattr(self, key)]
        if len(given) != 1:
            raise ValueError(f"needs exactly one of path, factory and fit; has {', '.join(given) or 'none'}")
        return self


class OptimizeSection(_Section):
    """`[optimize]`: how good a child must be, and where it must be fast."""

    metric: Annotated[str, Field(min_length=1)]
    max_drop: Tolerance
    batch: Counts = (1, 32)
    budget: Period = 60.0
    objective: Literal["p50", "p99", "throughput", "size", "memory"] = "p50"
    runtimes: tuple[Annotated[str, AfterValidator(_known_runtime)], ...] = (
        "onnxruntime-cpu",
        "openvino",
        "openvino-bf16",
    )
    students: Literal["derived", "given", "none"] = "given"
    slices: tuple[str, ...] = ()


class BenchmarkSection(_Section):
    """`[benchmark]`: what is measured, how precisely, and which machines are priced."""

    batch: Counts = (1, 2, 4, 8, 16, 32, 64)
    precision: Precision = 0.05
    budget: Period = 60.0
    hardware: Hardwares = ()


class SimulateSection(_Section):
    """`[simulate]`: the promise, the traffic, and the deployments to try."""

    slo: Annotated[str, AfterValidator(_slo)]
    speed: Annotated[float, Field(gt=0.0)] = 1.0
    flash_crowd: Annotated[float, Field(gt=1.0)] = 5.0
    hardware: Annotated[str, AfterValidator(_known_price)]
    replicas: Counts = (1, 2, 3, 4)
    max_batch: Counts = (1, 2, 4, 8, 16, 32, 64)
    max_wait: Annotated[tuple[Duration, ...], Field(min_length=1)] = (0.0, 0.001, 0.002, 0.005)
    confidence: Annotated[float, Field(gt=0.5, lt=1.0)] = 0.99


class BacktestSection(_Section):
    """`[backtest]`: how candidates are judged on the recording's future."""

    metric: LossName = "log_loss"
    max_loss: Annotated[float, Field(ge=0.0)]
    every: Period = 86400.0
    horizon: Period
    level: Annotated[float, Field(gt=0.0, lt=0.5)] = 0.05


class Config(_Section):
    """The whole file."""

    name: Annotated[str, Field(min_length=1)]
    seed: Annotated[int, Field(ge=0)] = 1
    recording: RecordingSection
    model: ModelSection
    optimize: OptimizeSection
    benchmark: BenchmarkSection
    simulate: SimulateSection
    backtest: BacktestSection

    @model_validator(mode="after")
    def _profiled(self) -> Config:
        missing = [size for size in (1, max(self.simulate.max_batch)) if not _inside(size, self.benchmark.batch)]
        if missing:
            raise ValueError(
                f"[simulate] max_batch asks for batches of {missing[0]}, but [benchmark] batch measures {list(self.benchmark.batch)}; "
                "measure 1 and the largest batch"
            )
        return self


class LoggedColumns(_Section):
    """`[backtest.columns]` of a file of its own: as `[recording.columns]`, and where each model's predictions are."""

    id: str = ""
    time: str
    label: str
    label_time: str
    predictions: dict[str, str] = Field(min_length=2)


class BacktestFile(_Section):
    """A `backtest.toml`: a recording whose predictions were logged."""

    recording: str
    incumbent: str
    candidates: tuple[str, ...] = Field(min_length=1)
    metric: Annotated[str, AfterValidator(_known_loss)] = "log_loss"
    cost: tuple[tuple[float, float], tuple[float, float]] | None = None
    threshold: float = 0.5
    max_loss: Annotated[float, Field(ge=0.0)] = 0.0
    every: Period = 86400.0
    horizon: Period
    level: Annotated[float, Field(gt=0.0, lt=0.5)] = 0.05
    columns: LoggedColumns

    @model_validator(mode="after")
    def _priced(self) -> BacktestFile:
        if (self.metric == "cost") != (self.cost is not None):
            raise ValueError('takes metric = "cost" and a matrix cost = [[0.0, 1.0], [5.0, 0.0]] together, or neither')
        return self

    @model_validator(mode="after")
    def _named(self) -> BacktestFile:
        for name in (self.incumbent, *self.candidates):
            if name not in self.columns.predictions:
                raise ValueError(
                    f"`{name}` has no column under columns.predictions; {nearest(name, self.columns.predictions)}"
                )
        return self


class _BacktestDocument(_Section):
    backtest: BacktestFile


def _inside(size: int, measured: tuple[int, ...]) -> bool:
    return min(measured) <= size <= max(measured)


def read_toml(path: Path) -> dict[str, Any]:
    """Read a TOML file.

    Raises:
        ConfigError: missing, a directory, or not TOML.
    """
    if not path.exists():
        raise ConfigError("does not exist", file=path, fix="write one with `windtunnel init`")
    if path.is_dir():
        raise ConfigError("is a directory", file=path, fix="give the windtunnel.toml in it")
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"is not TOML ({error})", file=path) from error


def read_config(path: Path) -> Config:
    """Read and check a pipeline's configuration, whole, before any work starts.

    Raises:
        ConfigError: missing, not TOML, or a key or value that cannot be used.
    """
    return parse(Config, read_toml(path), path)


def read_backtest(path: Path) -> BacktestFile:
    """Read and check a `backtest.toml`.

    Raises:
        ConfigError: missing, not TOML, or a key or value that cannot be used.
    """
    return parse(_BacktestDocument, read_toml(path), path).backtest


def parse(model: type[Model], value: dict[str, Any], file: Path) -> Model:
    """Check values against a model and say what is wrong in our words: file, key, value, way out."""
    try:
        return model.model_validate(value)
    except ValidationError as error:
        problems = error.errors()
        # a key that is misspelt is missing too: say the first, which explains the second
        unknown = [each for each in problems if each["type"] == "extra_forbidden"]
        raise _explain((unknown or problems)[0], model, file) from None


def _explain(problem: Any, model: type[BaseModel], file: Path) -> ConfigError:
    place = [str(part) for part in problem["loc"]]
    field = ".".join(place)
    if problem["type"] == "extra_forbidden":
        return ConfigError("is not a key", file=file, field=field, fix=nearest(place[-1], _keys(model, place[:-1])))
    if problem["type"] == "missing":
        return ConfigError("is missing", file=file, field=field, fix="every run needs it; see docs/configuration.md")
    value = problem["input"] if not isinstance(problem["input"], dict) else None
    cause = getattr(problem.get("ctx", {}).get("error"), "__cause__", None)
    if isinstance(cause, ConfigError):
        return ConfigError(cause.problem, file=file, field=field, value=value, fix=cause.fix)
    if problem["type"] in {"model_type", "dict_type"}:
        return ConfigError("is not a section", file=file, field=field, value=value, fix=f"write it as [{field}]")
    text = re.sub(r"^(Value error, |(Input|String|Tuple|Dictionary) (?=should))", "", problem["msg"])
    return ConfigError(text, file=file, field=field, value=value)


def _keys(model: type[BaseModel], place: list[str]) -> list[str]:
    """The keys that are known at a place, following lists and optional sections."""
    for part in place:
        if part in model.model_fields:
            inner = [model.model_fields[part].annotation, *getattr(model.model_fields[part].annotation, "__args__", ())]
            model = next((each for each in inner if isinstance(each, type) and issubclass(each, BaseModel)), model)
    return list(model.model_fields)
