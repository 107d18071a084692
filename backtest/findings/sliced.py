"""Where each candidate does otherwise than the incumbent: slices searched."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from windtunnel.backtest.metrics import Clocks
from windtunnel.backtest.plot import beside
from windtunnel.backtest.slices import search_slices
from windtunnel.errors import ConfigError
from windtunnel.report.section import Section

if TYPE_CHECKING:
    from collections.abc import Sequence

    from windtunnel.backtest.slices import Slice, Slices
    from windtunnel.backtest.slices.basis import Against

    from .finding import Series
    from .held import Held

MOST_OTHERS = 100
"""So many slices in which nothing is shown are told of each candidate, the most nearly shown first."""


@dataclass(frozen=True)
class Sliced:
    """The slices of every candidate.

    Args:
        found: by candidate.
        loss: what is differenced, in words.
        unit: of the loss.
    """

    found: dict[str, Slices]
    loss: str
    unit: str

    @staticmethod
    def of(
        held: Held,
        *,
        columns: Sequence[str] = (),
        pairs: bool = True,
        against: Against | None = None,
        rate: float = 0.05,
        reference_days: int = 14,
        block_days: int | None = None,
        least_share: float = 0.01,
    ) -> Sliced:
        """Search; see `search_slices`. Each candidate is searched at `rate` by itself.

        Args:
            held: the recording.
            columns: all features where empty.
            pairs: whether slices by two columns are searched too.
            against: what a slice is held against; None: as measured.
            rate: the share of false finds that is borne.
            reference_days: from which edges are taken.
            block_days: that make a block; None: as measured.
            least_share: of the rows that a slice must hold.

        Raises:
            ConfigError: a metric that rows have no share in, or no column to slice by.
        """
        held.check_additive("[backtest.slices]")
        chosen = list(columns or held.features)
        if not chosen:
            raise ConfigError("has nothing to slice by", field="slices.columns", fix="name columns.features")
        base = held.losses(held.models[0])
        found = {
            name: search_slices(
                held.table(chosen), held.losses(name) - base, Clocks.of(held.rows), as_of_us=held.as_of_us, horizon_us=held.horizon_us,
                columns=chosen, pairs=pairs, against=against, rate=rate, reference_days=reference_days, block_days=block_days,
                least_share=least_share, weight=held.rows.weight if len(held.rows.weight) else None,
            )
            for name in held.models[1:]
        }  # fmt: skip
        return Sliced(found, held.judge.differenced, held.judge.differenced_unit)

    @property
    def doubts(self) -> tuple[str, ...]:
        """Slices in which a candidate is shown to be worse, and why what was found may be false."""
        told = []
        for name, slices in self.found.items():
            # worse than on the rest is no loss where it is better than the incumbent there all the same
            worse = [each for each in slices.found if each.direction == "worse" and each.alone > 0.0]
            if worse:
                told.append(_worse(name, worse[0], slices.basis.against))
            told += [f"slices of `{name}`: {doubt}" for doubt in slices.doubts]
        return tuple(told)

    def to_dict(self) -> dict[str, Any]:
        """`slices`, one entry a candidate."""
        told = []
        for name, slices in self.found.items():
            entry = slices.to_dict()
            told.append({"name": name, **entry, "others": entry["others"][:MOST_OTHERS]})
        return {"slices": told}

    def draw(self) -> Section:
        """What was found of every candidate."""
        parts = [slices.draw(name, self.loss, self.unit) for name, slices in self.found.items()]
        return joined(parts)

    def series(self) -> Series:
        """Nothing: it is worked out once, at the last look."""
        return np.empty(0, np.int64), {}


def _worse(name: str, where: Slice, against: Against) -> str:
    by = beside(where.difference, where.low, where.high)
    share = f"on {where.share:.1%} of the requests"
    if against == "incumbent":
        return f"`{name}` is worse where {where.name} ({by} {share})"
    itself = beside(where.alone, where.low, where.high)
    return f"`{name}` does worse where {where.name} than elsewhere (by {by}; {itself} from the incumbent, {share})"


def joined(parts: Sequence[Section]) -> Section:
    """Several parts as one, each note once."""
    notes = dict.fromkeys(note for part in parts for note in part.notes)
    return replace(
        Section("", "", ()),
        sentences=tuple(each for part in parts for each in part.sentences),
        tables=tuple(each for part in parts for each in part.tables),
        figures=tuple(each for part in parts for each in part.figures),
        notes=tuple(notes),
    )
