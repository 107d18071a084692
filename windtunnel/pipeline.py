"""The composition root: brings the stages together, hands each the values of the one before, and keeps them in a run folder.

Stages never import each other. Where one needs another's function it is passed in here: the optimizing stage is given the
measuring stage's `measure`, the cost report the simulating stage's `capacity`.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from windtunnel.config import read_config
from windtunnel.digest import canonical_json, digest_value, write_atomically
from windtunnel.errors import ConfigError, ModelError, naming
from windtunnel.factory import make_module
from windtunnel.hardware import Hardware
from windtunnel.price import find_price, unmeasured
from windtunnel.progress import SILENT, Progress
from windtunnel.report.section import Section
from windtunnel.run import STAGES, Run, write_report
from windtunnel.run_folder import MANIFEST, RunFolder, RunManifest, check_out, environment
from windtunnel.seeds import Seeds
from windtunnel.source import call, digest_sources, is_function, load_function, read_source
from windtunnel.stage import RESULT, Stage, run_stage
from windtunnel.verdict import Verdict, combine

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import polars as pl
    from numpy.typing import NDArray

    from windtunnel.benchmarks import Benchmark, CostReport
    from windtunnel.config import Config
    from windtunnel.fanout import Workers
    from windtunnel.latency_profile import LatencyProfile
    from windtunnel.optimize import Goal, Holdout, Material
    from windtunnel.recording import Recording
    from windtunnel.session import Session
    from windtunnel.stage import Produce
    from windtunnel.variant import Signature, Variant


class _Pipeline:
    """The state of one run; thrown away after it."""

    def __init__(self, config: Config, home: Path, folder: RunFolder, workers: Workers, progress: Progress) -> None:
        self.config, self.home, self.folder, self.workers, self.progress = config, home, folder, workers, progress
        self.seeds = Seeds(config.seed)
        self.hardware = Hardware.detect()
        self.stages: dict[str, Stage] = {}

    def stage(self, name: str, parameters: dict[str, Any], inputs: dict[str, str], produce: Produce) -> None:
        """Run one stage, or take what an earlier run left."""
        self.stages[name] = run_stage(
            self.folder,
            name,
            parameters,
            inputs,
            produce,
            seed=self.config.seed,
            hardware=self.hardware,
            progress=self.progress,
            take_over=name == "optimize",  # each variant there says what made it
        )
        if not self.stages[name].cached:
            self._unfinished()

    def _unfinished(self) -> None:
        """A stage was done anew: the whole's result no longer holds, and an interrupted run must not look like a changed one."""
        for name in (RESULT, "report.html"):
            (self.folder.path / name).unlink(missing_ok=True)
        self.folder.seal(_whole(self.config, self.stages, 0.0, None))

    # The stages, in the order of the street. Each reads what it needs from the files of those before it.

    def recording(self) -> None:
        """Read the recorded traffic and join its features as they were known."""
        section = self.config.recording
        sources = [section.source, *(join.source for join in section.join)]
        parameters = section.model_dump(mode="json")
        self.stage("recording", parameters, digest_sources([*sources, *section.depends_on], self.home), self._record)

    def _record(self, work: Path) -> tuple[dict[str, Any], Section, Verdict]:
        from windtunnel.recording import Columns, Recording, join_as_of

        section = self.config.recording
        columns = Columns(**section.columns.model_dump())
        table = read_source(section.source, self.home)
        Recording.from_table(table, columns, name=self.config.name, file=section.source)
        for join in section.join:
            features = read_source(join.source, self.home)
            table = join_as_of(
                table, features, time=columns.time, by=list(join.by), known_time=join.known_time, take=list(join.take),
                max_age=timedelta(seconds=join.max_age), file=join.source,
            )  # fmt: skip
        recording = Recording.from_table(table, columns, name=self.config.name, file=section.source)
        past, held, future = self._cut(recording)
        self._check_model(recording, held)
        recording.frame.write_parquet(work / "recording.parquet")
        labelled = len(recording) - recording.frame["label"].null_count()
        result = {
            "requests": len(recording), "start": recording.start.isoformat(), "end": recording.end.isoformat(),
            "labelled": labelled, "past": len(past), "held_out": len(held),
            "future": len(future),
        }  # fmt: skip
        text = (
            f"{len(recording):,} requests from {recording.start:%d %B %Y} to {recording.end:%d %B %Y}, "
            f"{labelled / len(recording):.1%} with a label that ever came: {len(past):,} to learn from, "
            f"{len(held):,} held out to prove quality, {len(future):,} to judge on."
        )
        note = (
            f"Learnt from: asked and answered before {self._holdout_start():%d %B %Y}. Held out: asked from then and answered before "
            f"{section.develop_until:%d %B %Y}. Judged on: asked from then on."
        )
        return (
            result,
            Section("Recording", "go", (text,), (), (), (note, *_join_notes(self.config))),
            Verdict("go", (text,)),
        )

    def _check_model(self, recording: Recording, held: Recording) -> None:
        """Refuse labels that the metrics cannot take and rows that the model cannot be fed with, before it is made."""
        from windtunnel.feed import feed_table
        from windtunnel.loss import loss_named
        from windtunnel.optimize.quality import Holdout, check_metric
        from windtunnel.variant import Variant

        source = self.config.recording.source
        with naming(file=source):
            loss_named(self.config.backtest.metric).check_labels(recording.frame["label"].drop_nulls().to_numpy())
            check_metric(self.config.optimize.metric, Holdout({}, held.frame["label"].to_numpy()))
        if self.config.model.path:
            signature = Variant.from_file(self.home / self.config.model.path).signature
            feed_table(recording.features.head(1), signature, file=source)

    def _cut_parameters(self) -> dict[str, str]:
        """Where the past ends and where it is held out: what is learnt, and on what it is proven, depends on both."""
        return {
            "held_from": self._holdout_start().isoformat(),
            "until": self.config.recording.develop_until.isoformat(),
        }

    def _holdout_start(self) -> datetime:
        return self.config.recording.develop_until - timedelta(seconds=self.config.recording.holdout)

    def _cut(self, recording: Recording) -> tuple[Recording, Recording, Recording]:
        """The past to learn from, the past held out, and the future: cut by both clocks."""
        until, held_from = self.config.recording.develop_until, self._holdout_start()
        past = recording.asked_between(end=held_from).known_before(held_from)
        held = recording.asked_between(held_from, until).known_before(until)
        future = recording.asked_between(until)
        for name, part in (("to learn from", past), ("held out", held), ("after develop_until", future)):
            if len(part) < 2:
                raise ConfigError(
                    f"leaves {len(part)} requests {name}",
                    field="recording.develop_until",
                    value=until.isoformat(),
                    fix=f"the recording runs from {recording.start} to {recording.end}",
                )
        return past, held, future

    def load_recording(self) -> Recording:
        """The recording as the first stage left it."""
        import polars as pl

        from windtunnel.recording import Recording

        return Recording(self.config.name, pl.read_parquet(self.stages["recording"].folder / "recording.parquet"))

    def _recorded(self) -> dict[str, str]:
        return {"recording": self.stages["recording"].manifest.outputs["recording.parquet"]}

    def optimize(self) -> None:
        """Make the model's variants and choose the fastest that is proven."""
        model = self.config.model
        sources = [
            source for source in (model.path, model.factory, model.fit, model.student, *model.depends_on) if source
        ]
        parameters = {
            "optimize": self.config.optimize.model_dump(mode="json"), "cut": self._cut_parameters(), "model": model.model_dump(mode="json"),
            "batching": self._batching, "hardware": self.hardware.fingerprint,
        }  # fmt: skip
        self.stage("optimize", parameters, self._recorded() | digest_sources(sources, self.home), self._optimize)
        if self.stages["optimize"].result["interrupted"]:
            raise KeyboardInterrupt  # what was found is kept; the stages after it were not waited for

    @property
    def _batching(self) -> bool:
        return max(self.config.simulate.max_batch) > 1

    def _optimize(self, work: Path) -> tuple[dict[str, Any], Section, Verdict]:
        from windtunnel.bundle import facts_of, sample_rows, write_bundle
        from windtunnel.feed import feed_table
        from windtunnel.optimize import draw, drop_strays, optimize, take_kept
        from windtunnel.runtime import open_session
        from windtunnel.verbs.optimize import timing, weighing

        take_kept(self.folder.path / "optimize", work)
        past, held, _ = self._cut(self.load_recording())
        parent = self._parent(past.frame, work)
        found = optimize(
            parent, self._material(past, parent.signature), self._holdout(held, parent.signature), self._goal(),
            measure=timing(self.seeds, self.progress), folder=work, seeds=self.seeds,
            weigh=weighing(self.seeds), workers=self.workers, progress=self.progress,
        )  # fmt: skip
        if not found.interrupted:  # what was made and not yet raced is of use to who goes on
            drop_strays(work, found.files)
        chosen = found.chosen.variant
        result = found.to_dict(work)
        sample = sample_rows(chosen, feed_table(held.features.head(64), parent.signature, file="recording"))
        try:
            write_bundle(
                chosen, sample, open_session(chosen).run(sample), work / "bundle", facts=facts_of(result),
                batch=self.config.optimize.batch,
            )  # fmt: skip
        except ModelError as error:  # the search stands without it
            self.progress.say(f"  no bundle was written: {error}")
            result["no_bundle"] = str(error)
        return result, draw(found), found.verdict

    def _goal(self) -> Goal:
        """What the optimizing stage is asked for; one thread, because the plan fills machines with replicas of one."""
        from windtunnel.optimize import Goal, read_metric

        section = self.config.optimize
        return Goal(
            read_metric(section.metric, self.home), section.max_drop, section.batch, self._batching,
            objective=section.objective, threads=(1,), runtimes=section.runtimes, budget_s=section.budget,
        )  # fmt: skip

    def _material(self, past: Recording, signature: Signature) -> Material:
        from windtunnel.feed import feed_table
        from windtunnel.optimize import Material

        section = self.config.optimize
        given = section.students != "none"
        return Material(
            feed_table(past.features, signature, file="recording"), past.frame["label"].to_numpy(),
            student=self._student(past.frame) if given else None, student_source=self._student_source() if given else "",
            module=self._module(past.frame), students=section.students == "derived",
        )  # fmt: skip

    def _holdout(self, held: Recording, signature: Signature) -> Holdout:
        from windtunnel.feed import feed_table
        from windtunnel.optimize import Holdout
        from windtunnel.table import take_column

        feeds = feed_table(held.features, signature, file="recording")
        names = self.config.optimize.slices
        slices = {name: take_column(held.features, name, file="recording").to_numpy() for name in names}
        return Holdout(feeds, held.frame["label"].to_numpy(), slices=slices)

    def _parent(self, rows: pl.DataFrame, work: Path) -> Variant:
        """The model as it is, as ONNX: a copy of the file, or the export of what the user's function made."""
        from windtunnel.onnx_file import copy_model
        from windtunnel.optimize import export, keep
        from windtunnel.variant import Origin, Variant

        model = self.config.model
        if model.path:
            given = Variant.from_file(self.home / model.path)
            return keep(work, "fp32", "fp32", Origin("file", given.sha256), lambda path: copy_model(given.path, path))
        name = model.fit or model.factory
        arguments = (rows, self.seeds.number("fit")) if model.fit else ()
        key = {
            **digest_sources([name, *model.depends_on], self.home), **self._recorded(), "cut": self._cut_parameters(), "seed": self.seeds.root,
            "rows": len(rows), "windtunnel": environment()["windtunnel"],
        }  # fmt: skip

        def make(path: Path) -> None:
            self.progress.say(f"  making the model with {name}")
            made = make_module(name, self.home, *arguments)
            export(made.module, made.inputs, path, made.axes or None, source=name)

        return keep(work, "fp32", "fp32", Origin("export", "", key), make)

    def _module(self, rows: pl.DataFrame) -> Any:
        """Makes the torch module anew, where the model is a function: students can be cut out of it."""
        model = self.config.model
        if model.path:
            return None
        arguments = (rows, self.seeds.number("fit")) if model.fit else ()
        return lambda: make_module(model.fit or model.factory, self.home, *arguments).module

    def _student(self, rows: pl.DataFrame) -> Any:
        name = self.config.model.student
        if not name:
            return None
        function = load_function(name, self.home)
        return lambda: call(function, rows, self.seeds.number("distil"), name=name)

    def _student_source(self) -> str:
        """What the student is made by: its function's name and the digest of its file, so that an edited one is made anew."""
        name = self.config.model.student
        return (
            f"{name} {digest_value(digest_sources([name, *self.config.model.depends_on], self.home))}" if name else ""
        )

    def variants(self) -> list[Variant]:
        """Every variant that was judged, the parent first; what a race left behind is not looked at again."""
        from windtunnel.variant import Variant

        stage = self.stages["optimize"]
        frontier = stage.result["frontier"]
        return [Variant.from_dict(each, stage.folder) for each in frontier if each["quality"] is not None]

    @property
    def chosen(self) -> str:
        """The name of the chosen variant."""
        name: str = self.stages["optimize"].result["chosen"]["name"]
        return name

    def _shippable(self) -> set[str]:
        """The parent and the children that nothing keeps out: what was not proven, or is slower, is not priced."""
        frontier = self.stages["optimize"].result["frontier"]
        return {frontier[0]["name"]} | {
            each["name"]
            for each in frontier
            if each["quality"] is not None and each["status"] in {"chosen", "on-frontier", "dominated"}
        }

    def benchmark(self) -> None:
        """Measure every variant on this machine, and price it."""
        simulate = self.config.simulate
        parameters = {
            "benchmark": self.config.benchmark.model_dump(mode="json"), "slo": simulate.slo,
            "max_batch": max(simulate.max_batch), "hardware": self.hardware.fingerprint,
        }  # fmt: skip
        parameters["priced"] = sorted(self._shippable())
        inputs = self._recorded() | {variant.name: variant.sha256 for variant in self.variants()}
        self.stage("benchmark", parameters, inputs, self._benchmark)

    def _benchmark(self, work: Path) -> tuple[dict[str, Any], Section, Verdict]:
        from dataclasses import replace

        from windtunnel.benchmarks import Effort, benchmark, draw, tasks
        from windtunnel.feed import feed_table
        from windtunnel.verbs.load_curves import load_curves

        section, variants = self.config.benchmark, self.variants()
        feeds = feed_table(self.load_recording().features.tail(4096), variants[0].signature, file="recording")
        measured = benchmark(
            tasks(variants, {"": feeds}, runtimes=()), section.batch, effort=Effort(section.precision, section.budget), seeds=self.seeds,
            progress=self.progress,
        )  # fmt: skip
        for profile in measured.profiles:
            profile.save(work / f"{profile.variant}.npz")
        report = self._report_costs(measured, {v.name: v.path for v in variants}, feeds)
        measured = replace(measured, curves=load_curves(measured.profiles, self.seeds))
        priced = replace(measured, costs=report.costs) if report is not None else measured
        document = priced.to_dict() | (report.to_dict() if report is not None else {})
        return document, draw(priced, report), priced.verdict

    def _report_costs(
        self, measured: Benchmark, models: Mapping[str, Path], feeds: Mapping[str, NDArray[Any]]
    ) -> CostReport | None:
        """What the variants that may be shipped cost, where machines are named."""
        from windtunnel.verbs.cost import Wishes, report_costs

        section, simulate, shippable = self.config.benchmark, self.config.simulate, self._shippable()
        if not section.hardware:
            return None
        wishes = Wishes(simulate.slo, section.hardware, max_batch=max(simulate.max_batch))
        priced = [profile for profile in measured.profiles if profile.variant in shippable]
        return report_costs(
            priced,
            models,
            {"": feeds},
            wishes,
            seeds=self.seeds,
            progress=self.progress,
            consumptions=measured.consumptions,
        )

    def profile(self, variant: str) -> LatencyProfile:
        """The measured profile of one variant."""
        from windtunnel.latency_profile import LatencyProfile

        return LatencyProfile.load(self.stages["benchmark"].folder / f"{variant}.npz")

    def simulate(self) -> None:
        """Find the cheapest deployment that keeps the promise on the recorded traffic and on its worst day."""
        profiles = self.stages["benchmark"].manifest.outputs
        inputs = self._recorded() | {"profile": profiles[f"{self.chosen}.npz"]}
        self.stage("simulate", self.config.simulate.model_dump(mode="json"), inputs, self._simulate)

    def _simulate(self, work: Path) -> tuple[dict[str, Any], Section, Verdict]:
        from windtunnel.deployment import Slo
        from windtunnel.price import find_price
        from windtunnel.simulate import Offer, Space, draw, flash_crowd, plan, rehearse
        from windtunnel.simulate.planning import Journal

        section = self.config.simulate
        recorded = self.load_recording().trace().speed_up(section.speed)
        crowded = flash_crowd(recorded, times=section.flash_crowd, rng=self.seeds.stream("arrivals"))
        traces = {"recorded": recorded, "flash-crowd": crowded}
        offer = Offer(self.profile(self.chosen), find_price(section.hardware))
        space = Space((offer,), tuple(section.replicas), tuple(section.max_batch), tuple(section.max_wait))
        journal = Journal.in_workplace(work, self.progress.say)
        with self.progress.bar("deployments", len(space)) as done:
            found = plan(
                traces, space, slo=Slo.parse(section.slo), confidence=section.confidence, seeds=self.seeds, workers=self.workers,
                report=done, journal=journal,
            )  # fmt: skip
        journal.close()
        flights = rehearse(traces, space, found.shown.deployment, seeds=self.seeds)
        replays = {name: flight.summary.to_dict() for name, flight in flights.items()}
        for name, flight in flights.items():
            if flight.log is not None:
                flight.log.to_frame().write_parquet(work / f"requests-{name}.parquet")
        result = {
            **found.to_dict(), "speed": section.speed, "traces": {name: trace.describe() for name, trace in traces.items()},
            "replays": replays, "deployments_per_s": found.deployments_per_s, "requests_per_s": found.requests_per_s,
            "where": found.where,
        }  # fmt: skip
        return result, draw(found, flights), found.verdict

    def backtest(self) -> None:
        """Replay the recording's future, labels arriving when they did, and judge every variant beside the parent."""
        section = self.config.backtest
        parameters = {
            "backtest": section.model_dump(mode="json"), "start": self.config.recording.develop_until.isoformat(),
            "challenger": self.chosen, "hardware": self.hardware.fingerprint,
        }  # fmt: skip
        inputs = self._recorded() | {variant.name: variant.sha256 for variant in self.variants()}
        self.stage("backtest", parameters, inputs, self._backtest)

    def _backtest(self, work: Path) -> tuple[dict[str, Any], Section, Verdict]:
        from windtunnel.backtest import backtest, score
        from windtunnel.backtest.findings import Findings, Held, Lateness
        from windtunnel.loss import loss_named
        from windtunnel.runtime import open_session

        section, variants = self.config.backtest, self.variants()
        _, _, future = self._cut(self.load_recording())
        sessions: dict[str, Session] = {variant.name: open_session(variant) for variant in variants}
        clock = time.perf_counter()
        predictions = score(future, sessions)
        scored_s, clock = time.perf_counter() - clock, time.perf_counter()
        compared = backtest(
            future, predictions, incumbent=variants[0].name, candidates=[v.name for v in variants[1:]], challenger=self.chosen,
            metric=section.metric, every_s=section.every, horizon_s=section.horizon, max_loss=section.max_loss, level=section.level,
        )  # fmt: skip
        compared_s = time.perf_counter() - clock
        future.frame.select("id", "time", "label", "label_time").with_columns(**predictions).write_parquet(
            work / "predictions.parquet"
        )
        speed = {
            "scored_rows_per_s": len(future) * len(variants) / scored_s,
            "compared_rows_per_s": len(future) * len(variants) / compared_s,
        }
        held = Held.of(future, predictions, compared, loss_named(section.metric))
        found = Findings(compared, (Lateness.of(held),))
        return {**found.to_dict(), **speed}, found.draw(), found.verdict


def _join_notes(config: Config) -> tuple[str, ...]:
    return tuple(
        f"Features {', '.join(join.take)} come from {join.source}, the latest row whose `{join.known_time}` lies strictly before "
        "the question."
        for join in config.recording.join
    )


def run(
    config_path: Path,
    out: Path,
    *,
    seed: int | None = None,
    workers: Workers | None = None,
    progress: Progress = SILENT,
) -> Run:
    """Run every stage whose inputs changed, and write the report.

    Args:
        config_path: the `windtunnel.toml`.
        out: the run folder; one of the same pipeline is continued.
        seed: in place of the configuration's.
        workers: who does the fanned-out work.
        progress: a line a stage.

    Raises:
        InputError: the configuration, the data, the model or the folder cannot be used.
    """
    from windtunnel.fanout import Workers

    config = read_config(config_path)
    config = config if seed is None else config.model_copy(update={"seed": seed})
    home = config_path.resolve().parent
    check_sources(config, config_path)
    check_priced(config, config_path)
    check_out(out, config.name)
    with RunFolder.open(out, config.name) as folder:
        if not (out / MANIFEST).exists():
            folder.seal(_whole(config, {}, 0.0, None))  # an interrupted first run is recognised as ours
        pipeline = _Pipeline(config, home, folder, workers if workers is not None else Workers(), progress)
        clock = time.perf_counter()
        for stage in (pipeline.recording, *(getattr(pipeline, name) for name in STAGES)):
            stage()
        finished = _finish(pipeline, time.perf_counter() - clock)
        progress.say(f"report: {out / 'report.html'}")
        return finished


def check_priced(config: Config, file: Path) -> None:
    """Refuse to plan for a machine that the profile measured here says nothing about.

    Raises:
        ConfigError: an accelerator, or another architecture.
    """
    name = config.simulate.hardware
    reason = unmeasured(find_price(name), Hardware.detect().architecture)
    if reason:
        raise ConfigError(
            f"cannot be planned for from here: {reason}", file=file, field="simulate.hardware", value=name
        )


def check_sources(config: Config, file: Path) -> None:
    """Refuse files that are not there and functions that cannot be loaded, before any work.

    Raises:
        ConfigError: a source that is not there.
    """
    from windtunnel.table import check_file

    model, home = config.model, file.resolve().parent
    if model.path:
        from windtunnel.variant import Variant

        given = Variant.from_file(home / model.path)
        if not given.signature.dynamic_batch:
            shapes = {tensor.name: list(tensor.shape) for tensor in given.signature.inputs}
            raise ModelError(
                "has a fixed batch axis",
                file=home / model.path,
                value=shapes,
                fix="export it with a free first axis (dynamic_shapes)",
            )
    from windtunnel.optimize import read_metric

    with naming(file=file, field="optimize.metric"):
        read_metric(config.optimize.metric, home)
    for dependency in (*model.depends_on, *config.recording.depends_on):
        check_file(home / dependency)
    tables = [config.recording.source, *(join.source for join in config.recording.join)]
    for source in tables:
        if not is_function(source):
            check_file(home / source)
    for source in (*tables, model.factory, model.fit, model.student):
        if is_function(source):
            load_function(source, home)
        elif source and source not in tables:
            raise ConfigError("is not a function", file=file, field="model", value=source, fix="write file.py:function")


def _finish(pipeline: _Pipeline, seconds: float) -> Run:
    verdict = combine({name: pipeline.stages[name].verdict for name in STAGES})
    finished = Run(pipeline.folder.path, pipeline.stages, verdict)
    write_atomically(finished.folder / RESULT, canonical_json(finished.to_dict()))
    write_report(finished.folder)
    pipeline.folder.seal(_whole(pipeline.config, pipeline.stages, seconds, verdict))
    return finished


def _whole(config: Config, stages: dict[str, Stage], seconds: float, verdict: Verdict | None) -> RunManifest:
    keys = {name: stage.manifest.key for name, stage in stages.items()}
    return RunManifest(
        "run", config.name, digest_value(keys), config.model_dump(mode="json"), config.seed, keys, {}, environment(),
        Hardware.detect().to_dict(), datetime.now(UTC).isoformat(timespec="seconds"), seconds,
        verdict.to_dict() if verdict is not None else None,
    )  # fmt: skip
