"""`windtunnel simulate --live --adversary`: who comes to the server besides honest requests, and what is made of it."""

from __future__ import annotations

import contextlib
import http.client
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from windtunnel.errors import DataError
from windtunnel.verdict import Verdict

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from windtunnel.report.section import Section
    from windtunnel.seeds import Seeds
    from windtunnel.simulate.live import LiveRun, Schedule, Target
    from windtunnel.simulate.live.adversary import Assault, Hostility, Oracle, Siege
    from windtunnel.simulate.live.bodies import Bodies
    from windtunnel.simulate.live.drive import Progress as Shown
    from windtunnel.variant import Variant

    Arrays = Mapping[str, NDArray[Any]]

USUAL_FACTOR = 3.0
"""By which honest requests may take longer at p99 where nobody says."""


@dataclass(frozen=True)
class Foe:
    """An adversary for a run.

    Args:
        target: whom it talks to.
        rows: what each honest body asks.
        assault: what it does.
        factor: by which honest requests may take longer at p99.
    """

    target: Target
    rows: Sequence[Arrays]
    assault: Assault
    factor: float

    @staticmethod
    def of(
        target: Target, bodies: Bodies, feeds: Sequence[Arrays], schedule: Schedule, seeds: Seeds, factor: float,
        hostility: Hostility | None = None,
    ) -> Foe:  # fmt: skip
        """Make one.

        Args:
            target: whom it talks to.
            bodies: the honest requests.
            feeds: the rows that they were made of, by size class.
            schedule: when they leave.
            seeds: stream `adversary`.
            factor: by which honest requests may take longer at p99.
            hostility: how much is done; the usual where None.

        Raises:
            ConfigError: the run is too short.
        """
        from windtunnel.simulate.live.adversary import Assault, Hostility, Material, times_of

        much = hostility or Hostility()
        rows = _rows_of(bodies, feeds)
        begin_s, until_s = times_of(schedule.duration_s, much.limit_s)
        return Foe(target, rows, Assault(Material(target, rows), much, begin_s, until_s, seeds), factor)

    def watching(self, watch: Callable[[Shown], None]) -> Callable[[Shown], None]:
        """Hear how far the run is, and pass it on."""

        def heed(progress: Shown) -> None:
            self.assault.heed(progress)
            watch(progress)

        return heed

    def judge(self, run: LiveRun, variant: Variant | None) -> Siege:
        """What it came to, once it is over; a server that was there is asked what is right, and must still be."""
        from windtunnel.simulate.live.adversary import besiege

        with _model(self.target, variant) as (ask, sure):
            return besiege(self.assault, run, _oracle(ask, self, sure=sure), self.rows, factor=self.factor)


def _rows_of(bodies: Bodies, feeds: Sequence[Arrays]) -> list[Arrays]:
    """What each body asks, one row each."""
    counts = [until - first for first, until in zip(bodies.first[:-1], bodies.first[1:], strict=True)]
    return [
        {name: array[row : row + 1] for name, array in each.items()}
        for each, count in zip(feeds, counts, strict=True)
        for row in range(count)
    ]


@contextlib.contextmanager
def _model(target: Target, variant: Variant | None) -> Iterator[tuple[Callable[[Arrays], Arrays], bool]]:
    """The model alone: itself where it is here, which is sure; else the server when nobody else asks it."""
    if variant is not None:
        from windtunnel.runtime import open_session

        yield open_session(variant).run, True
        return
    with target.model.connect() as line:
        yield lambda feeds: target.model.infer(line, feeds), False


def _oracle(ask: Callable[[Arrays], Arrays], foe: Foe, *, sure: bool) -> Oracle | None:
    """The model alone; None where it does not say anything that can be compared."""
    from windtunnel.simulate.live.adversary import Oracle

    try:
        return Oracle.of(ask, foe.rows, stack=sure and foe.target.signature.dynamic_batch, sure=sure)
    except (DataError, OSError, http.client.HTTPException):
        if sure:
            raise
        return None  # it answers nothing, or is gone, which the run says


def add(
    siege: Siege, run: LiveRun, told: tuple[dict[str, Any], Section, Verdict]
) -> tuple[dict[str, Any], Section, Verdict]:
    """A live run's result with a siege in it: no-go where either is, and in doubt where either is."""
    from windtunnel.simulate.live.adversary import draw_siege

    result, section, verdict = told
    own = draw_siege(siege, run.log)
    _, _, changes = siege.decide()
    outcomes = {verdict.outcome, siege.decide()[0]}
    outcome = next(each for each in ("no-go", "inconclusive", "go") if each in outcomes)
    section = replace(
        section, outcome=outcome, sentences=(*own.sentences, *section.sentences), tables=(*own.tables, *section.tables),
        figures=(*own.figures, *section.figures), notes=(*own.notes, *section.notes),
    )  # fmt: skip
    would_change = (*changes, *verdict.would_change)
    return {**result, "adversary": siege.to_dict()}, section, Verdict(outcome, section.sentences, would_change)
