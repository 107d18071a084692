"""The rule *never ship worse*: what keeps a child out, and which of the others is chosen."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .goal import Goal
    from .judged import Judged, Status
    from .quality import Quality
    from .speed import Speed

SAME = 0.97
"""Where small files are asked for, a child that is shown to be no slower than this beside its parent is as fast as it."""


def verdict_on(quality: Quality, speed: Speed, objection: str, goal: Goal) -> tuple[Status, str]:
    """What keeps a child out; `on-frontier` where nothing does.

    Args:
        quality: on the rows held out.
        speed: beside the parent.
        objection: what speaks against letting it share batches; empty where nothing does.
        goal: what is asked for.
    """
    against = refusal(quality, objection, goal)
    if against is not None:
        return against
    slow = _slow(speed, goal)
    return ("slower", slow) if slow else ("on-frontier", quality.reason(goal.max_drop))


def refusal(quality: Quality, objection: str, goal: Goal) -> tuple[Status, str] | None:
    """What keeps a child out however fast it is; None where nothing does.

    Args:
        quality: on the rows held out.
        objection: as above.
        goal: what is asked for.
    """
    found = quality.judge(goal.max_drop)
    if found != "proven":
        return found, quality.reason(goal.max_drop)
    if goal.batching and objection:
        return "batch-dependent", f"{objection}, and requests will share batches"
    return None


def _slow(speed: Speed, goal: Goal) -> str:
    """Why a child is not faster; empty where it is."""
    overall = speed.overall
    told = f"{overall.value:.2f} × ({overall.low:.2f} to {overall.high:.2f})"
    if goal.objective in {"size", "memory"}:
        slow = [name for name, cell in speed.cells.items() if cell.value < SAME]
        if slow:
            return f"slower than the parent at batch {', '.join(slow)}"
        return "" if overall.low >= SAME else f"not shown to be as fast: {told}"
    slow = [name for name, cell in speed.cells.items() if cell.value < 1.0]
    if slow and goal.objective != "throughput":
        return f"slower than the parent at batch {', '.join(slow)}"
    return "" if overall.low > 1.0 else f"not shown to be faster: {told}"


def choose(judged: Sequence[Judged], goal: Goal) -> list[Judged]:
    """Mark the best proven child, or the parent, as chosen; the rest of the proven as dominated or on the frontier.

    Args:
        judged: the parent first.
        goal: what is best.
    """
    parent = judged[0]
    proven = [each for each in judged[1:] if each.status == "on-frontier"]
    # the parent competes: a fast child is not chosen where small ones are asked for, and it is larger
    best = max([parent, *proven], key=lambda each: (merit(each, goal), each is not parent))
    return [_marked(each, best, [parent, *proven], goal) for each in judged]


def merit(each: Judged, goal: Goal) -> float:
    """What the best has most of."""
    if goal.objective == "size":
        return -float(each.variant.bytes)
    if goal.objective == "memory":
        return -float(each.memory_bytes or each.variant.bytes)
    return each.speedup.value


def _marked(each: Judged, best: Judged, proven: Sequence[Judged], goal: Goal) -> Judged:
    if each is best:
        why = each.reason if each is not proven[0] else "no child is both proven and better"
        return replace(each, status="chosen", reason=why)
    if each.status != "on-frontier":
        return each
    beaten = next((rival for rival in proven if rival is not each and _beats(rival, each, goal)), None)
    if beaten is None:
        return each
    return replace(each, status="dominated", reason=f"{beaten.variant.name} is as good and as fast; {each.reason}")


def _beats(rival: Judged, each: Judged, goal: Goal) -> bool:
    return merit(rival, goal) >= merit(each, goal) and rival.quality.drop.value <= each.quality.drop.value
