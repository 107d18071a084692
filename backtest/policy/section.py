"""The policies' part of the report: the frontier of value and risk, and the timeline of the one recommended."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from windtunnel.backtest.comparison import moment
from windtunnel.quantity import format_instant
from windtunnel.report.section import Figure, Section, Table

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from windtunnel.verdict import Outcome as Verdict

    from .choice import Choice
    from .course import Account

MOST_POINTS = 1000
"""More points a line than that no eye can tell apart."""

IDLE = ("stay", "never")
"""The policies of doing nothing."""


def draw_choice(choice: Choice, looks_us: NDArray[np.int64], *, title: str = "Policies") -> Section:
    """Draw a choice: what is recommended and how sure that is, every policy priced, and what the recommended one did.

    Args:
        choice: what `choose` returned.
        looks_us: the looks, int64 [looks].
        title: such as `Rollout` or `Retraining`.
    """
    chosen = choice.account(choice.recommended)
    return Section(
        title=title,
        outcome=_outcome(choice),
        sentences=_sentences(choice),
        tables=(_policies(choice), _events(chosen)),
        figures=(_frontier(choice), _timeline(chosen, looks_us), _gains(choice, looks_us)),
        notes=_notes(choice),
    )


def _outcome(choice: Choice) -> Verdict:
    if not choice.distinguishable:
        return "inconclusive"
    return "no-go" if choice.recommended in IDLE else "go"


def _sentences(choice: Choice) -> tuple[str, ...]:
    chosen = choice.account(choice.recommended)
    said = f"`{chosen.name}` is recommended: {_usd(chosen.value_usd)} gained, at most {_usd(chosen.risk_usd)} down on the way"
    if choice.distinguishable:
        reason = "It is shown to be the best of those compared"
    else:
        others = ", ".join(f"`{name}`" for name in choice.plausible if name != chosen.name)
        reason = f"Not distinguishable in value from {others}: of these it risks least"
    if choice.lead is None:
        return said, reason
    best, second = choice.accounts[:2]
    lead = f"`{best.name}` gained {_usd(choice.lead.value)} more than `{second.name}`, the runner-up"
    if not math.isfinite(choice.lead.low):
        return said, reason, f"{lead}; over {choice.lead.samples} looks nobody can say how sure that is"
    return (
        said,
        reason,
        f"{lead} ({choice.lead.confidence:.0%} interval {_usd(choice.lead.low)} to {_usd(choice.lead.high)}{_one_sided(choice)})",
    )


def _one_sided(choice: Choice) -> str:
    """Why the best may be shown though the interval of its lead holds zero."""
    if not choice.distinguishable or choice.lead is None or choice.lead.low > 0.0:
        return ""
    return "; that it leads at all is asked of one side only, so it is shown though both ends together just hold zero"


def _policies(choice: Choice) -> Table:
    return Table(
        "Every policy, the greatest value first; sums over its replays but for value (mean) and risk (the worst)",
        ("policy", "value (USD)", "risk (USD)", "bad predictions before detection", "rollbacks", "false rollbacks", "missed",
         "trainings", "spent (USD)", "best in resamples"),
        tuple(_policy_row(choice, account) for account in choice.accounts),
        brief=("policy", "value (USD)", "risk (USD)", "rollbacks", "trainings"),
    )  # fmt: skip


def _policy_row(choice: Choice, account: Account) -> tuple[str, ...]:
    counts = ("bad_before_detection", "rollbacks", "false_rollbacks", "missed", "trainings")
    bad, *others = (f"{account.total(name):,.0f}" for name in counts)
    trainings = others.pop()
    mark = " (recommended)" if account.name == choice.recommended else ""
    return (
        account.name + mark, f"{account.value_usd:,.2f}", f"{account.risk_usd:,.2f}", bad, *others, trainings,
        f"{account.total('spent_usd'):,.2f}", f"{choice.best_share[account.name]:.1%}",
    )  # fmt: skip


def _events(account: Account) -> Table:
    first = account.outcomes[0].course
    rows = tuple(
        (format_instant(moment(event.at_us)), event.what, f"{event.level:g}", event.why) for event in first.events
    )
    return Table(f"What `{account.name}` did, by what was known at the time", ("when", "what", "level", "why"), rows)


def _frontier(choice: Choice) -> Figure:
    front = [choice.account(name) for name in choice.frontier]
    rest = [account for account in choice.accounts if account.name not in choice.frontier]
    data: list[dict[str, Any]] = [
        _points("frontier", front) | {"mode": "lines+markers+text"},
        _points("other policies", rest) | {"mode": "markers+text"},
        _points("recommended", [choice.account(choice.recommended)])
        | {"mode": "markers", "marker": {"size": 16, "symbol": "circle-open"}},
    ]
    layout = {
        "xaxis": {"title": {"text": "risk: the most that it was ever down (USD)"}},
        "yaxis": {"title": {"text": "value gained (USD)"}},
    }
    caption = "Up is more gained, left is less risked; what lies on the line is beaten by none at its risk."
    return Figure(caption, {"data": data, "layout": layout})


def _points(name: str, accounts: list[Account]) -> dict[str, Any]:
    return {
        "type": "scatter", "name": name, "x": [a.risk_usd for a in accounts], "y": [a.value_usd for a in accounts],
        "text": [a.name for a in accounts], "textposition": "top center",
    }  # fmt: skip


def _timeline(account: Account, looks_us: NDArray[np.int64]) -> Figure:
    """Who served: the candidate's share, or the number of the model."""
    course = account.outcomes[0].course
    ends = [*(event.at_us for event in course.events), int(looks_us[-1])]
    levels = [*(event.level for event in course.events), float(course.level[-1])]
    training = any(event.what in {"training", "deployed"} for event in course.events)
    if not course.events:
        ends, levels = [int(looks_us[course.start]), ends[-1]], [0.0, levels[-1]]
    line = {
        "type": "scatter", "mode": "lines+markers", "line": {"shape": "hv"}, "name": account.name,
        "x": [moment(us).isoformat() for us in ends], "y": levels,
        "text": [*(f"{event.what}: {event.why}" for event in course.events), "end of the recording"],
    }  # fmt: skip
    unit = "number of the model that serves" if training else "share of the traffic that the candidate serves"
    layout = {"xaxis": {"title": {"text": "time (UTC)"}}, "yaxis": {"title": {"text": unit}}}
    return Figure(f"What `{account.name}` did: each point is a decision.", {"data": [line], "layout": layout})


def _gains(choice: Choice, looks_us: NDArray[np.int64]) -> Figure:
    """What each policy had gained by the day of the request: only the frontier and the idle, lest nobody can read it."""
    kept = np.unique(np.linspace(0, len(looks_us) - 1, min(len(looks_us), MOST_POINTS)).round().astype(np.int64))
    times = [moment(int(us)).isoformat() for us in looks_us[kept]]
    names = [a.name for a in choice.accounts if a.name in {*choice.frontier, *IDLE, choice.recommended}]
    data = [
        {"type": "scatter", "mode": "lines", "name": name, "x": times,
         "y": np.cumsum(choice.account(name).usd)[kept].tolist()}
        for name in names
    ]  # fmt: skip
    layout = {"xaxis": {"title": {"text": "asked until (UTC)"}}, "yaxis": {"title": {"text": "gained so far (USD)"}}}
    caption = (
        "What had been gained, by when the requests were asked and as it turned out; nobody could see it that day."
    )
    return Figure(caption, {"data": data, "layout": layout})


def _notes(choice: Choice) -> tuple[str, ...]:
    counting = (
        "Each decision uses only labels known by its look; value is counted afterwards, by all labels that the recording "
        "knows. Requests whose label never came are served and not counted."
    )
    acting = (
        "The recording says what each model predicted, not what its predictions brought about: if acting on them changes what "
        "happens, a rollout would have shown it and this replay cannot."
    )
    sureness = (
        f"Values are compared by drawing runs of {choice.run} neighbouring looks anew. What each policy decided stays as it was, so "
        "the intervals tell the luck of the days, not that of the decisions: replays from several starts show that."
    )
    return counting, acting, sureness


def _usd(value: float) -> str:
    return f"{'−' if value < 0.0 else ''}${abs(value):,.2f}"
