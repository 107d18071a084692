"""A System: everything that serves, and everyone that asks, in one value."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from windtunnel.errors import ConfigError, DataError
from windtunnel.simulate.batching import IdealBatching
from windtunnel.simulate.routing import Multiplexed, Pinned, PowerOfTwo

from .admission import Admission
from .client import Client

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from windtunnel.simulate.batching import Batcher
    from windtunnel.simulate.routing import Router
    from windtunnel.simulate.scaling import Scaler

    from .fault import Fault
    from .multiplex import Multiplex
    from .proxy import Proxy


@dataclass(frozen=True)
class Scaling:
    """Who decides how many stations there are, and within which bounds.

    Args:
        scaler: the policy.
        least: stations, never fewer.
        most: stations, never more.
        cold_start_s: from the decision for a station until it serves.

    Raises:
        ConfigError: bounds that cross, or a negative cold start.
    """

    scaler: Scaler
    least: int
    most: int
    cold_start_s: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.least <= self.most or self.most < 1:
            raise ConfigError(
                "are not bounds of a number of stations", field="least, most", value=(self.least, self.most)
            )
        if not 0.0 <= self.cold_start_s < float("inf"):
            raise ConfigError("must be zero or more", field="cold_start", value=self.cold_start_s)


@dataclass(frozen=True)
class System:
    """Stations behind a router behind a proxy, and their clients.

    Args:
        table: float64 `[sizes, max_batch + 1, points]`, service times in seconds by size class and size of batch, each point
            as likely; or `[groups, sizes, max_batch + 1, points]` where stations differ.
        stations: how many are up at first.
        executors: how many batches each serves at once. One queue in front of c replicas is one station of c executors.
        batcher: how a station batches.
        router: which station gets a request.
        scaling: how many stations there are; None where their number stays.
        client: how long clients wait, and whether they ask again.
        admission: caps and deadlines.
        proxy: None where there is none.
        faults: what befalls it.
        groups: of which group each station is; all of group 0 where empty.
        slowness: how many times as long each station takes; 1 where empty.
        multiplex: how models share stations; None where requests are all for one.

    Raises:
        ConfigError: no station or executor; a fault of a station that there is not; a router that looks for models where none
            are told apart.
        DataError: a table that does not reach the largest batch, or with times that are not finite and above zero.
    """

    table: NDArray[np.float64]
    stations: int = 1
    executors: int = 1
    batcher: Batcher = field(default_factory=IdealBatching)
    router: Router = field(default_factory=PowerOfTwo)
    scaling: Scaling | None = None
    client: Client = field(default_factory=Client)
    admission: Admission = field(default_factory=Admission)
    proxy: Proxy | None = None
    faults: tuple[Fault, ...] = ()
    groups: tuple[int, ...] = ()
    slowness: tuple[float, ...] = ()
    multiplex: Multiplex | None = None

    def __post_init__(self) -> None:
        inner = self.router.otherwise if isinstance(self.router, Pinned) else self.router
        if isinstance(inner, Multiplexed) and self.multiplex is None:
            raise ConfigError(
                "looks for stations that hold a model, and there is one model", field="router", value=inner.name,
                fix="say how models share stations (--multiplex 'models_per_replica=3, load=2s'), or take power-of-two",
            )  # fmt: skip
        least = 0 if self.scaling else 1
        for name, low in (("stations", least), ("executors", 1)):
            if getattr(self, name) < low:
                raise ConfigError(f"must be at least {low}", field=name, value=getattr(self, name))
        for fault in self.faults:
            if getattr(fault, "station", 0) >= self.most:
                raise ConfigError(
                    "is no station", field="station of a fault", value=getattr(fault, "station", 0),
                    fix=f"they are numbered from 0 to {self.most - 1}",
                )  # fmt: skip
        self._check_each()
        self._check_table()

    def _check_each(self) -> None:
        for name in ("groups", "slowness"):
            given = getattr(self, name)
            if given and len(given) != self.most:
                raise ConfigError(f"needs one for each of {self.most} stations", field=name, value=given)
        if self.groups and not 0 <= min(self.groups) <= max(self.groups) < len(self.by_group):
            raise ConfigError("names a group that the table does not have", field="groups", value=self.groups)
        if any(not 0.0 < each < float("inf") for each in self.slowness):
            raise ConfigError("must be above zero", field="slowness", value=self.slowness)

    def _check_table(self) -> None:
        largest = int(np.max(self.batcher.padded(self.batcher.max_batch)))
        if self.by_group.shape[2] <= largest:
            raise DataError(
                "is larger than the largest batch in the service table", field="max_batch", value=largest,
                fix=f"ask for batches of up to {self.by_group.shape[2] - 1}, or profile larger ones",
            )  # fmt: skip
        rows = self.by_group[:, :, 1 : largest + 1]
        if rows.size == 0 or not np.all(np.isfinite(rows)) or np.min(rows) <= 0.0:
            raise DataError("has times that are missing, not finite, or not above zero", field="service table")

    @property
    def most(self) -> int:
        """Stations that there may ever be."""
        return max(self.stations, self.scaling.most) if self.scaling else self.stations

    @property
    def by_group(self) -> NDArray[np.float64]:
        """The table with its axis of groups."""
        table = self.table
        while table.ndim < 4:
            table = table[None]
        return table

    @property
    def replicas(self) -> int:
        """Executors at first: what can be served at once."""
        return self.stations * self.executors

    @property
    def max_batch(self) -> int:
        """The largest batch."""
        return self.batcher.max_batch
