"""What is asked of a reader, what it counts on its way, and what it hands back."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from windtunnel.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from windtunnel.trace import Trace

SPREADS = ("random", "even", "none")
"""How requests that share one coarse time stamp are laid out within it."""

UNITS: Mapping[str, int] = MappingProxyType({"s": 1_000_000_000, "ms": 1_000_000, "us": 1_000, "ns": 1})
"""Nanoseconds in a unit of time."""


@dataclass(frozen=True)
class Ask:
    """What the user says about a file, where it does not say it itself; whatever is empty is found out.

    Args:
        format: a name of `FORMATS`.
        time: the column of time stamps or seconds.
        time_unit: s, ms, us or ns, for a column of numbers.
        duration: the column of how long each request took.
        duration_unit: its unit.
        stamped: "start" or "end": what of a request the time stamp marks. At the end, the duration is subtracted.
        columns: our name → the file's, such as `{"size": "tokens"}`.
        bin_s: how long a bin of counts is.
        spread: "random" (uniform within the stamp's resolution, from the seed), "even", or "none".
        sampled: the share of requests that was recorded, where not all were.
        durations: the file of durations beside counts (Azure Functions 2019); found by its name where it lies beside.

    Raises:
        ConfigError: a spread, unit or stamp that is not known.
    """

    format: str = ""
    time: str = ""
    time_unit: str = ""
    duration: str = ""
    duration_unit: str = ""
    stamped: str = ""
    columns: Mapping[str, str] = field(default_factory=dict)
    bin_s: float = 0.0
    spread: str = "random"
    sampled: float = 1.0
    durations: Path | None = None

    def __post_init__(self) -> None:
        for name, value, known in (
            ("spread", self.spread, SPREADS),
            ("time_unit", self.time_unit, ("", *UNITS)),
            ("duration_unit", self.duration_unit, ("", *UNITS)),
            ("stamped", self.stamped, ("", "start", "end")),
        ):
            if value not in known:
                raise ConfigError(
                    "is not known",
                    field=f"--{name.replace('_', '-')}",
                    value=value,
                    fix=f"known: {', '.join(filter(None, known))}",
                )
        if not 0.0 < self.sampled <= 1.0:
            raise ConfigError("is no share", field="--sampled", value=self.sampled, fix="give it as 10%")
        if not 0.0 <= self.bin_s < float("inf"):
            raise ConfigError("is no length of time", field="--bin", value=self.bin_s, fix="give it as 1s or 60s")


@dataclass(frozen=True)
class Reading:
    """A trace, and what reading it took.

    Args:
        trace: what arrived.
        format: the name of the format that the file was read as.
        skipped: reason → how many rows were left out for it.
        warnings: what the reader decided or noticed, one sentence each.
        noticed: what was kept though it is odd → how many rows: `unsorted`, `identical`, `spread`, …
        coded: columns of text, of which the trace holds the places in the alphabet.
    """

    trace: Trace
    format: str
    skipped: Mapping[str, int]
    warnings: tuple[str, ...]
    noticed: Mapping[str, int] = field(default_factory=dict)
    coded: frozenset[str] = frozenset()

    def describe(self) -> dict[str, Any]:
        """The trace's figures, and what was skipped, noticed and decided."""
        found = {"skipped": dict(self.skipped), "noticed": dict(self.noticed), "warnings": list(self.warnings)}
        return {"format": self.format, **self.trace.describe(), **found}


class Tally:
    """What one reading counts on its way; thrown away after it."""

    def __init__(self) -> None:
        self.skipped: Counter[str] = Counter()
        self.noticed: Counter[str] = Counter()
        self.examples: dict[str, str] = {}
        self.warnings: list[str] = []
        self.bad = 0

    def skip(self, reason: str, rows: int = 1, *, example: object = "", bad: bool = True) -> None:
        """Count rows that are left out; `bad` ones speak against the file, others were never arrivals."""
        if rows:
            self.skipped[reason] += rows
            self.examples.setdefault(reason, str(example)[:80])
            self.bad += rows if bad else 0

    def notice(self, what: str, rows: int) -> None:
        """Count rows that are odd and kept."""
        if rows:
            self.noticed[what] += rows

    def warn(self, sentence: str) -> None:
        """Say once what was decided or noticed."""
        if sentence not in self.warnings:
            self.warnings.append(sentence)
