"""How compute is paid for: by the hour, by the request and second, or once and by the kilowatt hour."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from windtunnel.catalogue import Catalogue
from windtunnel.errors import ConfigError, DataError, naming, nearest
from windtunnel.price_file import check_columns, read_rows
from windtunnel.quantity import parse_duration, parse_share

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import ArrayLike

    from windtunnel.price import Price
    from windtunnel.price_file import Row

SHIPPED = Path(__file__).parent / "catalog" / "serverless_prices.csv"
"""The serverless prices shipped with windtunnel; each row names its source and date."""

COLUMNS = ("provider", "service", "region", "arch", "usd_per_million_requests", "usd_per_gb_s", "usd_per_vcpu_s",
           "billing_step_s", "minimum_s", "min_memory_mb", "max_memory_mb", "memory_mb_per_vcpu", "catalog_date",
           "source")  # fmt: skip

HOURS_PER_YEAR = 365.25 * 24.0


@dataclass(frozen=True)
class Instance:
    """A machine by the hour, on demand or spot.

    Args:
        price: the machine.
        spot: whether at the spot price, which may be taken away at any moment.

    Raises:
        ConfigError: spot, where no spot price is known.

    Example:
        >>> from windtunnel.price import find_price
        >>> machine = Instance(find_price("azure:D2s_v5"))
        >>> machine.usd_per_million(rate_per_s=1000.0)      # 0.096 USD ÷ 3.6 million requests an hour
        0.02666
        >>> Instance(find_price("aws:g5.xlarge"), spot=True).usd_per_hour_range
        (0.4246, 0.4507)
    """

    price: Price
    spot: bool = False

    def __post_init__(self) -> None:
        if self.spot and self.price.spot_usd_per_hour is None:
            raise ConfigError(
                "has no spot price", field="hardware", value=self.price.name, fix="give one with --prices FILE"
            )

    @property
    def name(self) -> str:
        """Such as `spot(aws:g5.xlarge)`."""
        return f"spot({self.price.name})" if self.spot else self.price.name

    @property
    def usd_per_hour(self) -> float:
        """US dollars an hour of one machine."""
        spot = self.price.spot_usd_per_hour
        return spot if self.spot and spot is not None else self.price.usd_per_hour

    @property
    def usd_per_hour_range(self) -> tuple[float, float]:
        """The least and most US dollars an hour: over the zones for spot where known, else the one price twice."""
        low, high = self.price.spot_min_usd, self.price.spot_max_usd
        usd = self.usd_per_hour
        return (usd if low is None else low, usd if high is None else high) if self.spot else (usd, usd)

    def usd_per_million(self, rate_per_s: float) -> float:
        """US dollars per million requests, at so many requests a second."""
        return usd_per_million(self.usd_per_hour, rate_per_s)


@dataclass(frozen=True)
class Edge:
    """A device that is bought once, wears out, and draws power.

    Args:
        purchase_usd: paid once.
        lifetime_years: after which it is worth nothing.
        power_w: drawn while it works.
        usd_per_kwh: of electricity.
        utilisation: the share of all hours in which it draws `power_w`; in the others nothing.
        name: of the device.

    Raises:
        ConfigError: a purchase or lifetime not above zero, a negative power or price, or a share outside 0 to 1.

    Example:
        >>> box = Edge(purchase_usd=500.0, lifetime_years=3.0, power_w=15.0, usd_per_kwh=0.30)
        >>> box.usd_per_hour                # 500 ÷ 26,298 h + 0.015 kW × 0.30
        0.02351
        >>> box.usd_per_million(rate_per_s=10.0)
        0.6531
    """

    purchase_usd: float
    lifetime_years: float
    power_w: float
    usd_per_kwh: float
    utilisation: float = 1.0
    name: str = "edge"

    def __post_init__(self) -> None:
        _check_above_zero("edge", purchase=self.purchase_usd, lifetime=self.lifetime_years)
        _check_not_below_zero("edge", power=self.power_w, electricity=self.usd_per_kwh)
        if not 0.0 <= self.utilisation <= 1.0:
            raise ConfigError("is outside 0 to 1", field="edge(utilisation)", value=self.utilisation, fix="write 100%")

    @property
    def usd_per_hour(self) -> float:
        """US dollars an hour of one device: its wear and its electricity."""
        wear = self.purchase_usd / (self.lifetime_years * HOURS_PER_YEAR)
        return wear + self.power_w * self.utilisation / 1e3 * self.usd_per_kwh

    @property
    def usd_per_hour_range(self) -> tuple[float, float]:
        """The one figure twice: what is given is not uncertain."""
        return self.usd_per_hour, self.usd_per_hour

    def usd_per_million(self, rate_per_s: float) -> float:
        """US dollars per million requests, at so many requests a second."""
        return usd_per_million(self.usd_per_hour, rate_per_s)


@dataclass(frozen=True)
class Serverless:
    """A function of some memory, paid by the request and by the second in which it works, without any free tier.

    One request at a time has an instance to itself, as AWS Lambda runs them. Cold starts are billed like work, as AWS
    Lambda has done for every runtime since August 2025 and Cloud Run has always done.

    Args:
        usd_per_request: whatever it takes.
        usd_per_gb_s: a second of one GB, which here as on the bills is 1,024 MB.
        memory_gb: what the function is given.
        usd_per_vcpu_s: a second of one vCPU, where it is billed beside the memory.
        vcpu: what the function is given; by its memory on AWS Lambda.
        billing_step_s: durations are rounded up to a multiple of this.
        minimum_s: the least duration that is billed.
        name: such as `aws:lambda-2048MB`.
        region: where.
        architecture: such as `arm64`; empty where it is not known.
        date: of the price, as the source writes it; `given` where the user gave it.
        source: where the figures were read.

    Raises:
        ConfigError: a memory or step not above zero, or a negative price.

    Example:
        >>> small = Serverless(usd_per_request=0.20e-6, usd_per_gb_s=0.0000166667, memory_gb=0.5)
        >>> small.usd_per_million(1.0)       # AWS's example 1: 0.20 + 500,000 GB-s × 0.0000166667
        8.5333
        >>> small.billed_s([0.0123, 0.0120])
        0.0125
    """

    usd_per_request: float
    usd_per_gb_s: float
    memory_gb: float
    usd_per_vcpu_s: float = 0.0
    vcpu: float = 1.0
    billing_step_s: float = 0.001
    minimum_s: float = 0.0
    name: str = "serverless"
    region: str = ""
    architecture: str = ""
    date: str = "given"
    source: str = "given"

    def __post_init__(self) -> None:
        _check_above_zero("serverless", memory=self.memory_gb, step=self.billing_step_s, vcpu=self.vcpu)
        _check_not_below_zero(
            "serverless", request=self.usd_per_request, gb_s=self.usd_per_gb_s, vcpu_s=self.usd_per_vcpu_s,
            minimum=self.minimum_s,
        )  # fmt: skip

    @property
    def usd_per_s(self) -> float:
        """US dollars a second while it works."""
        return self.usd_per_gb_s * self.memory_gb + self.usd_per_vcpu_s * self.vcpu

    def billed_s(self, duration_s: ArrayLike) -> float:
        """The mean of the seconds that are billed for requests that took so long, each rounded up on its own.

        Args:
            duration_s: one or many, in seconds.
        """
        # a duration that is a multiple of the step is not rounded up for its last bit
        steps = np.ceil(np.asarray(duration_s, dtype=np.float64) / self.billing_step_s - 1e-9)
        return float(np.mean(np.maximum(steps * self.billing_step_s, self.minimum_s)))

    def usd_per_million(self, duration_s: ArrayLike, *, cold_share: float = 0.0, cold_start_s: float = 0.0) -> float:
        """US dollars per million requests; the same at any rate.

        Args:
            duration_s: how long requests take on this memory, one or many, in seconds.
            cold_share: of requests that find no instance ready.
            cold_start_s: how much longer those take.
        """
        warm_s = self.billed_s(duration_s)
        cold_s = self.billed_s(np.asarray(duration_s, dtype=np.float64) + cold_start_s)
        billed_s = (1.0 - cold_share) * warm_s + cold_share * cold_s
        return 1e6 * (self.usd_per_request + self.usd_per_s * billed_s)


Tariff = Instance | Edge | Serverless
"""Any way of paying."""


def usd_per_million(usd_per_hour: float, rate_per_s: float) -> float:
    """US dollars per million requests of what costs so much an hour; endless where nothing is served.

    Example:
        >>> usd_per_million(3.6, 1000.0)
        1.0
    """
    return usd_per_hour / (rate_per_s * 3600.0) * 1e6 if rate_per_s > 0.0 else math.inf


@dataclass(frozen=True)
class Service:
    """A serverless offer, of which functions of many sizes may be had.

    Args:
        name: such as `aws:lambda`.
        template: its prices, at the smallest size.
        max_memory_mb: the largest size.
        memory_mb_per_vcpu: how much memory brings one vCPU; None where it does not follow from the memory.
    """

    name: str
    template: Serverless
    max_memory_mb: int
    memory_mb_per_vcpu: float | None

    def sized(self, memory_mb: int, vcpu: float = 1.0) -> Serverless:
        """A function of some memory.

        Args:
            memory_mb: what it is given.
            vcpu: what it is given, where that does not follow from the memory.

        Raises:
            ConfigError: a memory that is not sold.
        """
        least = round(self.template.memory_gb * 1024.0)
        if not least <= memory_mb <= self.max_memory_mb:
            raise ConfigError(
                "is not sold in this size", field="hardware", value=f"{self.name}-{memory_mb}MB",
                fix=f"{least}MB to {self.max_memory_mb}MB are",
            )  # fmt: skip
        per = self.memory_mb_per_vcpu
        named = f"{self.name}-{vcpu:g}vcpu-{memory_mb}MB" if vcpu != 1.0 else f"{self.name}-{memory_mb}MB"
        settings = {"name": named, "memory_gb": memory_mb / 1024.0, "vcpu": memory_mb / per if per else vcpu}
        return Serverless(**{**vars(self.template), **settings})


def read_services(path: Path = SHIPPED) -> dict[str, Service]:
    """Read serverless offers, by `provider:service`.

    Raises:
        DataError: a table that cannot be read whole, with its row, column and value.

    Example:
        >>> read_services()["aws:lambda"].sized(2048).usd_per_s
        3.3333e-05
    """
    header, rows = read_rows(path)
    check_columns(COLUMNS, header, path)
    services: dict[str, Service] = {}
    for row in rows:
        service = _service(row)
        if service.name in services:
            raise DataError("stands twice", file=path, value=service.name, fix="keep one row an offer")
        services[service.name] = service
    return services


def _service(row: Row) -> Service:
    name = f"{row.text('provider')}:{row.text('service')}"
    for column in ("billing_step_s", "min_memory_mb"):
        if row.required(column) == 0.0:
            raise row.refusal("is not above zero", column)
    template = Serverless(
        row.required("usd_per_million_requests") / 1e6, row.required("usd_per_gb_s"),
        row.required("min_memory_mb") / 1024.0, row.number("usd_per_vcpu_s") or 0.0, 1.0, row.required("billing_step_s"),
        row.required("minimum_s"), name, row.text("region"), row.text("arch"), row.text("catalog_date"), row.text("source"),
    )  # fmt: skip
    return Service(name, template, row.count("max_memory_mb"), row.number("memory_mb_per_vcpu"))


@cache
def _shipped() -> Mapping[str, Service]:
    return read_services()


def parse_tariff(text: str, catalogue: Catalogue | None = None) -> Tariff:
    """Read what to pay for, as people write it.

    Args:
        text: an instance type (`aws:m7i.large`), the same at its spot price (`spot(aws:g5.xlarge)`), a function of some
            memory (`aws:lambda-2048MB`, `gcp:run-2vcpu-4096MB`), or prices of one's own:
            `edge(purchase=500usd, lifetime=3y, power=15W, electricity=0.30usd/kWh)`,
            `serverless(request=0.20usd/M, gb_s=0.0000166667usd, memory=2GiB)`.
        catalogue: of instance types; the shipped one where None.

    Raises:
        ConfigError: nothing of that name, or a setting that is missing, unknown, or of another unit.

    Example:
        >>> parse_tariff("edge(purchase=500usd, lifetime=3y, power=15W, electricity=0.30usd/kWh)").usd_per_hour
        0.0235
        >>> parse_tariff("aws:lambda-1769MB").vcpu
        1.0
    """
    catalogue = catalogue or Catalogue.shipped()
    call = re.fullmatch(r"\s*(edge|serverless|spot)\s*\((.*)\)\s*", text)
    if call is None:
        return _function(text.strip()) or _machine(text.strip(), catalogue)
    if call[1] == "spot":
        return Instance(catalogue.find(call[2].strip()), spot=True)
    given = _settings(call[1], call[2])
    return _edge(text.strip(), given) if call[1] == "edge" else _serverless(text.strip(), given)


def _edge(name: str, given: Mapping[str, float]) -> Edge:
    utilisation = given.get("utilisation", 1.0)
    return Edge(
        given["purchase"], given["lifetime"], given["power"], given["electricity"], utilisation=utilisation, name=name
    )


def _serverless(name: str, given: Mapping[str, float]) -> Serverless:
    return Serverless(
        given["request"], given["gb_s"], given["memory"], usd_per_vcpu_s=given.get("vcpu_s", 0.0),
        vcpu=given.get("vcpu", 1.0), billing_step_s=given.get("step", 0.001), minimum_s=given.get("minimum", 0.0), name=name,
    )  # fmt: skip


def _function(text: str) -> Serverless | None:
    """A function by its name, such as `aws:lambda-2048MB`; None where the text is no such name."""
    found = re.fullmatch(r"(.+?)(?:-([0-9.]+)vcpu)?-([0-9]+)MB", text)
    if found is None or found[1] not in _shipped():
        return None
    service = _shipped()[found[1]]
    if found[2] and service.memory_mb_per_vcpu:
        raise ConfigError(
            "has as many processors as its memory brings", field="hardware", value=text,
            fix=f"write {service.name}-{found[3]}MB: {service.memory_mb_per_vcpu:g} MB bring one vCPU",
        )  # fmt: skip
    return service.sized(int(found[3]), float(found[2] or 1.0))


def _machine(text: str, catalogue: Catalogue) -> Instance:
    if text not in catalogue.prices and (text in _shipped() or text.endswith("MB")):
        known = [f"{name}-2048MB" for name in _shipped()]
        raise ConfigError("is no function whose price is known", field="hardware", value=text, fix=nearest(text, known))
    return Instance(catalogue.find(text))


SETTINGS = {
    "edge": {
        "purchase": ("usd", "500usd"), "lifetime": ("years", "3y"), "power": ("w", "15W"),
        "electricity": ("usd/kwh", "0.30usd/kWh"), "utilisation": ("share", "100%"),
    },
    "serverless": {
        "request": ("usd/m", "0.20usd/M"), "gb_s": ("usd", "0.0000166667usd"), "memory": ("gib", "2GiB"),
        "vcpu_s": ("usd", "0.000024usd"), "vcpu": ("", "2"), "step": ("duration", "1ms"), "minimum": ("duration", "100ms"),
    },
}  # fmt: skip
"""What can be set: the kind of figure it is, and an example."""

REQUIRED = {"edge": ("purchase", "lifetime", "power", "electricity"), "serverless": ("request", "gb_s", "memory")}

UNITS = {
    "usd": {"usd": 1.0},
    "years": {"y": 1.0},
    "w": {"w": 1.0, "kw": 1e3},
    "usd/kwh": {"usd/kwh": 1.0},
    "usd/m": {"usd/m": 1e-6},
    "gib": {"gib": 1.0, "gb": 1.0, "mib": 1 / 1024, "mb": 1 / 1024},
    "": {"": 1.0},
}
"""The units that will do, by the kind of figure, and what one of them is."""


def _settings(kind: str, text: str) -> dict[str, float]:
    known = SETTINGS[kind]
    values: dict[str, float] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        key, _, value = (each.strip() for each in part.partition("="))
        if key not in known:
            raise ConfigError("is not a setting", field=f"{kind}({key})", fix=nearest(key, known))
        values[key] = _quantity(value, *known[key], field=f"{kind}({key})")
    for key in REQUIRED[kind]:
        if key not in values:
            raise ConfigError("is missing", field=f"{kind}({key})", fix=f"add {key}={known[key][1]}")
    return values


def _quantity(text: str, unit: str, example: str, *, field: str) -> float:
    """A figure of one kind, in one of the units that will do."""
    if unit in {"duration", "share"}:
        with naming(field=field):
            return parse_duration(text) if unit == "duration" else parse_share(text)
    found = re.fullmatch(r"([0-9]+(?:\.[0-9]*)?(?:[eE][+-]?[0-9]+)?)\s*([A-Za-z/]*)", text)
    if found is None or found[2].lower() not in UNITS[unit]:
        raise ConfigError("is not understood", field=field, value=text, fix=f"write {example}")
    return float(found[1]) * UNITS[unit][found[2].lower()]


def _check_above_zero(kind: str, **values: float) -> None:
    for key, value in values.items():
        if not (value > 0.0 and math.isfinite(value)):
            raise ConfigError("is not above zero", field=f"{kind}({key})", value=value, fix="write more than zero")


def _check_not_below_zero(kind: str, **values: float) -> None:
    for key, value in values.items():
        if not (value >= 0.0 and math.isfinite(value)):
            raise ConfigError("is no price or power", field=f"{kind}({key})", value=value, fix="write zero or more")
