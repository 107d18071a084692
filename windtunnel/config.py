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

LossName = Literal["log_loss", "brier", "zero_one", "accuracy", "squared_error", "absolute_error", "rmse"]
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
    """`[backtest.columns]`: which column of the log plays which part, and where each model's predictions are."""

    id: str = ""
    time: str = ""
    label: str = ""
    label_time: str = ""
    label_event_time: str = ""
    label_version: str = ""
    predictions: dict[str, str | tuple[str, ...]] = Field(default_factory=dict)
    entity: str = ""
    features: tuple[str, ...] = ()
    action: str = ""
    propensity: str = ""
    arm: str = ""
    amount: str = ""
    weight: str = ""
    model_version: str = ""


class LabelsSection(_Section):
    """`[backtest.labels]`: labels in a table of their own; several rows of one id are a label and its corrections."""

    source: str
    id: str = ""
    label: str = ""
    known_time: str = ""
    event_time: str = ""
    version: str = ""


class FeaturesSection(_Section):
    """`[[backtest.features]]`: features from a table of their own, as they were known when each request was asked."""

    source: str
    by: tuple[str, ...] = ()
    known_time: str = ""
    event_time: str = ""
    take: tuple[str, ...] = Field(min_length=1)
    max_age: Period | None = None


class EstimateSection(_Section):
    """`[backtest.estimate]`: the metric before its labels come, beside what it turned out to be."""

    methods: tuple[Literal["cbpe", "dle"], ...] = ()
    metric: str = ""
    features: tuple[str, ...] = ()
    calibration: Literal["isotonic", "platt"] = "isotonic"
    confidence: Annotated[float, Field(gt=0.5, lt=1.0)] = 0.9
    period: Period | None = None


class DriftSection(_Section):
    """`[backtest.drift]`: columns that are watched, by what, and where the world is known to have changed."""

    columns: tuple[str, ...] = ()
    detectors: tuple[str, ...] = Field(("psi",), min_length=1)
    reference: Period = 30 * 86400.0
    rate: Annotated[Share, Field(gt=0.0, lt=1.0)] = 0.05
    period: Period | None = None
    changes: tuple[Instant, ...] = ()
    patience: Period = 14 * 86400.0


class OffPolicySection(_Section):
    """`[backtest.off_policy]`: what each model's decisions would have earned, from logged propensities."""

    threshold: float = 0.5
    features: tuple[str, ...] = ()


class AbTestSection(_Section):
    """`[backtest.ab_test]`: two arms that ran side by side in the recording."""

    control: str
    treatment: str
    shares: tuple[Annotated[float, Field(gt=0.0, lt=1.0)], Annotated[float, Field(gt=0.0, lt=1.0)]] = (0.5, 0.5)
    outcome: str = "label"
    goal: Literal["minimize", "maximize"] = "minimize"
    covariate: str = ""
    unit: Literal["request", "entity"] = "request"
    within: Period = 14 * 86400.0


class SkewSection(_Section):
    """`[backtest.skew]`: features recomputed, by a function or from a table, to be held against those that were logged."""

    recompute: str = ""
    source: str = ""
    by: tuple[str, ...] = ()
    known_time: str = ""
    event_time: str = ""
    max_age: Period | None = None
    take: tuple[str, ...] = Field(min_length=1)
    absolute: Annotated[float, Field(ge=0.0)] = 1e-9
    relative: Annotated[float, Field(ge=0.0)] = 1e-6

    @model_validator(mode="after")
    def _one_way(self) -> SkewSection:
        if bool(self.recompute) == bool(self.source):
            raise ValueError("needs either recompute, a function, or source, a feature table")
        if self.recompute and (self.by or self.known_time or self.event_time or self.max_age):
            raise ValueError("takes by, known_time, event_time and max_age with source, not with recompute")
        return self


class MeasuresSection(_Section):
    """`[backtest.measures]`: metrics beside the one that decides, over all requests, the last days, fading, and in groups."""

    metrics: tuple[str, ...] = Field(min_length=1)
    last: Period | None = None
    half_life: Period | None = None
    by: str = ""
    query: str = ""


class SlicesSection(_Section):
    """`[backtest.slices]`: where a candidate is better or worse."""

    columns: tuple[str, ...] = ()
    depth: Literal[1, 2] = 2
    against: Literal["incumbent", "rest"] | None = None
    rate: Annotated[Share, Field(gt=0.0, lt=1.0)] = 0.05
    reference: Period = 14 * 86400.0
    block: Period | None = None
    least_share: Annotated[Share, Field(gt=0.0, lt=1.0)] = 0.01


class DisagreementSection(_Section):
    """`[backtest.disagreement]`: which decisions flip, where the models part, and the costliest requests."""

    threshold: float | None = None
    features: tuple[str, ...] = ()
    costliest: Annotated[int, Field(ge=1)] = 100


class AlertSection(_Section):
    """`alert` of a policy: a windowed loss that is worse than it should be, for some looks in a row."""

    window: Period
    above: float
    looks: Annotated[int, Field(ge=1)] = 1
    least_rows: Annotated[int, Field(ge=1)] = 50
    reference: float | None = None


class DriftTriggerSection(_Section):
    """`drift` of a retraining: a feature that has moved since the model last learnt."""

    column: str
    distance: str = "ks"
    reference: Annotated[int, Field(ge=2)] = 30
    rate: Annotated[Share, Field(gt=0.0, lt=1.0)] = 0.05
    looks: Annotated[int, Field(ge=1)] = 3


class RolloutSection(_Section):
    """`[[backtest.policy.rollout]]`: by which steps a candidate takes over, and what sends it back."""

    name: Annotated[str, Field(min_length=1)]
    shares: Annotated[tuple[Share, ...], Field(min_length=1)] = (0.0, 0.01, 0.05, 0.25, 1.0)
    at_least: Duration = 2 * 86400.0
    tolerance: float | None = None
    rollback_above: float | None = None
    least_coverage: Share = 0.0
    alert: AlertSection | None = None
    level: Annotated[float, Field(gt=0.0, lt=0.5)] = 0.05
    evidence: Literal["paired", "groups"] = "paired"


class RetrainSection(_Section):
    """`[[backtest.policy.retrain]]`: when a model is trained anew, on what, and how long it takes until it serves."""

    name: Annotated[str, Field(min_length=1)]
    every: Period | None = None
    drift: DriftTriggerSection | None = None
    alert: AlertSection | None = None
    window: Period | None = None
    start_from: Literal["scratch", "last"] = "scratch"
    training: Duration | None = None
    deploy: Duration = 0.0
    rest: Duration = 0.0

    @model_validator(mode="after")
    def _triggered(self) -> RetrainSection:
        if self.every is None and self.drift is None and self.alert is None:
            raise ValueError("is never triggered: give every, drift or alert; never to train again is compared anyway")
        return self


class PolicySection(_Section):
    """`[backtest.policy]`: rollouts and retraining schedules, replayed and priced."""

    usd_per_loss: Annotated[float, Field(ge=0.0)] = 0.0
    usd_per_wrong: Annotated[float, Field(ge=0.0)] = 0.0
    usd_per_training: Annotated[float, Field(ge=0.0)] = 0.0
    usd_per_training_hour: Annotated[float, Field(ge=0.0)] = 0.0
    usd_per_rollback: Annotated[float, Field(ge=0.0)] = 0.0
    usd_per_scored: Annotated[float, Field(ge=0.0)] = 0.0
    rollout: tuple[RolloutSection, ...] = ()
    candidate: str = ""
    starts: Annotated[int, Field(ge=1)] = 1
    worlds: Annotated[tuple[Literal["recorded", "swapped"], ...], Field(min_length=1)] = ("recorded",)
    retrain: tuple[RetrainSection, ...] = ()
    fit: str = ""
    start: Period = 30 * 86400.0

    @model_validator(mode="after")
    def _something(self) -> PolicySection:
        if not self.rollout and not self.retrain:
            raise ValueError("has no policy: add [[backtest.policy.rollout]] or [[backtest.policy.retrain]]")
        if bool(self.retrain) != bool(self.fit):
            raise ValueError('takes [[backtest.policy.retrain]] and fit = "file.py:function" together, or neither')
        if self.usd_per_loss == self.usd_per_wrong == 0.0:
            raise ValueError("needs usd_per_loss or usd_per_wrong: else no prediction is worth anything")
        return self


class BacktestFile(_Section):
    """A `backtest.toml`: a recording whose predictions were logged."""

    recording: str
    format: str = ""
    incumbent: str
    candidates: tuple[str, ...]
    metric: Annotated[str, AfterValidator(_known_loss)] = "log_loss"
    cost: tuple[tuple[float, float], tuple[float, float]] | str | None = None
    threshold: float = 0.5
    max_loss: Annotated[float, Field(ge=0.0)] = 0.0
    every: Period = 86400.0
    horizon: Period
    level: Annotated[float, Field(gt=0.0, lt=0.5)] = 0.05
    clock_skew: Duration = 1.0
    most_missing: Share = 0.01
    columns: LoggedColumns
    labels: LabelsSection | None = None
    features: tuple[FeaturesSection, ...] = ()
    estimate: EstimateSection | None = None
    drift: DriftSection | None = None
    off_policy: OffPolicySection | None = None
    ab_test: AbTestSection | None = None
    skew: SkewSection | None = None
    measures: MeasuresSection | None = None
    slices: SlicesSection | None = None
    disagreement: DisagreementSection | None = None
    policy: PolicySection | None = None

    @field_validator("candidates", mode="after")
    @classmethod
    def _some(cls, candidates: tuple[str, ...]) -> tuple[str, ...]:
        if not candidates:
            raise ValueError("names no candidate; name the models that may replace the incumbent")
        if len(set(candidates)) < len(candidates):
            raise ValueError("names a candidate twice; name each once")
        return candidates

    @model_validator(mode="after")
    def _opposed(self) -> BacktestFile:
        if self.incumbent in self.candidates:
            raise ValueError(f"`{self.incumbent}` is the incumbent and cannot be its own candidate; name another model")
        return self

    @model_validator(mode="after")
    def _priced(self) -> BacktestFile:
        if (self.metric == "cost") != (self.cost is not None):
            raise ValueError(
                'takes metric = "cost" and a matrix cost = [[0.0, 1.0], [5.0, 0.0]] together, or neither; cost may also be "file.py:function"'
            )
        return self

    @property
    def models(self) -> tuple[str, ...]:
        """Those of the incumbent and the candidates that have no logged predictions: models to be asked."""
        named = dict.fromkeys((self.incumbent, *self.candidates))
        return tuple(name for name in named if name not in self.columns.predictions)

    @model_validator(mode="after")
    def _supplied(self) -> BacktestFile:
        """What a table needs is named, before any work starts."""
        needs = {
            "off_policy": ("action", "propensity"),
            "ab_test": ("arm", *(("entity",) if self.ab_test and self.ab_test.unit == "entity" else ())),
        }
        for table, columns in needs.items():
            for column in columns:
                if getattr(self, table) is not None and not getattr(self.columns, column):
                    raise ValueError(f"[backtest.{table}] needs columns.{column}: name the column that holds it")
        if self.policy is not None and self.policy.candidate not in ("", *self.candidates):
            fix = nearest(self.policy.candidate, self.candidates)
            raise ValueError(f"[backtest.policy] rolls out `{self.policy.candidate}`, which is no candidate; {fix}")
        if self.slices is not None and not (self.slices.columns or self.columns.features):
            raise ValueError("[backtest.slices] needs columns to slice by: name them there, or in columns.features")
        missing = [each for each in (self.skew.take if self.skew else ()) if each not in self.columns.features]
        if missing:
            raise ValueError(
                f"[backtest.skew] compares `{missing[0]}` with what was logged: name it in columns.features"
            )
        alike = ("estimate", "off_policy", "ab_test", "disagreement", "policy")
        unweighted = [table for table in alike if getattr(self, table) is not None]
        if self.columns.weight and unweighted:
            raise ValueError(f"columns.weight is not heeded by [backtest.{unweighted[0]}]: leave out one of them")
        if self.columns.propensity and not self.columns.action:
            raise ValueError("columns.propensity is the probability of an action: name columns.action too")
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
    config = parse(_BacktestDocument, read_toml(path), path).backtest
    for name in config.models:
        if not (path.parent / name).exists():
            known = nearest(name, config.columns.predictions).removeprefix("known: ") or "there is none"
            raise ConfigError(
                "has no predictions, and there is no such file or folder", file=path, value=name,
                field="backtest.incumbent" if name == config.incumbent else "backtest.candidates",
                fix=f"give a key of columns.predictions ({known}), or a model, a bundle or a run folder",
            )  # fmt: skip
    return config


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
