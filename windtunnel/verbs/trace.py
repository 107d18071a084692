"""`windtunnel trace`: arrivals, read or generated, and what they hold."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from windtunnel.errors import ConfigError, naming
from windtunnel.report.section import Section, Table

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from windtunnel.seeds import Seeds
    from windtunnel.trace import Trace

    Arrays = dict[str, NDArray[Any]]


def read_trace(
    path: Path | None, arrivals: str, requests: int, seeds: Seeds, time: str = "", speed: float = 1.0
) -> Trace:
    """Read a trace, or generate one from `poisson(rate=900)`, and play it `speed` times as fast.

    Raises:
        ConfigError: neither or both given, no such generator, or a speed that is not above zero.
    """
    if not 0.0 < speed < float("inf"):
        raise ConfigError("is not a speed", field="--speed", value=speed, fix="give a factor above zero")
    trace = _read_trace(path, arrivals, requests, seeds, time)
    return trace if speed == 1.0 else trace.speed_up(speed)


def _read_trace(path: Path | None, arrivals: str, requests: int, seeds: Seeds, time: str) -> Trace:
    import re

    from windtunnel.simulate import poisson
    from windtunnel.trace import Trace

    if (path is None) == (not arrivals):
        raise ConfigError(
            "need exactly one", field="--trace and --arrivals", fix="give a recording, or poisson(rate=900)"
        )
    if path is not None:
        return Trace.from_file(path, time)
    match = re.fullmatch(r"poisson\(rate=([0-9]+(?:\.[0-9]*)?(?:e[+-]?[0-9]+)?)\)", arrivals.replace(" ", "").lower())
    if match is None:
        raise ConfigError(
            "is not a generator",
            field="--arrivals",
            value=arrivals,
            fix="write poisson(rate=900), in requests a second",
        )
    with naming(field="--arrivals"):
        return poisson(float(match[1]), requests, seeds.stream("arrivals"))


def describe_trace(path: Path, time: str = "") -> tuple[dict[str, Any], Section]:
    """Say what a trace holds: requests, length, rates, burstiness."""
    from windtunnel.trace import Trace

    facts = Trace.from_file(path, time).describe()
    rows = tuple((name.replace("_", " "), f"{value:,.6g}") for name, value in facts.items())
    section = Section("Trace", "", (str(path),), (Table("What it holds", ("figure", "value"), rows),))
    return {"schema": "windtunnel.trace/1", "file": str(path), **facts}, section
