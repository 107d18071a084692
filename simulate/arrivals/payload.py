"""What requests carry, as it is asked for: `short=90%, long=10%`, `context_tokens: 512, 2048`, `zipf(distinct=1000)`."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from windtunnel.errors import ConfigError, DataError, nearest
from windtunnel.quantity import parse_duration, parse_share

from .columns import with_deadline, with_keys, with_priorities, with_sizes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from windtunnel.trace import Trace

    from .zipf import Zipf


@dataclass(frozen=True)
class Mix:
    """Classes and their shares, in their order.

    Args:
        names: of the classes.
        shares: of the requests; they add up to one.

    Example:
        >>> Mix.parse("short=90%, long=0.1")
        Mix(names=('short', 'long'), shares=(0.9, 0.1))
    """

    names: tuple[str, ...]
    shares: tuple[float, ...]

    @staticmethod
    def parse(text: str) -> Mix:
        """Read `short=90%, long=10%`.

        Raises:
            ConfigError: another form, a class twice, or shares that do not add up to one.
        """
        pairs = dict(pair for pair in (_pair(each, text) for each in text.split(",")))
        shares = tuple(parse_share(share) for share in pairs.values())
        if len(pairs) < len(text.split(",")):
            raise ConfigError("names a class twice", value=text, fix="name each once")
        if abs(math.fsum(shares) - 1.0) > 1e-9:
            raise ConfigError(
                f"adds up to {math.fsum(shares):.4g}, not to one", value=text, fix="write short=90%, long=10%"
            )
        return Mix(tuple(pairs), shares)

    def ordered(self, names: Sequence[str]) -> Mix:
        """The same shares in the order of these names.

        Raises:
            ConfigError: a class that is not among them, or one of them that has no share.
        """
        for name in self.names:
            if name not in names:
                raise ConfigError("is no class", value=name, fix=nearest(name, names))
        absent = [name for name in names if name not in self.names]
        if absent:
            raise ConfigError(f"gives no share to {', '.join(absent)}", fix=f"write {absent[0]}=0%")
        shares = dict(zip(self.names, self.shares, strict=True))
        return Mix(tuple(names), tuple(shares[name] for name in names))


def _pair(text: str, whole: str) -> tuple[str, str]:
    match = re.fullmatch(r"\s*([A-Za-z0-9_.-]+)\s*=\s*(\S+)\s*", text)
    if match is None:
        raise ConfigError("is no list of shares", value=whole, fix="write short=90%, long=10%")
    return match[1], match[2]


@dataclass(frozen=True)
class Cuts:
    """Size classes by where a figure of the request lies: up to and with the first edge class 0, and so on.

    Args:
        column: of the trace.
        edges: rising; one fewer than there are classes.

    Example:
        >>> from windtunnel.trace import Trace
        >>> trace = Trace("t", np.arange(4.0), {"tokens": np.array([5, 512, 513, 9000])})
        >>> Cuts.parse("tokens: 512, 2048").classed(trace).columns["size"].tolist()
        [0, 0, 1, 2]
    """

    column: str
    edges: tuple[float, ...]

    @staticmethod
    def parse(text: str) -> Cuts:
        """Read `context_tokens: 512, 2048`.

        Raises:
            ConfigError: another form, or edges that do not rise.
        """
        column, _, told = (part.strip() for part in text.rpartition(":"))
        try:
            edges = tuple(float(each) for each in told.split(","))
        except ValueError:
            edges = ()
        if not column or not edges or not all(map(math.isfinite, edges)) or list(edges) != sorted(set(edges)):
            raise ConfigError("is no column with rising cut points", value=text, fix="write context_tokens: 512, 2048")
        return Cuts(column, edges)

    def classed(self, trace: Trace) -> Trace:
        """The trace with its column `size`.

        Raises:
            DataError: no such column, or requests of which it is not known.
        """
        if self.column not in trace.columns:
            raise DataError("is not a column of the trace", field="column", value=self.column, fix=nearest(self.column, trace.columns) if trace.columns else "it has none")  # fmt: skip
        values = trace.columns[self.column]
        unknown = int(np.count_nonzero(~np.isfinite(values)))
        if unknown:
            raise DataError(f"is not known of {unknown} requests", field="column", value=self.column, fix="give it for each, or leave those out")  # fmt: skip
        size = np.searchsorted(self.edges, values, side="left").astype(np.int32)
        return replace(trace, columns={**trace.columns, "size": size})


@dataclass(frozen=True)
class Payload:
    """What each request carries besides its time.

    Args:
        sizes: shares of the size classes, or where a figure of the request is cut; None where the trace says it, or all are
            of one size.
        keys: how hot each key is; None where the trace says it, or nothing asks for it.
        priorities: shares of the classes, the first served first.
        deadlines_s: after the arrival, one a class of `priorities`, or one for all; empty for none.
    """

    sizes: Mix | Cuts | None = None
    keys: Zipf | None = None
    priorities: Mix | None = None
    deadlines_s: tuple[float, ...] = ()

    def carried(self, trace: Trace, seed: int) -> Trace:
        """The trace with these columns in place of its own.

        Args:
            trace: any.
            seed: of what is drawn; each column has a stream of its own.

        Raises:
            DataError: a figure to be cut that the trace does not have.
        """
        if isinstance(self.sizes, Cuts):
            trace = self.sizes.classed(trace)
        elif self.sizes is not None:
            trace = with_sizes(trace, self.sizes.shares, seed)
        if self.keys is not None:
            trace = with_keys(trace, self.keys.distinct, self.keys.exponent, seed)
        if self.priorities is not None:
            own = self.deadlines_s if len(self.deadlines_s) == len(self.priorities.names) else ()
            trace = with_priorities(trace, self.priorities.shares, seed, deadlines_s=own)
        if len(self.deadlines_s) == 1:
            trace = with_deadline(trace, self.deadlines_s[0])
        return trace


def parse_sizes(text: str) -> Mix | Cuts:
    """Read how requests are of several sizes: `short=90%, long=10%`, or `context_tokens: 512, 2048`.

    Raises:
        ConfigError: it cannot be read.
    """
    return Cuts.parse(text) if ":" in text else Mix.parse(text)


def parse_deadlines(text: str, priorities: Mix | None) -> tuple[float, ...]:
    """Read one deadline for all, `100ms`, or one for each class, `urgent=100ms, usual=inf`.

    Raises:
        ConfigError: it cannot be read, is not above zero, or does not name each class once.

    Example:
        >>> parse_deadlines("usual=inf, urgent=100ms", Mix.parse("urgent=20%, usual=80%"))
        (0.1, inf)
    """
    if "=" not in text:
        return (_deadline_s(text),)
    names = priorities.names if priorities is not None else ()
    pairs = dict(_pair(each, text) for each in text.split(","))
    if sorted(pairs) != sorted(names) or len(pairs) < len(text.split(",")):
        known = ", ".join(names) or "none: give --priorities too"
        raise ConfigError("does not name each class of priority once", value=text, fix=f"the classes are {known}")
    return tuple(_deadline_s(pairs[name]) for name in names)


def _deadline_s(text: str) -> float:
    seconds = math.inf if text.strip() == "inf" else parse_duration(text)
    if seconds <= 0.0:
        raise ConfigError("leaves no time for an answer", value=text, fix="write 100ms")
    return seconds
