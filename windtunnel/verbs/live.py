"""`windtunnel simulate --live`: the same traffic and clients as in the tunnel, against a server that is there."""

from __future__ import annotations

import contextlib
import math
import os
import time
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any, cast

from windtunnel.errors import ConfigError, naming
from windtunnel.progress import SILENT, Progress
from windtunnel.quantity import format_duration
from windtunnel.seeds import Seeds

from .adversary import USUAL_FACTOR, Foe, add
from .alone import Done, run_alone
from .inputs import digest_data, generate_feeds, read_feeds
from .serve import deployment_of
from .subject import resized, size_classes

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from windtunnel.deployment import Deployment, Slo
    from windtunnel.report.section import Section
    from windtunnel.simulate.client import Client
    from windtunnel.simulate.flight import Flight
    from windtunnel.simulate.live import LiveRun, Schedule, Slow, Target
    from windtunnel.stats import Interval
    from windtunnel.trace import Trace
    from windtunnel.variant import Signature, Variant
    from windtunnel.verdict import Outcome, Verdict

    from .traffic import Traffic

    Arrays = dict[str, NDArray[Any]]

USUAL_DURATION_S, LONGEST_S = 600.0, 14_400.0
"""How long is driven where nobody says, and at most."""

USUAL_RATE, MOST_RATE = 5_000.0, 100_000.0
"""Requests in the busiest second where nobody allows more, and at most."""

ROWS = 256
"""Different rows that are made up for each size class, if there is room for them."""


@dataclass(frozen=True)
class Road:
    """A live run, as it was asked for.

    Args:
        bundle: a run folder, a bundle or an ONNX file, which is served for the run; None where there is a target.
        target: the address of a server that is there; empty where there is none.
        model: what the model is called there.
        token_file: holds the token that the server wants; None where it wants none.
        owned: whether the user says that a server elsewhere is his own to load.
        replicas: of the bundle's server; as planned where None, as in the next two.
        max_batch: requests a batch.
        max_wait_s: how long a batch waits.
        data: rows to send; made up from what the model takes where None.
        sizes: lengths of free axes, one size class each.
        client: settings of `Client`.
        slow: settings of `Slow`; nobody is slow where empty.
        scenario: what makes the day worse, as far as it changes who comes when.
        duration_s: for how long is driven; `USUAL_DURATION_S` at most where None.
        most_rate: requests that may fall due in one second.
        generators: processes.
        ray_address: the cluster they run on; this machine where empty.
        slo: a promise; answers within its bound count as good.
        web: whether Locust's live page shows it.
        adversary: whether an adversary comes too, in the middle half of the run.
        factor: by which honest requests may take longer at p99 while it is there.
    """

    bundle: Path | None = None
    target: str = ""
    model: str = ""
    token_file: Path | None = None
    owned: bool = False
    replicas: int | None = None
    max_batch: int | None = None
    max_wait_s: float | None = None
    data: Path | None = None
    sizes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    client: str = ""
    slow: str = ""
    scenario: str = ""
    duration_s: float | None = None
    most_rate: float = USUAL_RATE
    generators: int = 1
    ray_address: str = ""
    slo: str = ""
    web: bool = False
    adversary: bool = False
    factor: float = USUAL_FACTOR

    def __post_init__(self) -> None:
        if (self.bundle is None) == (not self.target):
            raise ConfigError(
                "need exactly one", field="MODEL and --target",
                fix="give a run folder, bundle or ONNX file to serve, or the address of a server that is there",
            )  # fmt: skip
        if self.target and not self.model:
            raise ConfigError("is missing: a server may hold many", field="--model", fix="name one, as in --model NAME")
        cores = os.cpu_count() or 1
        if self.generators > cores and not self.ray_address:
            raise ConfigError(
                f"is more than the {cores} cores that are here", field="--generators", value=self.generators,
                fix="give fewer, or a --ray-address",
            )  # fmt: skip
        if self.web and self.ray_address:
            raise ConfigError("shows generators of this machine", field="--web", fix="leave out --ray-address")
        if not self.factor > 1.0 or (self.factor != USUAL_FACTOR and not self.adversary):
            raise ConfigError(
                "must be above 1, and is for an --adversary",
                field="--factor",
                value=self.factor,
                fix="leave it out, or add --adversary",
            )
        self._check_idle()
        if self.duration_s is not None and not 0.0 < self.duration_s <= LONGEST_S:
            raise ConfigError("must be above zero and at most 4h", field="--duration", value=format_duration(self.duration_s), fix="drive in parts")  # fmt: skip
        if not 0.0 < self.most_rate <= MOST_RATE:
            raise ConfigError(
                f"must be above zero and at most {MOST_RATE:,.0f}", field="--most-rate", value=self.most_rate
            )

    def _check_idle(self) -> None:
        """Refuse what is about the other kind of server."""
        own = {"--replicas": self.replicas, "--max-batch": self.max_batch, "--max-wait": self.max_wait_s}
        theirs = {"--model": self.model, "--token-file": self.token_file, "--i-own-this-target": self.owned}
        for option, value in (own if self.target else theirs).items():
            if value:
                why = (
                    "is for a server that is started here, and --target is there already"
                    if self.target
                    else "is for a --target, and there is none"
                )
                raise ConfigError(why, field=option, fix="leave it out")

    def deployment(self) -> Deployment | None:
        """What is started; None where a server is there."""
        from windtunnel.run import open_variant

        if self.bundle is None:
            return None
        name = open_variant(self.bundle).name
        return deployment_of(self.bundle, name, self.replicas, self.max_batch, self.max_wait_s)

    def to_dict(self) -> dict[str, Any]:
        """What was asked, as JSON values."""
        told = {**vars(self), "sizes": {axis: list(each) for axis, each in self.sizes.items()}}
        return {
            key: str(value) if key in ("bundle", "data", "token_file") and value else value
            for key, value in told.items()
        }

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the size classes that the lengths make."""
        import itertools

        lengths = [[f"{axis}={length}" for length in each] for axis, each in self.sizes.items()]
        return tuple(" ".join(each) for each in itertools.product(*lengths)) if lengths else ("all",)


def live(
    traffic: Traffic,
    road: Road,
    *,
    seed: int = 1,
    out: Path | None = None,
    progress: Progress = SILENT,
    shown: bool = False,
) -> Done:
    """Drive traffic against a server.

    Args:
        traffic: what comes: a trace.
        road: where to, and how.
        seed: of all chance that is ours.
        out: the run folder.
        progress: a line now and then.
        shown: whether it is shown how the run goes.

    Raises:
        ConfigError: what cannot be driven; the message names the option.
        MeasurementError: a generator, or the server before its first answer, did not do its part.
    """
    from windtunnel.simulate.client import Client
    from windtunnel.simulate.live import Slow
    from windtunnel.simulate.phrase import build_from

    trace = _driven(traffic, road, Seeds(seed))
    client = build_from(road.client, Client, field="--client")
    slow = build_from(road.slow, Slow, field="--slow") if road.slow else None
    with naming(field="--slo"):
        from windtunnel.deployment import Slo

        promise = Slo.parse(road.slo) if road.slo else None
    asked = _Asked(replace(traffic, trace=trace), road, client, slow, promise, Seeds(seed), shown=shown)
    inputs = {
        "traffic": traffic.digest(),
        "asked_at": str(time.time_ns()),
    }  # what a server does once it need not do again
    if road.data is not None:
        inputs["data"] = digest_data(road.data)
    make = partial(_live, asked=asked, progress=progress)
    return run_alone("live", out, road.to_dict(), inputs, make, seed=seed, progress=progress, keep_inconclusive=False)


@dataclass(frozen=True)
class _Asked:
    """What is driven, and what is asked about it."""

    traffic: Traffic
    road: Road
    client: Client
    slow: Slow | None
    promise: Slo | None
    seeds: Seeds
    shown: bool


def _driven(traffic: Traffic, road: Road, seeds: Seeds) -> Trace:
    """The trace that is driven, made worse where that was asked.

    Raises:
        ConfigError: no trace, or a scenario that changes more than who comes when.
    """
    if traffic.trace is None:
        raise ConfigError(
            "cannot be driven: users who wait for their answers, and arrivals that are never in memory together, have no schedule",
            field="--arrivals", value=traffic.name, fix="give a --trace, or fewer --requests of poisson(rate=50)",
        )  # fmt: skip
    if not road.scenario:
        return traffic.trace
    from windtunnel.simulate.scenarios import worsen_trace

    with naming(field="--scenario"):
        return worsen_trace(traffic.trace, road.scenario, seeds)


def _live(work: Path, *, asked: _Asked, progress: Progress) -> tuple[dict[str, Any], Section, Verdict]:
    from windtunnel.simulate.live import Bodies, Schedule, drive, screen

    for sentence in asked.traffic.said:
        progress.say(f"  {sentence}")
    road, trace = asked.road, asked.traffic.trace
    assert trace is not None
    lasts_s = USUAL_DURATION_S if road.duration_s is None else road.duration_s
    _check_rate(trace, road, lasts_s)
    with _target(road, progress) as (target, deployment, variant):
        progress.say(f"  {target.name} at {target.url} ({target.model.server})")
        feeds = _feeds(road, variant or target.signature, target.signature, asked.seeds)
        bodies = Bodies.of(target, feeds)
        schedule = Schedule.of(trace, bodies, lasts_s)
        left_out = len(trace) - len(schedule)
        cut = f", {left_out:,} later ones left out" if left_out else ""
        progress.say(
            f"  {len(schedule):,} requests in {schedule.duration_s:.3g} s: {schedule.rate_per_s:.3g}/s, {schedule.peak_per_s:,.0f} in the "
            f"busiest second{cut}; {len(bodies.messages):,} different bodies"
        )
        foe = Foe.of(target, bodies, feeds, schedule, asked.seeds, road.factor) if road.adversary else None
        with screen(progress.say, shown=asked.shown) as watch, foe.assault if foe else contextlib.nullcontext():
            run = drive(
                target, schedule, bodies, client=asked.client, slow=asked.slow, generators=road.generators,
                ray_address=road.ray_address, seeds=asked.seeds, web=road.web, keep=road.adversary,
                watch=foe.watching(watch) if foe else watch, say=progress.say,
            )  # fmt: skip
        siege = foe.judge(run, variant) if foe and len(run) else None
    run.log.to_frame().write_parquet(work / "requests.parquet")
    told = _told(asked, run, schedule, target, deployment)
    return add(siege, run, told) if siege is not None else told


@contextlib.contextmanager
def _target(road: Road, progress: Progress) -> Iterator[tuple[Target, Deployment | None, Variant | None]]:
    """The server, and what is known of it; one that was started for the run is stopped after it."""
    from windtunnel.serving.bearer import read_token
    from windtunnel.simulate.live import Target

    if road.bundle is None:
        token = read_token(road.token_file) if road.token_file is not None else ""
        yield Target.find(road.target, road.model, token=token, owned=road.owned), None, None
        return
    from urllib.parse import unquote

    from windtunnel.run import open_variant
    from windtunnel.serving.running import serving

    deployment = road.deployment()
    progress.say(f"  starting the server: {deployment}")
    with serving(road.bundle, deployment) as served:
        if served.notes:
            progress.say(f"  {served.notes}")
        name = unquote(served.url.rpartition("/")[2])
        yield Target.find(served.root, name), deployment, open_variant(road.bundle)


def _feeds(road: Road, model: Variant | Signature, signature: Signature, seeds: Seeds) -> list[Arrays]:
    """Rows of every size class."""
    known = getattr(model, "signature", signature)
    classes = size_classes(known, road.sizes)
    if road.data is None:
        return [generate_feeds(known, _rows(known, sizes, len(classes)), seeds, sizes) for sizes in classes.values()]
    with naming(file=road.data):
        real = read_feeds(road.data, model)[0]
    return [resized(real, known, sizes) for sizes in classes.values()]


def _rows(signature: Signature, sizes: dict[str, int], classes: int) -> int:
    """How many rows are made up: as many as there is room for in half of what bodies may take."""
    from windtunnel.simulate.live.bodies import MOST_BYTES

    row = sum(array.nbytes for array in generate_feeds(signature, 1, Seeds(), sizes).values())
    return max(1, min(ROWS, MOST_BYTES // 2 // classes // max(row, 1)))


def _check_rate(trace: Trace, road: Road, lasts_s: float) -> None:
    """Refuse more than was allowed before a server is started for it."""
    from windtunnel.simulate.live import peak_per_s

    times_s = trace.arrivals_s - trace.arrivals_s[0]
    most = peak_per_s(times_s[times_s <= lasts_s])
    if most > road.most_rate:
        raise ConfigError(
            f"is less than the {most:,.0f} requests that fall due in the busiest second", field="--most-rate",
            value=road.most_rate, fix=f"give a lower --speed, or allow more, up to {MOST_RATE:,.0f}",
        )  # fmt: skip


def _told(
    asked: _Asked, run: LiveRun, schedule: Schedule, target: Target, deployment: Deployment | None
) -> tuple[dict[str, Any], Section, Verdict]:
    """The figures, the section and the decision."""
    from windtunnel.simulate.in_time import in_time
    from windtunnel.simulate.live import draw_live, flown
    from windtunnel.verdict import Verdict

    from .simulate import judged

    replicas = deployment.replicas if deployment is not None else 0
    flight = flown(run, replicas=replicas, slo_s=asked.promise.latency_s if asked.promise else math.inf)
    share = in_time(flight) if asked.promise else None
    result = _result(asked, run, schedule, target, flight, share, replicas)
    served = f"{deployment}" if deployment is not None else f"{target.name} on {target.model.server} at {target.url}"
    section = draw_live(run, flight, schedule, name=asked.traffic.name, server=served, notes=asked.traffic.said)
    changes = ["a run in which the generators keep up"] if not run.valid else []
    if asked.promise is not None and share is not None:
        section, more = judged(section, asked.promise, share)
        changes += more
    elif section.outcome == "go":
        said = "No promise was given (--slo): this says that the run counts and the server lived, not that it was fast enough."
        section = replace(section, sentences=(*section.sentences, said))
    if not run.valid:
        # what was seen is not the server's, whatever it looks like
        section = replace(section, outcome="inconclusive")
    section = replace(section, sentences=(*section.sentences, *filter(None, [asked.traffic.left_out])))
    return result, section, Verdict(cast("Outcome", section.outcome), section.sentences, tuple(changes))


def _result(
    asked: _Asked,
    run: LiveRun,
    schedule: Schedule,
    target: Target,
    flight: Flight,
    share: Interval | None,
    replicas: int,
) -> dict[str, Any]:
    """Everything as JSON values: the tunnel's keys, and the road's own."""
    result = {
        **flight.summary.to_dict(), "basis": "measured", "wall_s": run.wall_s, "stable": flight.drift_per_s == 0.0,
        "drift_per_s": flight.drift_per_s, "wasted": None, "overflowed": False, "replicas_mean": replicas or None,
        "replicas_peak": replicas or None, "extrapolated": False, "warnings": list(asked.traffic.said),
        "send_lag_p99_s": run.send_lag_p99_s, "generator_capacity_per_s": run.generator_capacity_per_s, "valid": run.valid,
        "invalid_because": list(run.reasons), "asked_rate_per_s": schedule.rate_per_s, "generators": run.processes,
        "generators_cpu_s": run.cpu_s, "generators_realtime": run.realtime, "connections_opened": run.opened, "interrupted": not math.isnan(run.stopped_s),
        "server_gone_s": None if math.isnan(run.gone_s) else run.gone_s, "not_due": len(schedule) - len(run),
        "server": target.model.server, "url": target.url, "model": target.name, "ready_s": target.ready_s,
    }  # fmt: skip
    if share is not None:
        result |= share.to_dict("in_time")
        result["goodput_per_s"] = flight.good / flight.summary.seconds_simulated
    return result | _classes(asked, run)


def _classes(asked: _Asked, run: LiveRun) -> dict[str, Any]:
    """The figures of each size class, where there are several."""
    from windtunnel.simulate.by_class import by_class

    names = asked.road.classes
    if len(names) < 2:
        return {}
    size = asked.traffic.columns["size"][run.request]
    return {"by_size": [each.to_dict() for each in by_class(run.log, size, names)]}
