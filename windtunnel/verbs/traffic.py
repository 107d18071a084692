"""What comes, as the command line says it: a recording or a generator, and what each request carries."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

from windtunnel.digest import digest_bytes, digest_value
from windtunnel.errors import ConfigError, DataError, naming

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from windtunnel.seeds import Seeds
    from windtunnel.simulate.arrivals import Payload, Population
    from windtunnel.trace import Trace

HELD = 5_000_000
"""Arrivals that are generated at once and held, where they need to be a trace."""

REQUESTS = 100_000
"""How many are generated where nothing is said."""


@dataclass(frozen=True)
class Traffic:
    """What comes: a trace, or so many arrivals of a generator, which are never in memory together.

    Args:
        name: what it is.
        trace: the arrivals; None where they are generated.
        arrivals: a phrase of the generator.
        requests: how many are generated.
        seed: of the generator.
        said: what reading a recording took, one sentence each.
        left_out: what of it was not read, in a sentence; empty where all was.
        priorities: names of the classes of priority, where they were asked for by name.
        asked: options that were given for what requests carry.
        population: users who wait for their answers; None where requests come by themselves.
    """

    name: str
    trace: Trace | None = None
    arrivals: str = ""
    requests: int = 0
    seed: int = 0
    said: tuple[str, ...] = ()
    left_out: str = ""
    priorities: tuple[str, ...] = ()
    asked: frozenset[str] = frozenset()
    population: Population | None = None

    def digest(self) -> str:
        """Of everything that comes."""
        if self.trace is None:
            return digest_value([self.arrivals, self.requests, self.seed])
        columns = {name: digest_bytes(each.tobytes()) for name, each in sorted(self.trace.columns.items())}
        named = [list(self.priorities)] if self.priorities else []
        return digest_value([self.trace.name, digest_bytes(self.trace.arrivals_s.tobytes()), columns, *named])

    @property
    def columns(self) -> Mapping[str, Any]:
        """What is known of each request."""
        return self.trace.columns if self.trace is not None else {}

    @property
    def flown(self) -> Any:
        """What `fly` takes."""
        from windtunnel.simulate import arrivals
        from windtunnel.simulate.flight import chunks_from

        if self.trace is not None:
            return self.trace
        if self.population is not None:
            return self.population
        return chunks_from(arrivals.parse(self.arrivals), self.requests, self.seed)  # type: ignore[arg-type]  # not a closed loop: that was refused


@dataclass(frozen=True)
class Carried:
    """What requests carry, as it is spelled on the command line; empty where the trace says it.

    Args:
        sizes: `short=90%, long=10%`, or `context_tokens: 512, 2048`.
        keys: `zipf(distinct=1000)`.
        priorities: `urgent=20%, usual=80%`.
        deadline: `100ms`, or `urgent=100ms, usual=inf`.
    """

    sizes: str = ""
    keys: str = ""
    priorities: str = ""
    deadline: str = ""

    @property
    def asked(self) -> frozenset[str]:
        """The options that were given."""
        return frozenset(f"--{each.name}" for each in fields(self) if getattr(self, each.name))

    def read(self, classes: Sequence[str]) -> Payload:
        """What they say.

        Args:
            classes: the size classes that there are service times for.

        Raises:
            ConfigError: it cannot be read, or names other classes; the message names the option.
        """
        from windtunnel.simulate.arrivals import KEYS, Cuts, Mix, Payload, parse_deadlines, parse_sizes
        from windtunnel.simulate.phrase import read_phrase

        with naming(field="--sizes"):
            sizes = parse_sizes(self.sizes) if self.sizes else None
            if sizes is not None and len(classes) < 2:
                raise ConfigError(
                    "tells requests of several sizes apart, and there are service times for one", value=self.sizes,
                    fix="give --profile short=a.npz --profile long=b.npz",
                )  # fmt: skip
            if isinstance(sizes, Cuts) and len(sizes.edges) != len(classes) - 1:
                raise ConfigError(
                    f"makes {len(sizes.edges) + 1} classes, and there are service times for {len(classes)}", value=self.sizes,
                    fix=f"give {len(classes) - 1} cut points, in the order of {', '.join(classes)}",
                )  # fmt: skip
            sizes = sizes.ordered(classes) if isinstance(sizes, Mix) else sizes
        with naming(field="--priorities"):
            priorities = Mix.parse(self.priorities) if self.priorities else None
        with naming(field="--deadline"):
            deadlines_s = parse_deadlines(self.deadline, priorities) if self.deadline else ()
        keys = read_phrase(self.keys, KEYS, field="--keys") if self.keys else None
        return Payload(sizes, keys, priorities, deadlines_s)


def read_traffic(
    path: Path | None,
    arrivals: str,
    requests: int | None,
    seeds: Seeds,
    time: str = "",
    speed: float = 1.0,
    *,
    carried: Carried | None = None,
    classes: Sequence[str] = ("all",),
) -> Traffic:
    """Read or generate what comes; more than `HELD` generated arrivals are never in memory together.

    Args:
        path: a recording.
        arrivals: or a generator.
        requests: how many are generated; `REQUESTS` where None.
        seeds: of all chance.
        time: the recording's column of times.
        speed: how many times as fast it is played.
        carried: what each request carries.
        classes: the size classes that there are service times for.

    Raises:
        ConfigError: neither or both given, no such generator, a speed that is not above zero, or what means nothing here.
        DataError: a file that holds no trace, or a figure that it does not have.
    """
    if not 0.0 < speed < float("inf"):
        raise ConfigError("is not a speed", field="--speed", value=speed, fix="give a factor above zero")
    if (path is None) == (not arrivals):
        raise ConfigError(
            "need exactly one", field="--trace and --arrivals", fix="give a recording, or poisson(rate=900)"
        )
    if path is not None and requests is not None:
        raise ConfigError("is how many are generated, and a trace has as many as it has", field="--requests", value=requests, fix="leave it out")  # fmt: skip
    if path is None and time:
        raise ConfigError("is a column of a trace, and arrivals that are generated have none", field="--time", value=time, fix="leave it out")  # fmt: skip
    carried = carried or Carried()
    payload = carried.read(classes)
    if path is not None:
        traffic = _recorded(path, payload, time, seeds)
    else:
        traffic = _generated(arrivals, requests, seeds, speed, carries=bool(carried.asked))
    traffic = replace(_laden(traffic, payload, seeds), asked=carried.asked)
    _check_classes(traffic, classes)
    return traffic if path is None or speed == 1.0 else _hurried(traffic, speed)


def _recorded(path: Path, payload: Payload, time: str, seeds: Seeds) -> Traffic:
    """A recording, with the column that sizes are cut from."""
    from windtunnel.simulate.arrivals import Cuts
    from windtunnel.simulate.formats import Ask, read
    from windtunnel.simulate.formats.source import Source

    wanted = payload.sizes.column if isinstance(payload.sizes, Cuts) else ""
    own = {wanted: wanted} if wanted in Source.look(path).header else {}
    reading = read(path, Ask(time=time, columns=own), seeds)
    if wanted in reading.coded:
        raise DataError(
            "holds text, and only figures can be cut", file=path, field=wanted, fix="name a column of numbers, or leave empty what is none"
        )  # fmt: skip
    left_out = sum(reading.skipped.values())
    why = ", ".join(f"{reason.replace('_', ' ')}: {count:,}" for reason, count in reading.skipped.items() if count)
    rows = "row was" if left_out == 1 else "rows were"
    told = f"{path.name}: {left_out:,} {rows} left out ({why})." if left_out else ""
    said = tuple(f"{path.name}: {each}." for each in reading.warnings)
    return Traffic(reading.trace.name, reading.trace, said=said, left_out=told)


def _laden(traffic: Traffic, payload: Payload, seeds: Seeds) -> Traffic:
    """The traffic with what each request carries."""
    if traffic.trace is None:
        return traffic
    with naming(field="--sizes"):
        trace = payload.carried(traffic.trace, seeds.number("payload"))
    names = payload.priorities.names if payload.priorities else ()
    return replace(traffic, trace=trace, priorities=names)


def _check_classes(traffic: Traffic, classes: Sequence[str]) -> None:
    """Refuse size classes without service times, and service times without a size class."""
    sizes = traffic.columns.get("size")
    if sizes is None and len(classes) > 1:
        raise ConfigError(
            "is missing: there are service times for several sizes, and nothing says of which size a request is",
            field="--sizes", fix=f"write --sizes '{classes[0]}=90%, {classes[1]}=10%', or 'COLUMN: CUT'",
        )  # fmt: skip
    if sizes is not None and not 0 <= int(sizes.min()) <= int(sizes.max()) < len(classes):
        found = int(sizes.max()) if int(sizes.max()) >= len(classes) else int(sizes.min())
        raise DataError(
            f"is no size class: there are service times for {len(classes)}", field=f"{traffic.name}.size", value=found,
            fix="give --profile once for each class, in their order, or rename the column",
        )  # fmt: skip


def _hurried(traffic: Traffic, speed: float) -> Traffic:
    assert traffic.trace is not None
    hurried = traffic.trace.speed_up(speed)
    return replace(traffic, name=hurried.name, trace=hurried)


def _generated(phrase: str, requests: int | None, seeds: Seeds, speed: float, *, carries: bool) -> Traffic:
    from windtunnel.simulate import arrivals

    seed, requests = seeds.number("arrivals"), REQUESTS if requests is None else requests
    with naming(field="--arrivals"):
        generator = arrivals.parse(phrase)
        if isinstance(generator, arrivals.Population):
            if carries or speed != 1.0:
                raise ConfigError(
                    "are users who wait for their answers: they carry nothing but who they are, and have no speed", value=phrase,
                    fix="leave out --sizes, --keys, --priorities, --deadline and --speed, or write poisson(rate=900)",
                )  # fmt: skip
            users = replace(generator, requests=requests)
            return Traffic(str(generator), None, phrase, requests, seed, population=users)
    if requests > HELD:
        if speed != 1.0:
            raise ConfigError("is for traces; give the generator another rate", field="--speed", value=speed)
        if carries:
            raise ConfigError(
                "is more than can be held, and what requests carry is kept beside them", field="--requests", value=requests,
                fix=f"at most {HELD:,} with --sizes, --keys, --priorities or --deadline",
            )  # fmt: skip
        return Traffic(str(generator), None, phrase, requests, seed)
    with naming(field="--arrivals"):
        trace = generator.arrivals(requests=requests, seed=seed)
    return Traffic(str(generator), trace if speed == 1.0 else trace.speed_up(speed), phrase if speed == 1.0 else "")
