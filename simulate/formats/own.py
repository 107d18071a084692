"""Our own Parquet: `arrival_s` in float64 seconds, and every column of the trace under its name, bit for bit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import polars as pl

from windtunnel.digest import write_atomically
from windtunnel.errors import ConfigError

from .flat import Flat

if TYPE_CHECKING:
    from pathlib import Path

    from windtunnel.seeds import Seeds
    from windtunnel.trace import Trace

    from .reading import Ask, Tally
    from .rows import Rows
    from .source import Source

TIME = "arrival_s"


def write(trace: Trace, path: Path) -> Path:
    """Write a trace as Parquet.

    Raises:
        ConfigError: a path that does not end in .parquet.
    """
    import io

    if path.suffix.lower() != ".parquet":
        raise ConfigError("is no Parquet file", field="--out", value=str(path), fix="end it in .parquet")
    buffer = io.BytesIO()
    pl.DataFrame({TIME: trace.arrivals_s, **trace.columns}).write_parquet(buffer)
    write_atomically(path, buffer.getvalue())
    return path


@dataclass(frozen=True)
class Own:
    """Parquet that `windtunnel trace --out` wrote."""

    hears: ClassVar[frozenset[str]] = Flat.hears

    name: str = "windtunnel"
    looks: str = f"Parquet with {TIME}, as `windtunnel trace --out` writes it"

    def matches(self, source: Source) -> bool:
        """Whether it is Parquet with our column of times."""
        return source.kind == "parquet" and TIME in source.header

    def read(self, source: Source, ask: Ask, tally: Tally, seeds: Seeds) -> Rows:
        """Read all columns."""
        rest = {name: name for name in source.header if name != TIME}
        return Flat(self.name, frozenset(), TIME, "s", columns=rest).read(source, ask, tally, seeds)


OWN = Own()
