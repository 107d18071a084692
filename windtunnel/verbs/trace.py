"""`windtunnel trace`: arrivals, read or generated, and what they hold."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from windtunnel.errors import ConfigError, naming
from windtunnel.report.section import Section, Table

from .simulate import Traffic

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from windtunnel.seeds import Seeds
    from windtunnel.simulate.formats import Ask
    from windtunnel.trace import Trace

    Arrays = dict[str, NDArray[Any]]


HELD = 5_000_000
"""Arrivals that are generated at once and held, where they need to be a trace."""


def read_trace(
    path: Path | None, arrivals: str, requests: int, seeds: Seeds, time: str = "", speed: float = 1.0
) -> Trace:
    """Read a trace of any known format, or generate one from `poisson(rate=900)`, and play it `speed` times as fast.

    Raises:
        ConfigError: neither or both given, no such generator, too many to hold, or a speed that is not above zero.
    """
    traffic = read_traffic(path, arrivals, requests, seeds, time, speed)
    if traffic.trace is None:
        raise ConfigError(
            "is more than can be held as a trace", field="--requests", value=requests, fix=f"at most {HELD:,}"
        )
    return traffic.trace


def read_traffic(
    path: Path | None, arrivals: str, requests: int, seeds: Seeds, time: str = "", speed: float = 1.0
) -> Traffic:
    """Read or generate what comes; more than `HELD` generated arrivals are never in memory together.

    Raises:
        ConfigError: neither or both given, no such generator, or a speed that is not above zero.
        DataError: a file that holds no trace.
    """
    from windtunnel.simulate.formats import Ask, read

    if not 0.0 < speed < float("inf"):
        raise ConfigError("is not a speed", field="--speed", value=speed, fix="give a factor above zero")
    if (path is None) == (not arrivals):
        raise ConfigError(
            "need exactly one", field="--trace and --arrivals", fix="give a recording, or poisson(rate=900)"
        )
    if path is None:
        return _generated(arrivals, requests, seeds, speed)
    trace = read(path, Ask(time=time), seeds).trace
    trace = trace if speed == 1.0 else trace.speed_up(speed)
    return Traffic(trace.name, trace)


def _generated(phrase: str, requests: int, seeds: Seeds, speed: float) -> Traffic:
    from windtunnel.simulate import arrivals

    seed = seeds.number("arrivals")
    with naming(field="--arrivals"):
        generator = arrivals.parse(phrase)
        if isinstance(generator, arrivals.ClosedLoop):
            raise ConfigError(
                "is a closed loop, which no trace is made of", value=phrase, fix="write poisson(rate=900)"
            )
        if requests > HELD:
            if speed != 1.0:
                raise ConfigError("is for traces; give the generator another rate", field="--speed", value=speed)
            return Traffic(str(generator), None, phrase, requests, seed)
        trace = generator.arrivals(requests=requests, seed=seed)
    return Traffic(str(generator), trace if speed == 1.0 else trace.speed_up(speed), phrase if speed == 1.0 else "")


def describe_trace(path: Path, ask: Ask, seeds: Seeds, out: Path | None = None) -> tuple[dict[str, Any], Section]:
    """Say what a recording holds, how it was read, and what was left out; with `out`, write it as our own Parquet."""
    from windtunnel.simulate.formats import read, write

    reading = read(path, ask, seeds)
    document = {"schema": "windtunnel.trace/1", "file": str(path), **reading.describe()}
    if out is not None:
        document["written"] = str(write(reading.trace, out))
    rows = tuple((name.replace("_", " "), f"{value:,.6g}") for name, value in reading.trace.describe().items())
    tables = [Table("What it holds", ("figure", "value"), rows)]
    columns = tuple((name, str(values.dtype)) for name, values in reading.trace.columns.items())
    tables += [Table("What is known of each request", ("column", "kept as"), columns)] if columns else []
    for title, counts in (("Left out", reading.skipped), ("Kept though odd", reading.noticed)):
        lines = tuple((reason.replace("_", " "), f"{count:,}") for reason, count in counts.items())
        tables += [Table(title, ("rows", "how many"), lines)] if lines else []
    said = (f"{path}, read as {reading.format}", *reading.warnings)
    return document, Section("Trace", "", said, tuple(tables))


def parse_columns(pairs: list[str]) -> dict[str, str]:
    """Read `name=column` pairs.

    Raises:
        ConfigError: no such pair, or a name given twice.

    Example:
        >>> parse_columns(["size=tokens", "key=user"])
        {'size': 'tokens', 'key': 'user'}
    """
    columns: dict[str, str] = {}
    for pair in pairs:
        name, equals, column = pair.partition("=")
        if not (name and equals and column) or name in columns:
            raise ConfigError(
                "is no name=column", field="--column", value=pair, fix="write --column size=tokens, each name once"
            )
        columns[name] = column
    return columns
