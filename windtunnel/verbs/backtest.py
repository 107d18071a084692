"""`windtunnel backtest`: logged predictions, judged as their labels came, with all else that the log shows."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from windtunnel.errors import ConfigError
from windtunnel.progress import SILENT, Progress
from windtunnel.seeds import Seeds
from windtunnel.source import digest_sources, find_files, is_function, read_source

from .alone import Done, run_alone

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    import numpy as np
    import polars as pl
    from numpy.typing import NDArray

    from windtunnel.backtest import Comparison, LeakCheck
    from windtunnel.backtest.findings import Asked, Finding, Findings, Held, MeasurePlan
    from windtunnel.backtest.policy import Alert, Rollout, Schedule
    from windtunnel.backtest.reading import Ask, Ingest, Intake, UserNames
    from windtunnel.config import AlertSection, BacktestFile, RetrainSection, RolloutSection
    from windtunnel.fanout import Workers
    from windtunnel.recording import Recording
    from windtunnel.report.section import Section
    from windtunnel.session import Session
    from windtunnel.verdict import Verdict

    Floats = NDArray[np.float64]

MOST_HELD = 4_000_000
"""A recording of more rows is not held: whole it would take some gigabytes."""

MOST_SAMPLED = 1_000_000
"""So many rows of it are held at most, for what cannot be added up."""


def backtest(
    file: Path,
    *,
    out: Path | None = None,
    seed: int = 1,
    leak_test: bool = False,
    workers: Workers | None = None,
    progress: Progress = SILENT,
) -> Done:
    """Replay a recording with logged predictions, as a `backtest.toml` asks.

    Args:
        file: the configuration; see docs/configuration.md.
        out: the run folder.
        seed: of the leak test, and of whatever draws.
        leak_test: whether to prove that nothing was known too early.
        workers: who reads a recording that is larger than memory.
        progress: a line at the start and at the end.
    """
    from windtunnel.config import read_backtest

    config, home = read_backtest(file), file.resolve().parent
    job = _Job(config, home, leak_test, Seeds(seed), workers, str(file))
    parameters = {**config.model_dump(mode="json"), "leak_test": leak_test}
    with job.names().in_refusals():
        inputs = job.inputs()
    return run_alone("backtest", out, parameters, inputs, job, seed=seed, progress=progress)


@dataclass(frozen=True)
class _Job:
    """One backtest."""

    config: BacktestFile
    home: Path
    leaks: bool
    seeds: Seeds
    workers: Workers | None
    file: str

    def names(self, work: Path | None = None) -> UserNames:
        """What the user calls columns and files; what their functions returned lies in `work` until the stage is done."""
        from windtunnel.backtest.reading import UserNames

        config, parts = self.config, self.config.columns.model_dump(exclude={"predictions", "features"})
        labels = config.labels
        if labels is not None:
            parts |= {"label": labels.label, "label_time": labels.known_time, "label_event_time": labels.event_time}
            parts |= {"labels.id": labels.id}
        said = {
            model: column if isinstance(column, str) else ", ".join(column)
            for model, column in config.columns.predictions.items()
        }
        sources = {"recording": config.recording, "labels": labels.source if labels else ""}
        sources |= {f"features-{number}": each.source for number, each in enumerate(config.features, start=1)}
        laid = {str(_place(work, name)): source for name, source in sources.items() if work and is_function(source)}
        columns = {part: column for part, column in (parts | said).items() if column}
        return UserNames(
            self.home, self.file, type(config).model_fields, columns, config.recording, sources["labels"], laid
        )

    def inputs(self) -> dict[str, str]:
        """What every file stands for that is read; an address elsewhere stands for itself."""
        from windtunnel.run import open_variant

        config = self.config
        found: list[str] = []
        tables = [
            config.recording,
            *([config.labels.source] if config.labels else []),
            *(each.source for each in config.features),
        ]
        tables += [config.cost] if isinstance(config.cost, str) else []
        tables += [config.skew.recompute or config.skew.source] if config.skew else []
        tables += [config.policy.fit] if config.policy and config.policy.fit else []
        tables += [each for each in config.measures.metrics if is_function(each)] if config.measures else []
        for source in tables:
            found += [source] if is_function(source) or "://" in source else list(find_files(source, self.home))
        digests = digest_sources(list(map(self._relative, found)), self.home)
        return digests | {name: open_variant(self.home / name).sha256 for name in config.models}

    def _relative(self, source: str) -> str:
        """A file as seen from the configuration, so that a result is found again wherever both lie."""
        path = Path(source)
        return str(path.relative_to(self.home)) if path.is_relative_to(self.home) else source

    def __call__(self, work: Path) -> tuple[dict[str, Any], Section, Verdict]:
        """Do it, and let refusals speak of the user's columns and files."""
        with self.names(work).in_refusals():
            return self._done(work)

    def _done(self, work: Path) -> tuple[dict[str, Any], Section, Verdict]:
        from windtunnel.backtest.reading import Ingest, naming_inputs

        sessions = {name: self._open(name) for name in self.config.models}
        inputs = {each.name: name for name, session in sessions.items() for each in session.signature.inputs}
        ingest = Ingest(self._asked(work, list(inputs)), self.home)
        with naming_inputs(inputs):
            rows = None if self._large(ingest) else ingest.held_within(MOST_HELD)
            if rows is None:
                findings, checks, share = self._streamed(ingest, sessions)
            else:
                findings, checks, share = self._held(rows, ingest, sessions)
        findings.write(work)
        result, section = findings.to_dict(), findings.draw()
        if checks:
            told, sentence = _leaks(checks)
            result["leak_test"] = told | {"share": share}
            sentence += f" on {share:.2%} of the requests" if share < 1.0 else ""
            section = replace(section, sentences=(*section.sentences, sentence))
        return result, section, findings.verdict

    def _large(self, ingest: Ingest) -> bool:
        """Whether it is more than is held, where that can be told without reading it."""
        from windtunnel.backtest import pieces_of

        if not all(each.endswith(".parquet") and "://" not in each for each in ingest.files):
            return False
        return sum(piece.rows for piece in pieces_of(list(map(Path, ingest.files)))) > MOST_HELD

    def _streamed(self, ingest: Ingest, sessions: dict[str, Session]) -> tuple[Findings, tuple[LeakCheck, ...], float]:
        """Judge a recording that is not held: all that adds up on all of it, the rest on a sample."""
        from windtunnel.backtest import MOST_TESTED, Sample, backtest_stream, leak_test
        from windtunnel.backtest.findings import Findings, Lateness, Taken, recording_of, sampled

        self._check_sampled()
        judged, plan = _judged(self.config, self.home), self._measured()
        told = backtest_stream(
            ingest, name=self.config.recording, sessions=sessions, workers=self.workers, most_sampled=MOST_SAMPLED,
            further=plan.count if plan else None, **judged,
        )  # fmt: skip
        assert told.waits is not None
        assert told.intake is not None
        models = {**ingest.roles.predictions, **{name: name for name in sessions}}
        taken = Taken(self._named(told.intake, ingest.ask))
        recording, predictions, corrections = recording_of(told.sample, models, self.config.recording)
        judge = _Judge(self.config, self.home, self.seeds, self.workers, asked=_asked(sessions))
        counted = [told.further.measures()] if told.further else []
        beside = replace(judge, known=told.further.known) if told.further else judge
        late = Lateness.of_waits(told.waits, told.question)
        some = [
            *self._skew(told.sample),
            *beside.beside(told.comparison, recording, predictions, corrections),
            *judge.policies(told.comparison, recording, predictions, corrections),
        ]
        found = Findings(told.comparison, (*sampled([taken], told.read), late, *counted, *sampled(some, told.share)))
        if not self.leaks:
            return found, (), 1.0
        tested = Sample(MOST_TESTED)
        tested.add(told.sample)
        recording, predictions, corrections = recording_of(tested.rows, models, self.config.recording)
        run: Any = replace(judge, by_look=True, streams=True)
        checks = leak_test(recording, predictions, run, self.seeds.stream("labels"), corrections=corrections)
        return found, checks, min(told.share, tested.share)

    def _measured(self) -> MeasurePlan | None:
        """The measures that add up, where any are asked for."""
        from windtunnel.backtest.findings import MeasurePlan

        if (wish := self.config.measures) is None:
            return None
        plan = MeasurePlan.of(
            wish.metrics, home=self.home, last_s=wish.last or 0.0, half_life_s=wish.half_life or 0.0, by=wish.by, query=wish.query,
            file=self.config.recording,
        )  # fmt: skip
        return plan if plan.metrics else None

    def _check_sampled(self) -> None:
        """Refuse what a sample of requests says nothing of."""
        config, what = self.config, ""
        if config.measures and config.measures.query:
            what, why = "measures.query", "ranks requests among those of their query"
        elif config.ab_test and config.ab_test.unit == "entity":
            what, why = "ab_test.unit", "adds up all that each entity asked"
        if what:
            raise ConfigError(
                f"{why}, and of a recording of more than {MOST_HELD:,} rows only a sample of requests is held", field=what,
                fix="leave it out, or give a part of the recording with whole queries or entities",
            )  # fmt: skip

    def _held(
        self, rows: pl.DataFrame, ingest: Ingest, sessions: dict[str, Session]
    ) -> tuple[Findings, tuple[LeakCheck, ...], float]:
        """Judge a recording that is held whole, and test it for leaks where that is asked."""
        from windtunnel.backtest import leak_test, score
        from windtunnel.backtest.findings import Taken, recording_of

        recording, predictions, corrections = recording_of(rows, ingest.roles.predictions, self.config.recording)
        predictions |= score(recording, sessions)
        judge = _Judge(self.config, self.home, self.seeds, self.workers, asked=_asked(sessions))
        found = judge(recording, predictions, corrections)
        told = [
            Taken(self._named(ingest.intake, ingest.ask)),
            *self._skew(rows),
            *found.beside,
            *judge.policies(found.comparison, recording, predictions, corrections),
        ]
        found = replace(found, beside=tuple(told))
        if not self.leaks:
            return found, (), 1.0
        run: Any = replace(judge, by_look=True)
        checks = leak_test(recording, predictions, run, self.seeds.stream("labels"), corrections=corrections)
        return found, checks, 1.0

    def _named(self, intake: Intake, ask: Ask) -> Intake:
        """The same account, with feature tables called as the user calls them, and not where they were laid down."""
        theirs = {laid.source: each.source for laid, each in zip(ask.features, self.config.features, strict=True)}
        freshness = {theirs[source]: found for source, found in intake.freshness.items()}
        zones = dict(intake.zones)
        for laid, source in theirs.items():
            zones = {name.replace(f" of {laid}", f" of {source}"): found for name, found in zones.items()}
        return replace(intake, freshness=freshness, zones=zones)

    def _open(self, name: str) -> Session:
        """A model, the one of a bundle, or the one that a run chose."""
        from windtunnel.backtest.column_session import by_column
        from windtunnel.run import load

        return by_column(load(self.home / name), self.config.columns.features, name)

    def _skew(self, rows: pl.DataFrame) -> list[Finding]:
        """The features that were logged against those recomputed."""
        from windtunnel.backtest.findings import Skewed
        from windtunnel.backtest.reading import FeatureSource, compare_features, from_table, read_feature_table
        from windtunnel.source import call, load_function

        if (wish := self.config.skew) is None:
            return []
        if wish.recompute:
            recompute: Any = partial(call, load_function(wish.recompute, self.home), name=wish.recompute)
        else:
            age_s = wish.max_age or float("inf")
            source = FeatureSource(wish.source, wish.take, wish.by, wish.known_time, wish.event_time, age_s)
            recompute = from_table(read_feature_table(source, self.home))
        return [Skewed(compare_features([rows], recompute, wish.take, absolute=wish.absolute, relative=wish.relative))]

    def _laid_down(self, source: str, work: Path, name: str) -> str:
        """Where a table lies; what a function returns is laid down first."""
        if not is_function(source):
            return source
        place = _place(work, name)
        read_source(source, self.home).write_parquet(place)
        return str(place)

    def _asked(self, work: Path, inputs: list[str]) -> Ask:
        """What is to be read, in the words of the reading, with the inputs of models that are to be asked."""
        from windtunnel.backtest.reading import Ask, FeatureSource, LabelSource, Roles, Rules

        config, labels = self.config, None
        if (wish := config.labels) is not None:
            source = self._laid_down(wish.source, work, "labels")
            labels = LabelSource(**wish.model_dump() | {"source": source})
        features = tuple(
            FeatureSource(
                self._laid_down(each.source, work, f"features-{number}"), each.take, each.by, each.known_time, each.event_time,
                each.max_age or float("inf"),
            )
            for number, each in enumerate(config.features, start=1)
        )  # fmt: skip
        taken = {name for each in config.features for name in each.take}
        named = [each for each in (*config.columns.features, *inputs) if each not in taken]
        roles = Roles(**config.columns.model_dump() | {"features": tuple(dict.fromkeys(named))})
        rules = Rules(config.clock_skew, config.most_missing)
        return Ask(self._laid_down(config.recording, work, "recording"), roles, labels, features, rules, config.format)


def _place(work: Path, name: str) -> Path:
    """Where a table is laid down that a function returned."""
    return (work / f"{name}.parquet").resolve()


def _asked(sessions: Mapping[str, Session]) -> dict[str, Asked]:
    """Models that can be asked again, as findings ask them."""
    from windtunnel.backtest.disagreement import ask_session
    from windtunnel.backtest.findings import Asked

    return {
        name: Asked(tuple(each.name for each in session.signature.inputs), ask_session(name, session))
        for name, session in sessions.items()
    }


def _judged(config: BacktestFile, home: Path) -> dict[str, Any]:
    """What is asked, however the recording is read."""
    from windtunnel.loss import cost_loss, loss_named, user_cost

    if isinstance(config.cost, str):
        loss = user_cost(config.cost, home)
    else:
        loss = loss_named(config.metric) if config.cost is None else cost_loss(config.cost, config.threshold)
    return {
        "incumbent": config.incumbent, "candidates": list(config.candidates), "metric": loss, "every_s": config.every,
        "horizon_s": config.horizon, "max_loss": config.max_loss, "level": config.level,
    }  # fmt: skip


@dataclass(frozen=True)
class _Judge:
    """All that is worked out of a recording; the leak test calls it again and again with other futures.

    Args:
        config: what is asked.
        home: the configuration's folder.
        seeds: of whatever draws.
        workers: who replays policies.
        by_look: whether only that is worked out which is said at each look, as the leak test compares it.
        asked: the models that are at hand, and can be asked again.
        streams: whether the comparison is made as of a recording that is not held.
        known: measures that are told of elsewhere; see `Measures.of`.
    """

    config: BacktestFile
    home: Path
    seeds: Seeds
    workers: Workers | None
    by_look: bool = False
    asked: Mapping[str, Asked] = field(default_factory=dict)
    streams: bool = False
    known: frozenset[tuple[str, bool]] = frozenset()

    def __call__(
        self, recording: Recording, predictions: dict[str, Floats], corrections: pl.DataFrame | None = None
    ) -> Findings:
        from windtunnel.backtest import backtest as replay
        from windtunnel.backtest import on_ray, stream_again
        from windtunnel.backtest.findings import Findings, Lateness

        asked = _judged(self.config, self.home)
        if self.streams:
            told = stream_again(recording, predictions, corrections, apart=on_ray(self.workers), **asked)
            assert told.waits is not None
            compared, late = told.comparison, Lateness.of_waits(told.waits, told.question)
        else:
            asked |= {
                part: recording.frame[part].to_numpy()
                for part in ("amount", "weight")
                if part in recording.frame.columns
            }
            compared = replay(recording, predictions, corrections=corrections, **asked)
            late = Lateness.of(self._held(recording, predictions, compared, corrections))
        return Findings(compared, (late, *self.beside(compared, recording, predictions, corrections)))

    def beside(
        self,
        compared: Comparison,
        recording: Recording,
        predictions: dict[str, Floats],
        corrections: pl.DataFrame | None,
    ) -> list[Finding]:
        """What requests show that are held, beside the comparison and the delays, which may be of more of them."""
        held = self._held(recording, predictions, compared, corrections)
        last = self._fitted(held, recording, corrections) if self.by_look else self._at_the_end(held)
        return [*self._by_look(held), *last]

    def _held(
        self,
        recording: Recording,
        predictions: dict[str, Floats],
        compared: Comparison,
        corrections: pl.DataFrame | None,
    ) -> Held:
        from windtunnel.backtest.findings import Held
        from windtunnel.backtest.replay import loss_of

        answer = predictions[self.config.incumbent]
        loss = loss_of(_judged(self.config, self.home)["metric"], answer.shape[1] if answer.ndim == 2 else 0)
        taken = [name for source in self.config.features for name in source.take]
        return Held.of(recording, predictions, compared, loss, corrections, (*self.config.columns.features, *taken))

    def _by_look(self, held: Held) -> list[Finding]:
        """What is said at each look: what costs nothing, and what the file asks for."""
        return self._made((self._measures, self._estimates, self._movement), held)

    def _at_the_end(self, held: Held) -> list[Finding]:
        """What is worked out once, at the last look."""
        from windtunnel.backtest.findings import Selected

        found: list[Finding] = []
        if self.config.columns.action:
            found.append(Selected.of(held, propensities=bool(self.config.columns.propensity)))
        return found + self._made((self._off_policy, self._trial, self._sliced, self._disagreements), held)

    @staticmethod
    def _made(makers: Iterable[Callable[[Held], Finding | None]], held: Held) -> list[Finding]:
        return [finding for make in makers if (finding := make(held)) is not None]

    def _fitted(self, held: Held, recording: Recording, corrections: pl.DataFrame | None) -> list[Finding]:
        """The answers of the user's `fit`, where there is one."""
        from windtunnel.backtest.findings import Fitted
        from windtunnel.backtest.policy import Trainer

        if (wish := self.config.policy) is None or not wish.fit:
            return []
        trainer = Trainer(wish.fit, self.home, self.seeds.root)
        return [Fitted.of(held, recording, corrections, trainer, start_us=_us(wish.start))]

    def _measures(self, held: Held) -> Finding | None:
        from windtunnel.backtest.findings import Measures

        if (wish := self.config.measures) is None:
            return None
        found = Measures.of(
            held, wish.metrics, home=self.home, last_s=wish.last or 0.0, half_life_s=wish.half_life or 0.0, by=wish.by,
            query=wish.query, known=self.known,
        )  # fmt: skip
        return found if found.measures or found.mornings else None

    def _estimates(self, held: Held) -> Finding | None:
        from windtunnel.backtest.findings import Estimates

        if (wish := self.config.estimate) is None:
            return None
        return Estimates.of(
            held, methods=wish.methods, metric=wish.metric, features=wish.features or held.features, calibration=wish.calibration,
            confidence=wish.confidence, period_us=_us(wish.period), seed=self.seeds.root,
        )  # fmt: skip

    def _movement(self, held: Held) -> Finding | None:
        from windtunnel.backtest.findings import Movement

        if (wish := self.config.drift) is None:
            return None
        return Movement.of(
            held, columns=wish.columns, detectors=wish.detectors, reference_us=_us(wish.reference), rate=wish.rate,
            period_us=_us(wish.period), changes_us=[_us(each.timestamp()) for each in wish.changes],
            patience_us=_us(wish.patience), seed=self.seeds.root,
        )  # fmt: skip

    def _off_policy(self, held: Held) -> Finding | None:
        from windtunnel.backtest.findings import OffPolicy

        if (wish := self.config.off_policy) is None:
            return None
        return OffPolicy.of(held, threshold=wish.threshold, features=wish.features, seed=self.seeds.root)

    def _trial(self, held: Held) -> Finding | None:
        from windtunnel.backtest.findings import Trial

        if (wish := self.config.ab_test) is None:
            return None
        return Trial.of(
            held, control=wish.control, treatment=wish.treatment, shares=wish.shares, outcome=wish.outcome, goal=wish.goal,
            covariate=wish.covariate, within_us=_us(wish.within) if wish.unit == "entity" else 0, max_loss=self.config.max_loss,
            level=self.config.level,
        )  # fmt: skip

    def _sliced(self, held: Held) -> Finding | None:
        from windtunnel.backtest.findings import Sliced

        if (wish := self.config.slices) is None:
            return None
        return Sliced.of(
            held, columns=wish.columns, pairs=wish.depth == 2, against=wish.against, rate=wish.rate,
            reference_days=max(1, round(wish.reference / 86400.0)),
            block_days=None if wish.block is None else max(1, round(wish.block / 86400.0)), least_share=wish.least_share,
        )  # fmt: skip

    def _disagreements(self, held: Held) -> Finding | None:
        from windtunnel.backtest.findings import Disagreements

        if (wish := self.config.disagreement) is None:
            return None
        rng = self.seeds.stream("bootstrap")
        return Disagreements.of(
            held, threshold=wish.threshold, columns=wish.features, most=wish.costliest, rng=rng, asked=self.asked,
        )  # fmt: skip

    def policies(
        self,
        compared: Comparison,
        recording: Recording,
        predictions: dict[str, Floats],
        corrections: pl.DataFrame | None,
    ) -> list[Finding]:
        """The policies, replayed and priced by what the whole recording knows."""
        from windtunnel.backtest.findings import Policies, retrain, roll_out
        from windtunnel.backtest.policy import Prices, Trainer

        if (wish := self.config.policy) is None:
            return []
        held = self._held(recording, predictions, compared, corrections)
        prices = Prices(**{name: getattr(wish, name) for name in Prices.__dataclass_fields__})
        rollout = retraining = None
        challenger = wish.candidate or self.config.candidates[0]
        if wish.rollout:
            rollout = roll_out(
                held, challenger, [_rollout(each) for each in wish.rollout], prices, self.seeds.stream("bootstrap"),
                by_entity=bool(self.config.columns.entity), starts=wish.starts, worlds=wish.worlds, workers=self.workers,
            )  # fmt: skip
        if wish.retrain:
            retraining = retrain(
                held, recording, corrections, [_schedule(each) for each in wish.retrain], Trainer(wish.fit, self.home, self.seeds.root),
                prices, self.seeds.stream("bootstrap", 1), start_us=_us(wish.start), workers=self.workers,
            )  # fmt: skip
        return [Policies(rollout, retraining, held.looks_us, challenger)]


def _rollout(wish: RolloutSection) -> Rollout:
    from windtunnel.backtest.policy import Guardrails, Rollout, Step

    steps = tuple(Step(share, wish.at_least, wish.tolerance) for share in wish.shares)
    guardrails = Guardrails(_alert(wish.alert), wish.rollback_above, wish.least_coverage)
    return Rollout(wish.name, steps, guardrails, wish.level, wish.evidence == "paired")


def _schedule(wish: RetrainSection) -> Schedule:
    from windtunnel.backtest.policy import Drift, Schedule

    return Schedule(
        wish.name, wish.every, Drift(**wish.drift.model_dump()) if wish.drift else None, _alert(wish.alert),
        wish.window or float("inf"), wish.start_from == "last", wish.training, wish.deploy, wish.rest,
    )  # fmt: skip


def _alert(wish: AlertSection | None) -> Alert | None:
    from windtunnel.backtest.policy import Alert

    return None if wish is None else Alert(wish.window, wish.above, wish.looks, wish.least_rows, wish.reference)


def _us(seconds: float | None) -> int:
    """Whole microseconds; zero for nothing."""
    return round((seconds or 0.0) * 1e6)


def _leaks(checks: Sequence[LeakCheck]) -> tuple[dict[str, Any], str]:
    """What a leak test found, as JSON values and in words."""
    passed = all(check.passed for check in checks)
    told = f"leak test {'passed' if passed else 'FAILED'}: {len(checks)} checks"
    return {"passed": passed, "checks": [_checked(check) for check in checks]}, told


def _checked(check: LeakCheck) -> dict[str, Any]:
    return {
        "as_of": check.as_of.isoformat(), "change": check.change, "labels": check.labels, "looks": check.looks,
        "moved": check.moved, "passed": check.passed,
    }  # fmt: skip
