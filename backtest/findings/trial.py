"""The A/B test that is in the recording already: its split, and what its two arms show."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from windtunnel.backtest.evidence import Arms, Asymptotic, Units, ab_test
from windtunnel.backtest.kernel import DAY_US
from windtunnel.backtest.plot import beside, percent, span
from windtunnel.errors import DataError, nearest
from windtunnel.report.section import Section, Table

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from windtunnel.backtest.evidence import AbTest

    from .finding import Series
    from .held import Held

    Goal = Literal["minimize", "maximize"]
    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]
    Flags = NDArray[np.bool_]

ARM, ENTITY = "arm", "entity"


@dataclass(frozen=True)
class Trial:
    """What the two arms show of an outcome.

    Args:
        found: the test, of the outcome to be made small; of its negative where it is to be made great.
        outcome: what was compared.
        goal: whether it is to be made small or great.
        covariate: what was taken out of it beforehand; empty for nothing.
        blocks: what was compared, each by each.
        others: requests of other arms, left out.
    """

    found: AbTest
    outcome: str
    goal: Goal
    covariate: str
    blocks: str
    others: int

    @staticmethod
    def of(
        held: Held,
        *,
        control: str,
        treatment: str,
        shares: tuple[float, float] = (0.5, 0.5),
        outcome: str = "label",
        goal: Goal = "minimize",
        covariate: str = "",
        within_us: int = 0,
        max_loss: float = 0.0,
        level: float = 0.05,
    ) -> Trial:
        """Compare the arms over the days that are mature at the last look.

        Args:
            held: the recording, with a column `arm`.
            control: the arm compared with.
            treatment: the arm compared.
            shares: of the traffic, as they were set.
            outcome: `label`, or another column of numbers.
            goal: whether the outcome is to be made small (a loss, a complaint) or great (a sale).
            covariate: a column known of each request before the test; rows without it are refused.
            within_us: where entities were assigned, and not requests: for how long after it came an entity's requests
                count. Then blocks of entities are compared, not days, and those that were in both arms are counted. Zero:
                each request was assigned by itself.
            max_loss: how much worse the treatment may be.
            level: the chance of a wrong claim.

        Raises:
            DataError: an arm without requests, or no day that both share.
        """
        arm = held.texts(ARM)
        _check((control, treatment), arm, held.file)
        ours = (arm == control) | (arm == treatment)
        rows = held.rows
        value = rows.label if outcome == "label" else held.numbers(outcome)
        names, units, block = (control, treatment), None, None
        settled_us = held.as_of_us - held.horizon_us
        if within_us:
            who, asked = held.texts(ENTITY), np.flatnonzero(ours & held.first)
            units = Units.of(names, who[asked], arm[asked], rows.time_us[asked])
            block = np.full(len(arm), -1)
            block[ours] = units.block_of(who[ours], rows.time_us[ours], within_us=within_us, as_of_us=settled_us)
        else:
            day = held.day()
            block = np.where((day + 1 + int(rows.time_us.min()) // DAY_US) * DAY_US <= settled_us, day, -1)
        ours &= block >= 0
        of = np.flatnonzero(ours & held.final & ~np.isnan(value))
        if not len(of):
            raise DataError(
                "has no request of either arm that is old enough and whose label is known", file=held.file, field=ARM
            )
        blocks = int(block[ours].max()) + 1
        sign, known = (1.0 if goal == "minimize" else -1.0), (held.numbers(covariate)[of] if covariate else None)
        arms = Arms.of(names, arm[of], block[of], value[of] * sign, known, days=blocks)
        assigned = units if units is not None else _assigned(arm, block, ours & held.first, treatment, blocks)
        found = ab_test(arms, Asymptotic(level=level), shares=shares, units=assigned, tolerance=max_loss)
        others = int((held.first & (arm != control) & (arm != treatment)).sum())
        return Trial(found, outcome, goal, covariate, "blocks of 100 entities" if within_us else "days", others)

    @property
    def doubts(self) -> tuple[str, ...]:
        """Why the arms cannot be compared."""
        return tuple(f"A/B test: {doubt}" for doubt in self.found.doubts)

    def to_dict(self) -> dict[str, Any]:
        """`ab_test`, differences in the outcome's own direction."""
        told = self.found.to_dict() | {
            "outcome": self.outcome,
            "goal": self.goal,
            "of_other_arms": self.others,
            "blocks": self.blocks,
        }
        if self.goal == "maximize":
            low, high = told["difference_high"], told["difference_low"]
            told |= {"difference": -told["difference"]}
            told |= {f"difference_{end}": None if at is None else -at for end, at in (("low", low), ("high", high))}
        return {"ab_test": told}

    def draw(self) -> Section:
        """The split, and the difference."""
        ab, told = self.found, self.to_dict()["ab_test"]
        low, high = (told[f"difference_{end}"] for end in ("low", "high"))
        ends = "not known" if low is None or high is None else span(low, high)
        difference = beside(told["difference"], *(np.inf if each is None else each for each in (low, high)))
        rows = (
            *((f"requests of {name} whose outcome counts", f"{count:,}") for name, count in zip(ab.arms, ab.rows, strict=True)),
            *(
                (f"share of {name}", f"{percent(float(found))}, meant {percent(float(meant))}")
                for name, found, meant in zip(ab.arms, ab.ratio.found, ab.ratio.meant, strict=True)
            ),
            ("sample ratio", "MISMATCH" if ab.ratio.mismatch_at is not None else "as meant"),
            (f"difference in {self.outcome}, {ab.arms[1]} − {ab.arms[0]}", f"{difference} {ends}"),
            ("shown", ab.shown or ("nothing: it cannot be trusted" if ab.doubts else "nothing yet")),
            *((("entities in both arms", f"{ab.crossed:,} of {ab.units:,}"),) if ab.crossed is not None else ()),
            *(((f"variance taken out by {self.covariate}", f"{ab.reduction:.0%}"),) if self.covariate else ()),
        )  # fmt: skip
        sentence = f"A/B test: `{ab.arms[1]}` against `{ab.arms[0]}` on {ab.days} {self.blocks}: {ab.shown or 'nothing is shown'}"
        note = f"The A/B test compares arms, not models: {self.outcome} is to be made {'small' if self.goal == 'minimize' else 'great'}, over {self.blocks}, anytime-valid."
        return Section(
            "",
            "",
            (sentence,),
            (Table("The A/B test in the recording", ("figure", "value"), rows, brief=()),),
            (),
            (note,),
        )

    def series(self) -> Series:
        """Nothing: it is worked out once, at the last look."""
        return np.empty(0, np.int64), {}


def _check(names: tuple[str, str], arm: NDArray[np.str_], file: str) -> None:
    found = [str(each) for each in np.unique(arm) if each]
    for name in names:
        if name not in found:
            raise DataError(
                "is an arm of which the recording has no request",
                file=file,
                field=ARM,
                value=name,
                fix=nearest(name, found),
            )


def _assigned(arm: NDArray[np.str_], block: Ints, asked: Flags, treatment: str, blocks: int) -> Ints:
    """How many requests were assigned to each arm in each block, whether or not their outcome is known, int64 [blocks, arms]."""
    cell = block[asked] * 2 + (arm[asked] == treatment)
    return np.bincount(cell, minlength=blocks * 2).reshape(blocks, 2)
