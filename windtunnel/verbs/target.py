"""`windtunnel benchmark --target`: any server of the Open Inference Protocol, over the wire, and what it costs itself."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from windtunnel.errors import ConfigError
from windtunnel.hardware import Hardware
from windtunnel.progress import SILENT, Progress
from windtunnel.seeds import Seeds
from windtunnel.serving.bearer import read_token
from windtunnel.serving.remote import RemoteModel, discover, refuse_foreign

from .alone import Done, run_alone
from .inputs import digest_data, generate_feeds, read_feeds

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from windtunnel.benchmarks.target import Asked
    from windtunnel.latency_profile import LatencyProfile
    from windtunnel.report.section import Section
    from windtunnel.server_cost import ServerCost
    from windtunnel.verdict import Verdict

    from .settings import Settings

    Arrays = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class Target:
    """A model behind a server, as it was asked for.

    Args:
        url: of the server.
        model: its name there.
        token_file: holds the token that the server wants; None where it wants none.
        owned: whether the user says that a server elsewhere is his own to load.
        connections: how many ask at once, to learn what the server costs.
    """

    url: str
    model: str
    token_file: Path | None = None
    owned: bool = False
    connections: int = 16

    def find(self) -> RemoteModel:
        """Ask the server about the model.

        Raises:
            ConfigError: not named, not this machine's, or not there.
            DataError: what answers does not speak the protocol.
        """
        if not self.model:
            raise ConfigError("is missing: a server may hold many", field="--model", fix="name one, as in --model NAME")
        address = refuse_foreign(self.url, owned=self.owned)
        return discover(address, self.model, token=read_token(self.token_file) if self.token_file is not None else "")

    def to_dict(self) -> dict[str, Any]:
        """What was asked, without secrets."""
        return {"url": self.url, "model": self.model, "connections": self.connections}


def benchmark_target(
    target: Target,
    *,
    settings: Settings,
    data: Path | None = None,
    out: Path | None = None,
    seed: int = 1,
    progress: Progress = SILENT,
) -> Done:
    """Measure a model behind a server, over the wire.

    Args:
        target: which.
        settings: batch sizes, precision and budget; the rest is the server's own affair.
        data: real inputs; made up from the server's metadata where None, and said so.
        out: the run folder.
        seed: of made-up inputs.
        progress: shown while measuring.

    Raises:
        InputError: a server that may not be loaded, is not there, or refuses what is asked.
        MeasurementError: it falls silent.
    """
    model = target.find()
    inputs = {"server": model.server, **({"data": digest_data(data)} if data is not None else {})}
    parameters = {
        "target": target.to_dict(), "batch": list(settings.batch), "precision": settings.precision,
        "quantile": settings.quantile, "budget_s": settings.budget_s, "instance": settings.instance,
        "measured_on": Hardware.detect(settings.instance).fingerprint,
    }  # fmt: skip
    make = partial(_measure, model=model, target=target, settings=settings, data=data, seed=seed, progress=progress)
    return run_alone("benchmark", out, parameters, inputs, make, seed=seed, progress=progress, keep_inconclusive=False)


def _measure(
    work: Path,
    *,
    model: RemoteModel,
    target: Target,
    settings: Settings,
    data: Path | None,
    seed: int,
    progress: Progress,
) -> tuple[dict[str, Any], Section, Verdict]:
    from windtunnel.benchmarks.benchmark import describe
    from windtunnel.benchmarks.target import measure_target
    from windtunnel.benchmarks.target_section import draw_target

    from .benchmark import save_profiles

    if data is not None:
        feeds: Arrays = read_feeds(data, model.signature)[0]
    else:
        feeds = generate_feeds(model.signature, max(settings.batch), Seeds(seed))
    profile = measure_target(_asked(model, target, settings, feeds), instance=settings.instance, progress=progress)
    save_profiles([profile], work)
    server = profile.server.to_dict() if profile.server is not None else None
    result = {"profiles": describe(profile), "server": server, "generated_inputs": data is None}
    return result, draw_target(profile, generated=data is None), profile.verdict


def _asked(
    model: RemoteModel, target: Target, settings: Settings, feeds: Arrays, cpu_s: Mapping[int, float] | None = None
) -> Asked:
    from windtunnel.benchmarks.measure import Effort
    from windtunnel.benchmarks.target import Asked
    from windtunnel.latency_profile import QUANTILES

    effort = Effort(settings.precision, settings.budget_s, QUANTILES[settings.quantile])
    return Asked(model, feeds, settings.batch, target.connections, effort, cpu_s or {})


def with_server(
    profiles: tuple[LatencyProfile, ...], target: Target, settings: Settings, feeds: Arrays, progress: Progress
) -> tuple[LatencyProfile, ...]:
    """The profiles of a model with what a server that serves it costs: one server, whatever the setting.

    Args:
        profiles: of one model.
        target: the server.
        settings: how long it is asked.
        feeds: rows.
        progress: shown while measuring.
    """
    from windtunnel.benchmarks.target import measure_server

    first = profiles[0]
    cpu_s = dict(zip(first.batch_sizes, first.cpu_s, strict=False))
    cost: ServerCost = measure_server(_asked(target.find(), target, settings, feeds, cpu_s), progress=progress)
    return tuple(replace(profile, server=cost) for profile in profiles)
