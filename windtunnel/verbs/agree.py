"""`windtunnel simulate --agree`: a trace in the tunnel and on the road, side by side."""

from __future__ import annotations

import time
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from windtunnel.errors import ConfigError, naming
from windtunnel.hardware import Hardware
from windtunnel.progress import SILENT, Progress
from windtunnel.quantity import format_share
from windtunnel.road import CALIBRATING_S, LOADS, SLACK
from windtunnel.road import Road as Stations
from windtunnel.seeds import Seeds

from .alone import Done, run_alone
from .live import _feeds as feeds_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from windtunnel.deployment import Deployment
    from windtunnel.report.section import Section
    from windtunnel.simulate.agreement import Rehearsal
    from windtunnel.simulate.live import Target
    from windtunnel.trace import Trace
    from windtunnel.variant import Variant
    from windtunnel.verdict import Verdict

    from .live import Road
    from .traffic import Traffic

USUAL_S = 120.0
"""How long the trace is driven where nobody says."""

LEAST_S, MOST_S = 3.0, 3600.0
"""How long a road is measured at least, and at most."""

LEAST_LOAD, MOST_LOAD = LOADS[0] / SLACK, LOADS[-1] * SLACK
"""A tenth beyond the loads that a road is measured at: what lies outside is never decided."""


@dataclass(frozen=True)
class Wish:
    """What is asked of tunnel and road.

    Args:
        load: the share of capacity at which the trace comes.
        within: how far the tunnel's quantiles may lie from the road's, as a share; throughput a fifth of it.
        stations: where the road's stations are kept: read where the file is there, else measured and written; measured, and kept
            in the run folder alone, where None, or where it was disturbed.
        calibrate_s: how long they are measured, all loads together.

    Raises:
        ConfigError: a load or a bound that is none.
    """

    load: float = 0.5
    within: float = 0.1
    stations: Path | None = None
    calibrate_s: float = CALIBRATING_S

    def __post_init__(self) -> None:
        if not LEAST_LOAD <= self.load <= MOST_LOAD:
            raise ConfigError(
                "is no share of capacity at which a road is known", field="--load", value=format_share(self.load),
                fix=f"give {LEAST_LOAD + 0.005:.0%} to {MOST_LOAD:.0%}",
            )  # fmt: skip
        if not 0.0 < self.within < 1.0:
            raise ConfigError(
                "must lie between 0% and 100%", field="--within", value=format_share(self.within), fix="give 10%"
            )
        if not LEAST_S <= self.calibrate_s <= MOST_S:
            raise ConfigError(
                "is too short, or too long, to measure a road", field="--calibrate", value=f"{self.calibrate_s:g}s",
                fix=f"give {LEAST_S:g}s to {MOST_S:g}s",
            )  # fmt: skip


def agree(
    traffic: Traffic,
    road: Road,
    wish: Wish,
    *,
    seed: int = 1,
    out: Path | None = None,
    progress: Progress = SILENT,
) -> Done:
    """Calibrate the road, drive a trace on it, tell it in the tunnel, and compare.

    Args:
        traffic: what comes: a trace.
        road: the model that is served, and how it is driven.
        wish: what is asked.
        seed: of all chance that is ours.
        out: the run folder.
        progress: a line now and then.

    Raises:
        ConfigError: what cannot be compared; the message names the option.
        DataError: stations that were measured elsewhere.
        MeasurementError: a generator, or the server before its first answer, did not do its part.
    """
    trace = traffic.trace
    if trace is None:
        raise ConfigError(
            "cannot be driven: arrivals that are never in memory together have no schedule", field="--arrivals", value=traffic.name,
            fix="give a --trace, or fewer --requests",
        )  # fmt: skip
    if road.bundle is None:
        raise ConfigError(
            "says nothing of how it batches, and the tunnel must know", field="--target", value=road.target,
            fix="give the model to serve: windtunnel simulate --agree MODEL",
        )  # fmt: skip
    if len(road.classes) > 1:
        raise ConfigError(
            "makes several classes, and the tunnel knows the road of one", field="--size", value=", ".join(road.classes), fix="give one length"
        )  # fmt: skip
    if wish.stations is not None and not wish.stations.parent.is_dir():
        raise ConfigError("lies in a folder that is not there", field="--road", value=str(wish.stations), fix="make it first")  # fmt: skip
    # what a server does once it need not do again
    inputs = {"traffic": traffic.digest(), "asked_at": str(time.time_ns())}
    parameters = {
        **road.to_dict(), "load": wish.load, "within": wish.within, "calibrate_s": wish.calibrate_s, "stations": str(wish.stations) if wish.stations else None,
    }  # fmt: skip
    make = partial(_agree, traffic=traffic, trace=trace, road=road, wish=wish, seeds=Seeds(seed), progress=progress)
    return run_alone("agree", out, parameters, inputs, make, seed=seed, progress=progress, keep_inconclusive=False)


def _agree(
    work: Path, *, traffic: Traffic, trace: Trace, road: Road, wish: Wish, seeds: Seeds, progress: Progress
) -> tuple[dict[str, Any], Section, Verdict]:
    from windtunnel.simulate.agreement import Place, Roadside, draw_agreement, rehearse
    from windtunnel.simulate.compiling import said
    from windtunnel.simulate.live import Bodies

    for sentence in traffic.said:
        progress.say(f"  {sentence}")
    kept = _kept(wish)
    with _served(road, progress) as (target, deployment, variant, ingress), said(progress.say):
        bodies = Bodies.of(target, feeds_of(road, variant, target.signature, seeds))
        place = Place(
            variant.name, variant.sha256, Hardware.detect(), version("ray"), ingress, deployment.batch, deployment.replicas
        )  # fmt: skip
        side = Roadside(target, bodies, generators=road.generators, seeds=seeds, say=progress.say)
        done = rehearse(
            side,
            place,
            trace,
            load=wish.load,
            duration_s=road.duration_s or USUAL_S,
            within=wish.within,
            road=kept,
            calibrate_s=wish.calibrate_s,
        )
    done.road.save(work / "road.npz")
    done.run.log.to_frame().write_parquet(work / "requests.parquet")
    if wish.stations is not None and kept is None:
        _keep(done.road, wish.stations, progress)
    section = draw_agreement(done, name=traffic.name, server=f"{deployment}")
    section = replace(section, sentences=(*section.sentences, *filter(None, [traffic.left_out])))
    return _result(done, traffic), section, done.agreement.verdict


def _keep(road: Stations, path: Path, progress: Progress) -> None:
    """Write the stations down for other runs, unless they would leave every one of these inconclusive."""
    if road.doubts:
        progress.say(f"the road's stations are not kept in {path}: {road.doubts[0]}")
        return
    road.save(path)
    progress.say(f"the road's stations are kept in {path}")


@contextmanager
def _served(road: Road, progress: Progress) -> Iterator[tuple[Target, Deployment, Variant, str]]:
    """The server, how it batches, its model, and what stands in front of it; it is stopped afterwards."""
    from urllib.parse import unquote

    from windtunnel.run import open_variant
    from windtunnel.serving.running import serving
    from windtunnel.simulate.live import Target

    deployment = road.deployment()
    assert road.bundle is not None
    assert deployment is not None
    progress.say(f"  starting the server: {deployment}")
    with serving(road.bundle, deployment) as served:
        for note in filter(None, [served.notes]):
            progress.say(f"  {note}")
        ingress = "Serve's own proxy" if served.notes.startswith("without HAProxy") else "HAProxy"
        target = Target.find(served.root, unquote(served.url.rpartition("/")[2]))
        yield target, deployment, open_variant(road.bundle), ingress


def _kept(wish: Wish) -> Stations | None:
    """The stations that were measured before; None where they are to be measured."""
    if wish.stations is None or not wish.stations.exists():
        return None
    with naming(field="--road"):
        return Stations.load(wish.stations)


def _result(done: Rehearsal, traffic: Traffic) -> dict[str, Any]:
    """Everything as JSON values."""
    from windtunnel.simulate.agreement import OUTCOMES

    run, road = done.run, done.road
    return {
        **done.agreement.to_dict(), "agrees": OUTCOMES[done.agreement.verdict.outcome], "valid": run.valid,
        "invalid_because": list(run.reasons), "others_share": done.strange, "load": done.load, "capacity_per_s": road.capacity_per_s,
        "asked_rate_per_s": done.load * road.capacity_per_s, "requests": len(run), "completed": run.completed,
        "send_lag_p99_s": run.send_lag_p99_s, "generator_capacity_per_s": run.generator_capacity_per_s,
        "calibrated": done.calibrated, "calibrated_at_per_s": [each.rate_per_s for each in road.loads],
        "ray": road.ray, "ingress": road.ingress, "hardware": road.hardware.to_dict(), "warnings": list(traffic.said),
    }  # fmt: skip
