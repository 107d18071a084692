"""What serving costs: measured profiles, priced machines and simulated queues brought together into a cost report."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from windtunnel.errors import ConfigError, naming

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from windtunnel.benchmarks import CostReport
    from windtunnel.benchmarks.consumption import Consumption
    from windtunnel.benchmarks.cost import Capacity, Cost
    from windtunnel.benchmarks.power import Power
    from windtunnel.benchmarks.projection_error import ProjectionError
    from windtunnel.benchmarks.roofline import Projector
    from windtunnel.benchmarks.ways_to_pay import Way
    from windtunnel.catalogue import Catalogue
    from windtunnel.deployment import Slo
    from windtunnel.latency_profile import LatencyProfile
    from windtunnel.price import Price
    from windtunnel.progress import Progress
    from windtunnel.seeds import Seeds
    from windtunnel.stats import Interval
    from windtunnel.tariff import Edge, Instance, Serverless

    Arrays = Mapping[str, NDArray[Any]]

FRONTIER_REQUESTS = 20_000
"""Requests a point of the frontier; a curve that is drawn by itself has more."""


@dataclass(frozen=True)
class Wishes:
    """What a cost report is asked about.

    Args:
        slo: the promise, such as `p99<=50ms`.
        tariffs: what to pay for, as `parse_tariff` reads it: instance types, functions, `edge(…)`, `serverless(…)`.
        prices: a table that replaces or extends the shipped prices; None for those alone.
        load_per_s: the load at which ways to pay are weighed; the most that the first machine carries where 0.
        cold_share: of requests that find no function ready.
        power_w: what a machine draws while it works, where that was not measured; rated limits of accelerators are used
            where 0.
        grid_g_per_kwh: grams of CO₂ a kilowatt-hour; none is told where 0.
        max_batch: the largest batch that servers form; the largest that was measured where 0.
    """

    slo: str
    tariffs: tuple[str, ...]
    prices: Path | None = None
    load_per_s: float = 0.0
    cold_share: float = 0.0
    power_w: float = 0.0
    grid_g_per_kwh: float = 0.0
    max_batch: int = 0

    def catalogue(self) -> Catalogue:
        """The prices that hold."""
        from windtunnel.catalogue import Catalogue

        shipped = Catalogue.shipped()
        return shipped.extended(self.prices) if self.prices is not None else shipped

    def parsed(self) -> dict[str, Instance | Edge | Serverless]:
        """What to pay for, by the name under which it was asked about.

        Raises:
            ConfigError: nothing of that name.
        """
        from windtunnel.tariff import parse_tariff

        catalogue = self.catalogue()
        with naming(field="--hardware"):
            return {text: parse_tariff(text, catalogue) for text in self.tariffs}

    def check(self) -> None:
        """Refuse what cannot be priced, before anything is measured.

        Raises:
            ConfigError: a promise that cannot be read, something without a price, or a share that is none.
        """
        from windtunnel.deployment import Slo

        with naming(field="--slo"):
            Slo.parse(self.slo)
        if not self.parsed():
            raise ConfigError("names nothing to pay for", field="--hardware", fix="write aws:m7i.large,aws:g5.xlarge")
        for field, value in (("--load", self.load_per_s), ("--power", self.power_w), ("--grid", self.grid_g_per_kwh)):
            if not 0.0 <= value < math.inf:
                raise ConfigError(
                    "is no figure that can be reckoned with", field=field, value=value, fix="give one from 0 on"
                )
        if not 0.0 <= self.cold_share <= 1.0:
            raise ConfigError("must be a share", field="--cold-share", value=self.cold_share, fix="write 1%")

    def to_dict(self) -> dict[str, Any]:
        """What was asked, with the prices as they stand today: another price is another question."""
        priced = {name: repr(tariff) for name, tariff in self.parsed().items()}
        return {**vars(self), "prices": str(self.prices or ""), "priced": priced}


def report_costs(
    profiles: Sequence[LatencyProfile],
    models: Mapping[str, Path],
    feeds: Mapping[str, Arrays],
    wishes: Wishes,
    *,
    seeds: Seeds,
    progress: Progress,
    consumptions: Sequence[Consumption] = (),
) -> CostReport:
    """Price measured profiles.

    Args:
        profiles: measured here.
        models: ONNX files by variant name, for projections.
        feeds: rows by size class, for projections.
        wishes: what is asked about.
        seeds: of the simulated traffic.
        progress: shown while pricing.
        consumptions: measured here, with the profiles.
    """
    from windtunnel.benchmarks import AskedWay, CostReport, cost_table, weigh
    from windtunnel.benchmarks import frontier as weigh_latency
    from windtunnel.benchmarks.roofline import Projector
    from windtunnel.deployment import Slo
    from windtunnel.simulate import capacity, fly, load_curve
    from windtunnel.tariff import Instance

    slo, tariffs = Slo.parse(wishes.slo), wishes.parsed()
    profiles = [profile.served for profile in profiles]
    largest = wishes.max_batch or min(profile.batch_sizes[-1] for profile in profiles)
    # what waits leaves at once, so that the cost is not that of one batching policy
    alike: dict[str, Any] = {"max_batch": largest, "max_wait_s": 0.0, "seeds": seeds}
    machines = list({t.price.name: t.price for t in tariffs.values() if isinstance(t, Instance)}.values())
    project = Projector(models, feeds, partial(_study, progress))
    progress.say(f"  pricing {len(tariffs)} ways to serve {len(profiles)} profiles")
    costs = cost_table(
        profiles, machines, slo, partial(capacity, **alike), project=project,
        powers=_powers(machines, wishes, profiles[0].hardware.instance, consumptions), fly=partial(fly, **alike), grid_g_per_kwh=wishes.grid_g_per_kwh or None,
    )  # fmt: skip
    found = None
    if machines:
        drawn = partial(load_curve, max_wait_s=0.0, seeds=seeds, requests=FRONTIER_REQUESTS)
        found = weigh_latency(profiles, machines, drawn, max_batches=_batches(profiles, largest), project=project)
    carried = partial(_best_here, profiles, slo, partial(capacity, **alike))
    ways = [(name, _way(tariff, costs, profiles, slo, wishes, project, carried)) for name, tariff in tariffs.items()]
    # where nothing is known of any machine, the load at which the question is real is what this one carries
    load_per_s = wishes.load_per_s or _usual_load(costs) or carried()[1].value
    weighing = weigh(ways, load_per_s) if load_per_s > 0.0 else None
    asked = tuple(
        AskedWay(name, _price_date(tariffs[name]), _basis(tariffs[name], profiles), way) for name, way in ways
    )
    return CostReport(costs, slo, found, weighing, project.error if project.asked else None, asked)


def _study(progress: Progress) -> ProjectionError:
    """The study of this machine; said only where it must be made."""
    from windtunnel.benchmarks import study
    from windtunnel.benchmarks.leave_one_out import leave_one_out

    def make() -> ProjectionError:
        progress.say("  finding out how far projections are off here (about 20 s, once for a machine)")
        return leave_one_out()

    return study(make=make)


def _batches(profiles: Sequence[LatencyProfile], largest: int) -> list[int]:
    """The smallest, the largest and one between: what lies between them differs little from its neighbours."""
    known = sorted({batch for profile in profiles for batch in profile.batch_sizes if batch <= largest})
    return sorted({known[0], known[len(known) // 2], known[-1]})


def _powers(
    machines: Sequence[Price], wishes: Wishes, here: str, consumptions: Sequence[Consumption]
) -> dict[str, Power]:
    """What each machine draws while it works: measured, where it is this one; else as it was specified; else rated."""
    from windtunnel.benchmarks import Power, rated_powers

    powers = rated_powers(machines)
    if wishes.power_w:
        powers = {price.name: Power(wishes.power_w, "specified", "the machine") for price in machines}
    measured = _measured_power(consumptions)
    if measured is not None:
        powers |= {price.name: measured for price in machines if price.name == here and price.accelerators <= 1}
    return powers


def _measured_power(consumptions: Sequence[Consumption]) -> Power | None:
    """Of a machine that is full, with the variant that draws most, as idle power included; None where meters differ.

    A reading of one of several accelerators is no machine's; a processor's reading and a board's cannot be laid over
    each other.
    """
    from windtunnel.benchmarks import Power

    known = {each.name: each.energy for each in consumptions if each.filled and each.energy is not None}
    known = {name: energy for name, energy in known.items() if energy.watts > 0.0}
    if len({energy.what for energy in known.values()}) != 1:
        return None
    most = max(known, key=lambda name: known[name].watts)
    drawn = Power.drawn(known[most])
    return replace(drawn, what=f"{drawn.what}, filled with {most}") if len(known) > 1 else drawn


def _usual_load(costs: Sequence[Cost]) -> float:
    """What the first machine of which something is known carries: a load at which the question is real."""
    rates = [cost.throughput_at_slo_per_s.value for cost in costs if cost.throughput_at_slo_per_s is not None]
    return next((rate for rate in rates if rate > 0.0), 0.0)


def _best_here(profiles: Sequence[LatencyProfile], slo: Slo, capacity: Capacity) -> tuple[str, Interval]:
    """The profile that carries most on the machine that was measured, and how much."""
    carried = {
        profile.name: capacity(profile, slo, servers=max(1, int(profile.hardware.cores) // profile.threads))
        for profile in profiles
    }
    best = max(carried, key=lambda name: carried[name].value)
    return best, carried[best]


def _price_date(tariff: Instance | Edge | Serverless) -> str:
    """When its price was read; a device's is the user's own."""
    from windtunnel.tariff import Edge, Serverless

    if isinstance(tariff, Edge):
        return "given"
    return tariff.date if isinstance(tariff, Serverless) else tariff.price.date


def _basis(tariff: Instance | Edge | Serverless, profiles: Sequence[LatencyProfile]) -> str:
    """Measured is what was measured on that very machine; a device is the machine that was measured."""
    from windtunnel.tariff import Edge, Instance

    here = profiles[0].hardware.instance
    measured = isinstance(tariff, Edge) or (isinstance(tariff, Instance) and tariff.price.name == here)
    return "measured" if measured else "projected"


def _way(
    tariff: Instance | Edge | Serverless,
    costs: Sequence[Cost],
    profiles: Sequence[LatencyProfile],
    slo: Slo,
    wishes: Wishes,
    project: Projector,
    carried: Callable[[], tuple[str, Interval]],
) -> Way | str:
    """One way to pay, for the profile that is cheapest so; an edge device is the machine that was measured, bought."""
    from windtunnel.benchmarks import by_machine, by_request, elsewhere
    from windtunnel.tariff import Edge, Serverless

    if isinstance(tariff, Serverless):
        there = [elsewhere(profile, project.error.band()) for profile in profiles]
        made = [by_request(tariff, profile, slo, cold_share=wishes.cold_share) for profile in there]
        good = [way for way in made if not isinstance(way, str)]
        return min(good, key=lambda way: way.expected.usd_per_request) if good else made[0]
    if isinstance(tariff, Edge):
        name, rate = carried()
        return by_machine(tariff, rate, note=f"{name}, this machine as it was measured, bought")
    known = [cost for cost in costs if cost.price.name == tariff.price.name]
    best = max(known, key=lambda cost: cost.throughput_at_slo_per_s.value if cost.throughput_at_slo_per_s else -1.0)
    if best.throughput_at_slo_per_s is None:
        return best.note
    return by_machine(
        tariff,
        best.throughput_at_slo_per_s,
        note=f"{best.variant}, {best.basis}, price of {_price_date(tariff) or 'no date'}",
    )
