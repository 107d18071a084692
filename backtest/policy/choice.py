"""A Choice: which policies may be the best, as far as chance allows to say, and which of those to take."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from windtunnel.backtest.comparison import finite
from windtunnel.backtest.evidence import BlockLength, carry_over, merge
from windtunnel.errors import ConfigError
from windtunnel.stats import Interval

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from .course import Account

    Floats = NDArray[np.float64]

RESAMPLES = 2000
"""How often days are drawn anew: the 5% point is then known to within one point of a percent."""

LEAST_LOOKS = 30
"""On fewer looks than this no interval is told, and nothing is told apart."""


@dataclass(frozen=True)
class Choice:
    """Policies compared.

    Args:
        accounts: of all of them, the greatest value first.
        recommended: of those that may be the best, the one with the least risk.
        plausible: those that may be the best: with a chance of `confidence` the truly best is among them.
        frontier: those that no other beats in value without more risk, the least risk first.
        lead: value of the best less that of the runner-up, with its interval in US dollars; None for a single policy.
        best_share: in which share of the resampled recordings each was the best, by name; ties go to the first.
        run: neighbouring looks that were drawn together.
    """

    accounts: tuple[Account, ...]
    recommended: str
    plausible: tuple[str, ...]
    frontier: tuple[str, ...]
    lead: Interval | None
    best_share: dict[str, float]
    run: int

    @property
    def distinguishable(self) -> bool:
        """Whether one policy is shown to be the best."""
        return len(self.plausible) == 1

    def account(self, name: str) -> Account:
        """The account of a policy."""
        return next(account for account in self.accounts if account.name == name)

    def to_dict(self) -> dict[str, Any]:
        """The choice as JSON values."""
        lead = None if self.lead is None else {key: finite(usd) for key, usd in self.lead.to_dict("usd").items()}
        return {
            "recommended": self.recommended,
            "distinguishable": self.distinguishable,
            "plausible": list(self.plausible),
            "frontier": list(self.frontier),
            "lead_over_runner_up": lead,
            "resampled_looks_together": self.run,
            "policies": [
                account.to_dict() | {"best_share": self.best_share[account.name]} for account in self.accounts
            ],
        }


def choose(
    accounts: Sequence[Account], rng: np.random.Generator, *, confidence: float = 0.95, resamples: int = RESAMPLES
) -> Choice:
    """Compare what policies gained, by drawing the recording's days anew.

    A policy that served on some days only did not gain alike on all; so what its decisions made of a mean day is taken out, and
    what is left, the luck of the days, is drawn anew: in runs of neighbours (circular blocks, Politis & Romano 1992), the same
    for all, as long as `BlockLength` finds best and runner-up to carry over; what of a difference even the runs
    carry over widens its noise (`carry_over`). What each policy *decided* stays: other days would have led it elsewhere, of
    which only replays from several starts tell.

    A policy stays plausible unless some other leads it by more than chance would, were it the best: the greatest of its
    studentised deficits against all others beyond their own bootstrap quantile (subset selection: Gupta, Technometrics 7,
    1965). So the truly best is kept with about the given confidence, however many are compared. Of the plausible ones the least risky is
    recommended: more risk is to be taken only for what is shown.

    Over 150 days, five of eight policies being equally best, a given one of these was kept in 96% of 500 recordings with independent
    days, 95% and 94% with days that carry over by 0.3 and 0.5, 90% by 0.7; the interval of a lead held it in 95, 95, 94 and 89%.

    Args:
        accounts: of policies replayed on the same looks; of equals, those that stand first are preferred.
        rng: the stream `bootstrap`.
        confidence: of the set and of the interval.
        resamples: how often days are drawn.

    Raises:
        ConfigError: no policy at all.
    """
    if not accounts:
        raise ConfigError("is empty", field="policies", fix="give at least one policy")
    ordered = tuple(sorted(accounts, key=lambda account: (-account.value_usd, account.risk_usd)))
    luck = np.array([account.luck_usd for account in ordered])
    luck = luck[:, min(outcome.course.start for account in ordered for outcome in account.outcomes) + 1 :]
    totals, names = np.array([account.value_usd for account in ordered]), [account.name for account in ordered]
    run = _run(luck)
    drawn = totals - luck.sum(axis=1) + _draw(luck, rng, resamples, run)
    may_be_best = _plausible(totals, luck, drawn, confidence, run)
    plausible = tuple(name for name, kept in zip(names, may_be_best, strict=True) if kept)
    winners = np.bincount(drawn.argmax(axis=1), minlength=len(names)) / len(drawn)
    recommended = min((a for a in ordered if a.name in plausible), key=lambda a: (a.risk_usd, -a.value_usd))
    return Choice(
        ordered, recommended.name, plausible, _frontier(ordered), _lead(totals, luck, drawn, confidence, run),
        dict(zip(names, winners.tolist(), strict=True)), run,
    )  # fmt: skip


def _run(luck: Floats) -> int:
    """How many neighbouring looks to draw together: as long as the difference of best and runner-up carries over."""
    looks = luck.shape[1]
    if looks < LEAST_LOOKS:
        return max(1, round(math.cbrt(looks)))
    return BlockLength.of(luck[0] - luck[min(1, len(luck) - 1)]).length


def _draw(luck: Floats, rng: np.random.Generator, resamples: int, run: int) -> Floats:
    """The luck of resampled recordings, float64 [resamples, policies]."""
    looks = luck.shape[1]
    begins = rng.integers(looks, size=(resamples, math.ceil(looks / run)))
    places = ((begins[:, :, None] + np.arange(run)) % looks).reshape(resamples, -1)[:, :looks]
    cells = (places + looks * np.arange(resamples)[:, None]).ravel()
    times = np.bincount(cells, minlength=resamples * looks).reshape(resamples, looks)
    drawn: Floats = times @ luck.T
    return drawn


def _stretch(differences: Floats, run: int) -> Floats:
    """How much wider than drawn a difference's noise is, for what even runs carry over to the next, float64 [...]."""
    means, _ = merge(differences, np.ones(differences.shape[-1], dtype=np.int64), run)
    widths: Floats = carry_over(means)[..., -1]
    return widths


def _plausible(totals: Floats, luck: Floats, drawn: Floats, confidence: float, run: int) -> NDArray[np.bool_]:
    """Which policies may be the best, bool [policies]."""
    deviation = drawn - drawn.mean(axis=0)
    kept = np.ones(len(totals), dtype=np.bool_)
    for each in range(len(totals)):
        behind = totals - totals[each]
        noise = deviation - deviation[:, [each]]
        spread = noise.std(axis=0)
        others = spread > 0.0
        # what differs by nothing but a constant is told apart by it
        kept[each] = not (behind[~others] > 0.0).any()
        if others.any():
            limit = float(np.quantile((noise[:, others] / spread[others]).max(axis=1), confidence))
            reach = spread[others] * _stretch(luck[others] - luck[each], run)
            kept[each] &= not (behind[others] > max(limit, 0.0) * reach).any()
    return kept


def _frontier(ordered: Sequence[Account]) -> tuple[str, ...]:
    """Those that no other beats in value at no more risk; of equals the first."""
    found: list[Account] = []
    for account in sorted(ordered, key=lambda a: (a.risk_usd, -a.value_usd)):
        if not found or account.value_usd > found[-1].value_usd:
            found.append(account)
    return tuple(account.name for account in found)


def _lead(totals: Floats, luck: Floats, drawn: Floats, confidence: float, run: int) -> Interval | None:
    """The best less the runner-up; unbounded on too few looks."""
    if len(totals) < 2:
        return None
    apart = luck[0] - luck[1]
    lead, looks = float(totals[0] - totals[1]), len(apart)
    if looks < LEAST_LOOKS:
        return Interval(lead, -math.inf, math.inf, looks, confidence)
    tail = (1.0 - confidence) / 2.0
    noise = (drawn[:, 0] - drawn[:, 1] - lead) * float(_stretch(apart, run))
    # the basic interval: the error of the lead is what resampling shows, with its sign
    low, high = lead - np.quantile(noise, [1.0 - tail, tail])
    return Interval(lead, float(low), float(high), looks, confidence)
