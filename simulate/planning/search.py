"""The search: the cheapest deployments that keep a promise, found while flying few.

Each way of running is searched by itself, so that each has its own cheapest. On a line (`Space`) more replicas never hurt, so the fewest that keep the promise are found by halving; and a line whose largest
deployment within the best price breaks it is done with in one flight. What that leans on is looked at: see `Monotony`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from windtunnel.fanout import Workers, fan_out

from .bound import fast_share, greatest_rate_per_s, least_rate_per_s
from .journal import Journal, read, written
from .pattern import PATTERNS, SERVERLESS
from .space import is_shared, sessions_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from windtunnel.deployment import Deployment
    from windtunnel.seeds import Seeds
    from windtunnel.trace import Trace

    from .course import Course, Evaluation
    from .space import Line, Space

SCOUTS = 4
"""So many lines are searched one after the other, so that a good price is known when all others are asked at once."""

CHECKED = 3
"""On so many of the cheapest lines the neighbours of the answer are flown, to see whether more replicas really never hurt."""

RISE = 0.01
"""A latency that rises by less from one rung to the next is chance: batches fall differently."""


@dataclass(frozen=True)
class Probe:
    """What a worker found on a stretch of a line.

    Args:
        flown: rungs that flew through every trace, by index.
        screened: rungs that broke the promise in a window already, by index.
        requests: simulated for it.
    """

    flown: dict[int, Evaluation]
    screened: tuple[int, ...]
    requests: int

    def to_json(self) -> dict[str, Any]:
        """What of it a journal keeps."""
        flown = {str(index): written(each) for index, each in self.flown.items()}
        return {"flown": flown, "screened": list(self.screened), "requests": self.requests}

    @staticmethod
    def from_json(value: dict[str, Any], rungs: dict[int, Deployment]) -> Probe:
        """The very probe again."""
        flown = {int(index): read(each, rungs[int(index)]) for index, each in value["flown"].items()}
        return Probe(flown, tuple(value["screened"]), value["requests"])


@dataclass(frozen=True)
class Prober:
    """What every worker is sent once.

    Args:
        course: the traces.
        windows: of those that are long enough.
        seeds: the luck that all deployments share.
    """

    course: Course
    windows: dict[str, Trace]
    seeds: Seeds

    def keeps(self, deployment: Deployment) -> tuple[Evaluation | None, int]:
        """Fly a deployment, its windows first; None where one of those was enough, and the requests that it took."""
        requests = 0
        for name, window in self.windows.items():
            requests += len(window)
            if self.course.fails_window(name, window, deployment, self.seeds):
                return None, requests
        return self.course.fly(deployment, self.seeds), requests + self.course.effort(deployment)


def probe(prober: Prober, stretch: tuple[tuple[int, Deployment], ...]) -> Probe:
    """Find the fewest replicas of a stretch that keep the promise: the most first, and where they do, by halving.

    Where each replica has a queue of its own that waits for company, more replicas fill it more slowly, and more can hurt: where
    the most fail there, all are flown, the fewest first, until some keep it.

    Args:
        prober: flies them.
        stretch: rungs with their index, replicas rising.
    """
    flight = _Probing(prober)
    if not flight.keeps(*stretch[-1]):
        if _may_hurt(stretch[-1][1]):
            any(flight.keeps(*rung) for rung in stretch[:-1])
        return flight.found
    low, high = 0, len(stretch) - 1
    while low < high:
        middle = (low + high) // 2
        if flight.keeps(*stretch[middle]):
            high = middle
        else:
            low = middle + 1
    return flight.found


def _may_hurt(deployment: Deployment) -> bool:
    """Whether more replicas may hurt: requests are spread over queues that wait for company."""
    return not is_shared(deployment.batcher) and deployment.batch.max_batch > 1


@dataclass
class _Probing:
    """A probe under way."""

    prober: Prober
    flown: dict[int, Evaluation] = field(default_factory=dict)
    screened: list[int] = field(default_factory=list)
    requests: int = 0

    def keeps(self, index: int, deployment: Deployment) -> bool:
        """Fly one, and say whether it keeps the promise."""
        evaluation, took = self.prober.keeps(deployment)
        self.requests += took
        if evaluation is None:
            self.screened.append(index)
            return False
        self.flown[index] = evaluation
        return evaluation.keeps

    @property
    def found(self) -> Probe:
        """What was found so far."""
        return Probe(self.flown, tuple(self.screened), self.requests)


@dataclass(frozen=True)
class Monotony:
    """Whether more replicas never hurt, where that could be seen.

    Args:
        pairs: of neighbours on a line that were both flown whole.
        rises: pairs in which the one with more replicas was slower by more than `RISE`.
        broken: pairs in which the one with fewer replicas keeps the promise and the other does not; their lines were then
            flown whole.
        worst_rise: the greatest rise, as a share; negative where none rose.
    """

    pairs: int
    rises: int
    broken: int
    worst_rise: float

    def to_dict(self) -> dict[str, float | int | None]:
        """The figures as JSON values."""
        worst = self.worst_rise if math.isfinite(self.worst_rise) else None
        return {"pairs": self.pairs, "rises": self.rises, "broken": self.broken, "worst_rise": worst}


@dataclass
class _Known:
    """What is known of a line so far: rungs up to `fails` break the promise, from `keeps` on they keep it."""

    line: Line
    fails: int = -1
    keeps: int = 0
    flown: dict[int, Evaluation] = field(default_factory=dict)
    screened: set[int] = field(default_factory=set)
    refused: set[int] = field(default_factory=set)
    whole: bool = False

    def __post_init__(self) -> None:
        self.keeps = len(self.line.rungs)

    def open_to(self, usd_per_hour: float) -> tuple[tuple[int, Deployment], ...]:
        """The rungs that may be within a price and of which nothing is known yet."""
        if self.whole:
            return ()
        rungs = enumerate(self.line.rungs)
        return tuple(
            (index, rung)
            for index, rung in rungs
            if self.fails < index < self.keeps and rung.usd_per_hour <= usd_per_hour
        )

    def take(self, found: Probe) -> None:
        """Learn from a probe."""
        self.flown |= found.flown
        self.screened |= set(found.screened)
        keeping = [index for index, each in found.flown.items() if each.keeps]
        failing = [*found.screened, *(index for index, each in found.flown.items() if not each.keeps)]
        self.keeps = min([self.keeps, *keeping])
        self.fails = max([self.fails, *(index for index in failing if index < self.keeps)])

    def standing(self) -> list[Evaluation]:
        """What keeps the promise and was not refused."""
        return [each for index, each in self.flown.items() if each.keeps and index not in self.refused]

    def pairs(self) -> list[tuple[Evaluation, Evaluation]]:
        """Neighbours of which both were flown."""
        return [(each, self.flown[index + 1]) for index, each in sorted(self.flown.items()) if index + 1 in self.flown]


class Search:
    """A search under way.

    Args:
        course: the traces.
        space: what there is.
        seeds: the luck that all deployments share.
        workers: who flies.
        report: called with the number of deployments that are settled.
        journal: what an interrupted search has flown already, and where this one writes down what it flies.
    """

    def __init__(
        self,
        course: Course,
        space: Space,
        seeds: Seeds,
        *,
        workers: Workers | None = None,
        report: Callable[[int], None] = lambda _done: None,
        journal: Journal | None = None,
    ) -> None:
        self.course, self.space, self.seeds = course, space, seeds
        self.journal = journal if journal is not None else Journal()
        self.prober = Prober(course, course.windows(), seeds)
        self.workers, self.report = workers, report
        self.requests, self.where = 0, "in-process"
        least = {name: least_rate_per_s(trace, course.slo) for name, trace in course.traces.items()}
        self.lines = [_Known(line) for line in space.lines]
        for known in self.lines:
            known.fails = self._hopeless(known.line, least)
        self.ruled_out = sum(known.fails + 1 for known in self.lines)
        self._places = {
            _unpriced(rung): (known, index) for known in self.lines for index, rung in enumerate(known.line.rungs)
        }
        self._asked_all = False

    def _hopeless(self, line: Line, least_rate_per_s: dict[str, float]) -> int:
        """The last rung that no luck could save: too slow in the service alone, or too few to carry the load."""
        table = self.course.table(line.rungs[0])
        last = -1
        for name, trace in self.course.traces.items():
            requests, slo = len(trace), self.course.slo
            if fast_share(table, slo, requests) < slo.quantile:
                return len(line.rungs) - 1
            if line.pattern == SERVERLESS:
                continue  # there are as many instances as it takes
            each = greatest_rate_per_s(table, slo, requests) * sessions_of(line.rungs[0].batcher)
            few = [
                index for index, rung in enumerate(line.rungs)
                if (rung.most or rung.replicas) * each < least_rate_per_s[name]
            ]  # fmt: skip
            last = max([last, *few])
        return last

    @property
    def evaluations(self) -> list[Evaluation]:
        """Everything that was flown whole, in the order of the space."""
        return [known.flown[index] for known in self.lines for index in sorted(known.flown)]

    @property
    def screened(self) -> int:
        """How many broke the promise in a window."""
        return sum(len(known.screened) for known in self.lines)

    @property
    def standing(self) -> list[Evaluation]:
        """What may be the answer, keeps the promise and was not refused, the cheapest first, among equals the fastest."""
        found = [each for name in self.space.patterns for each in self.standing_of(name)]
        return sorted(found, key=lambda each: each.cost)

    def standing_of(self, pattern: str) -> list[Evaluation]:
        """The same of one way of running, whether or not it may be the answer."""
        lines = [known for known in self.lines if known.line.pattern == pattern]
        return sorted((each for known in lines for each in known.standing()), key=lambda each: each.cost)

    def price(self, pattern: str) -> float:
        """The best price at which something of a pattern stands; infinite where nothing does."""
        standing = self.standing_of(pattern)
        return standing[0].deployment.usd_per_hour if standing else math.inf

    @property
    def prices(self) -> dict[str, float]:
        """The best price of every pattern."""
        return {name: self.price(name) for name in PATTERNS}

    def run(self) -> None:
        """Search until nothing that is not known could be as cheap as what stands."""
        while opened := self._opened():
            if not self._asked_all and len(opened) > 1 and self._scouted < SCOUTS:
                self._ask(opened[:1], alone=True)
            else:
                # what is found later concerns few lines: too little to start anything for
                self._ask(opened, alone=self._asked_all)
                self._asked_all = True
        self._fill_up()

    def _fill_up(self) -> None:
        """On lines that are as cheap as the best, fly the most replicas for that price: the fastest of equals wins."""
        prices = self.prices
        for known in self.lines:
            price = prices[known.line.pattern]
            if known.line.priced and any(each.deployment.usd_per_hour == price for each in known.standing()):
                self._flown([rung for rung in known.line.rungs if rung.usd_per_hour == price][-1])

    @property
    def _scouted(self) -> int:
        return sum(bool(known.flown or known.screened) for known in self.lines)

    def _opened(self) -> list[tuple[_Known, tuple[tuple[int, Deployment], ...]]]:
        """Lines on which something as cheap may be, the one that may be cheapest first."""
        prices = self.prices
        opened = [(known, known.open_to(prices[known.line.pattern])) for known in self.lines]
        return sorted(
            ((known, stretch) for known, stretch in opened if stretch),
            key=lambda each: (
                each[1][0][1].usd_per_hour,
                each[0].line.rungs[0].batch.max_wait_s,
                -each[0].line.max_batch,
            ),
        )

    def _ask(self, opened: Sequence[tuple[_Known, tuple[tuple[int, Deployment], ...]]], *, alone: bool) -> None:
        stretches = [stretch for _, stretch in opened]
        found = {at: probed for at, each in enumerate(stretches) if (probed := self._remembered(each)) is not None}
        asked = [at for at in range(len(stretches)) if at not in found]
        settled = self._settled() + sum(len(stretches[at]) for at in found)
        sizes = [len(stretches[at]) for at in asked]
        swept = fan_out(
            probe, [stretches[at] for at in asked], shared=self.prober, workers=Workers(1) if alone else self.workers,
            report=lambda done: self.report(settled + sum(sizes[:done])),
            keep=lambda at, probed: self.journal.put(_key(stretches[asked[at]]), probed.to_json()),
        )  # fmt: skip
        self.where = swept.where if swept.where == "ray" else self.where
        found |= dict(zip(asked, swept.results, strict=True))
        for at, (known, _) in enumerate(opened):
            known.take(found[at])
            self.requests += found[at].requests

    def _remembered(self, stretch: tuple[tuple[int, Deployment], ...]) -> Probe | None:
        """What an interrupted search found on a stretch."""
        value = self.journal.get(_key(stretch))
        return Probe.from_json(value, dict(stretch)) if value is not None else None

    def _settled(self) -> int:
        prices = self.prices
        return len(self.space) - sum(len(known.open_to(prices[known.line.pattern])) for known in self.lines)

    def refuse(self, evaluation: Evaluation) -> None:
        """It is not sure to keep the promise: neither, then, is any with fewer replicas."""
        known, index = self._find(evaluation.deployment)
        known.refused |= {each for each in known.flown if each == index or (each < index and not known.whole)}
        known.fails = max(known.fails, index)
        standing = [each for each in known.flown if each > index and known.flown[each].keeps]
        known.keeps = min([len(known.line.rungs), *standing])

    def fly(self, deployments: Sequence[Deployment]) -> list[Evaluation]:
        """Fly some whole, those that were not yet."""
        return [self._flown(deployment) for deployment in deployments]

    def _flown(self, deployment: Deployment) -> Evaluation:
        known, index = self._find(deployment)
        if index not in known.flown:
            known.flown[index] = self.journal.flight(self.course, known.line.rungs[index], self.seeds)
            known.screened.discard(index)
            self.requests += self.course.effort(deployment)
        return known.flown[index]

    def _find(self, deployment: Deployment) -> tuple[_Known, int]:
        return self._places[_unpriced(deployment)]

    def around(self, evaluation: Evaluation, below: int, above: int) -> list[Evaluation]:
        """Fly so many neighbours on its line, too."""
        known, index = self._find(evaluation.deployment)
        first = max(0, index - below)
        return self.fly(known.line.rungs[first : index + above + 1])

    def greatest(self, pattern: str = "") -> list[Deployment]:
        """What carries most on each offer: the most replicas of the largest batch, leaving at once.

        Args:
            pattern: one way of running only.
        """
        found: dict[tuple[str, ...], Deployment] = {}
        for known in self.lines:
            each, key = known.line.rungs[-1], (*known.line.offer.key, known.line.pattern)
            if pattern not in {"", known.line.pattern}:
                continue
            if key not in found or _carries(each) > _carries(found[key]):
                found[key] = each
        return list(found.values())

    def elsewhere(self, evaluation: Evaluation) -> None:
        """Find the fewest replicas of the same settings on every other offer, whatever they cost."""
        best = evaluation.deployment
        alike = [
            known for known in self.lines
            if _setting(known.line.rungs[0]) == _setting(best)
            and known.line.offer.key != (best.variant, best.hardware)
        ]  # fmt: skip
        opened = [(known, known.open_to(math.inf)) for known in alike]
        self._ask([each for each in opened if each[1]], alone=True)

    def check(self) -> Monotony:
        """Fly the neighbours of the cheapest answers, and tell whether more replicas hurt anywhere that was flown.

        A line on which they do is flown whole, so that its cheapest is found whatever the others do.
        """
        lines: list[_Known] = []
        for each in self.standing:
            known, _ = self._find(each.deployment)
            if known not in lines and len(lines) < CHECKED:
                lines.append(known)
                self.around(each, 1, 1)
        for known in self.lines:
            if any(_breaks(*pair) for pair in known.pairs()) and not known.whole:
                self.fly(known.line.rungs)
                known.whole = True
        pairs = [pair for known in self.lines for pair in known.pairs()]
        rises = [_rise(*pair) for pair in pairs]
        return Monotony(
            len(pairs), sum(rise > RISE for rise in rises), sum(_breaks(*pair) for pair in pairs), max(rises, default=-math.inf)
        )  # fmt: skip


def _setting(deployment: Deployment) -> tuple[object, ...]:
    return deployment.batch, deployment.batcher, deployment.router, deployment.pattern


def _unpriced(deployment: Deployment) -> Deployment:
    """What a rung is known by: a flight may tell what it costs."""
    return replace(deployment, usd_per_hour=0.0)


def _key(stretch: tuple[tuple[int, Deployment], ...]) -> str:
    return f"probe {[(index, repr(deployment)) for index, deployment in stretch]}"


def _carries(deployment: Deployment) -> tuple[float, ...]:
    return deployment.replicas, deployment.batch.max_batch, -deployment.batch.max_wait_s


def _breaks(fewer: Evaluation, more: Evaluation) -> bool:
    return fewer.keeps and not more.keeps


def _rise(fewer: Evaluation, more: Evaluation) -> float:
    """By how much the latency rises on any trace, as a share, from fewer replicas to more."""
    before = [replay.latency_s for replay in fewer.replays]
    after = [replay.latency_s for replay in more.replays]
    pairs = [(a, b) for a, b in zip(before, after, strict=True) if math.isfinite(a) and math.isfinite(b)]
    return max((b / a - 1.0 for a, b in pairs), default=-math.inf)
