"""How requests are served and asked for, as the command line spells it, and what of it would do nothing."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from windtunnel.errors import ConfigError, naming

if TYPE_CHECKING:
    from collections.abc import Iterator

    from windtunnel.simulate.batching import Batcher
    from windtunnel.simulate.system import System

    from .service import Service
    from .traffic import Traffic

USUAL_ROUTER = "power-of-two"


@dataclass(frozen=True)
class Serving:
    """How requests are served and asked for, as it is spelled on the command line; None and empty where nothing was said.

    Args:
        replicas: servers; with the ideal batcher, and where nothing tells them apart, behind one queue, else each with its
            own behind a router.
        max_batch: the largest batch; 1 where None.
        max_wait_s: how long a batch waits for company; not at all where None.
        batcher: a phrase: its name, and what is not usual about it.
        router: a phrase; where one is named each replica has a queue of its own.
        scaler: a phrase; empty where the number of replicas stays.
        least: replicas, never fewer, where they scale; 1 where None.
        most: replicas, never more, where they scale; those there are at first where None.
        cold_start_s: from the decision for a replica until it serves.
        client: settings of `Client`.
        admission: settings of `Admission`.
        proxy: settings of `Proxy`; empty where there is none.
        faults: phrases.
        multiplex: settings of `Multiplex`; empty where there is one model.
    """

    replicas: int = 1
    max_batch: int | None = None
    max_wait_s: float | None = None
    batcher: str = "ideal"
    router: str = ""
    scaler: str = ""
    least: int | None = None
    most: int | None = None
    cold_start_s: float | None = None
    client: str = ""
    admission: str = ""
    proxy: str = ""
    faults: tuple[str, ...] = field(default=())
    multiplex: str = ""

    def read_batcher(self) -> Batcher:
        """The batcher that is meant.

        Raises:
            ConfigError: it cannot be read, or `--max-batch` or `--max-wait` says something that it does not heed.
        """
        from windtunnel.quantity import format_duration
        from windtunnel.simulate.batching import BATCHERS
        from windtunnel.simulate.phrase import read_phrase

        usual = {"max_batch": 1 if self.max_batch is None else self.max_batch, "max_wait_s": self.max_wait_s or 0.0}
        batcher = read_phrase(self.batcher, BATCHERS, field="--batcher", usual=usual)
        for option, name in (("--max-batch", "max_batch"), ("--max-wait", "max_wait_s")):
            said, held = getattr(self, name), getattr(batcher, name, None)
            if said is not None and said != held:
                why = (
                    f"is overruled by --batcher {self.batcher}"
                    if held is not None
                    else f"means nothing to --batcher {self.batcher}"
                )
                shown = format_duration(said) if name == "max_wait_s" else said
                raise ConfigError(why, field=option, value=shown, fix="say one of them")
        return batcher

    def largest(self) -> int:
        """The largest batch that is ever run, padded where it is."""
        batcher = self.read_batcher()
        return int(max(batcher.padded(batcher.max_batch)))

    def build(self, service: Service, *, apart: bool = False) -> System:
        """The system that is flown.

        Args:
            service: how long batches take.
            apart: whether each replica has a queue of its own in any case, so that things can befall one of them.

        Raises:
            ConfigError: what cannot be read, or is refused; the message names the option.
            DataError: batches that were never profiled.
        """
        from windtunnel.simulate.admission import Admission
        from windtunnel.simulate.batching import IdealBatching
        from windtunnel.simulate.client import Client
        from windtunnel.simulate.fault import FAULTS
        from windtunnel.simulate.multiplex import Multiplex
        from windtunnel.simulate.phrase import build_from, read_phrase
        from windtunnel.simulate.proxy import Proxy
        from windtunnel.simulate.routing import ROUTERS
        from windtunnel.simulate.system import System

        if self.replicas < 1 and not self.scaler:
            raise ConfigError(
                "serves nothing", field="--replicas", value=self.replicas, fix="give at least 1, or --scaler"
            )
        batcher = self.read_batcher()
        with naming(field="--max-batch"):
            table = service.table(self.largest(), self._most * (batcher.executors or 1))
        told_apart = self.scaler or self.faults or self.router or self.multiplex or apart
        shared = isinstance(batcher, IdealBatching) and not told_apart
        return System(
            table,
            stations=1 if shared else self.replicas,
            executors=self.replicas if shared else batcher.executors or 1,
            batcher=batcher,
            router=read_phrase(self.router or USUAL_ROUTER, ROUTERS, field="--router"),
            scaling=self._scaling(),
            client=build_from(self.client, Client, field="--client"),
            admission=build_from(self.admission, Admission, field="--admission"),
            proxy=build_from(self.proxy, Proxy, field="--proxy") if self.proxy else None,
            faults=tuple(read_phrase(each, FAULTS, field="--fault") for each in self.faults),
            multiplex=build_from(self.multiplex, Multiplex, field="--multiplex") if self.multiplex else None,
        )

    def _scaling(self) -> Any:
        from windtunnel.simulate.phrase import read_phrase
        from windtunnel.simulate.scaling import SCALERS
        from windtunnel.simulate.system import Scaling

        if not self.scaler:
            return None
        scaler = read_phrase(self.scaler, SCALERS, field="--scaler")
        with naming(field="--least-replicas and --most-replicas"):
            return Scaling(scaler, self._least, self._most, self.cold_start_s or 0.0)

    @property
    def _least(self) -> int:
        return 1 if self.least is None else self.least

    @property
    def _most(self) -> int:
        """Replicas that there may ever be."""
        if not self.scaler:
            return self.replicas
        return max(self.replicas, self._least) if self.most is None else self.most

    def check(self, system: System, traffic: Traffic, *, strikes: bool = False) -> None:
        """Refuse what was said and would do nothing.

        Args:
            system: what it builds.
            traffic: what comes.
            strikes: whether a scenario changes the day: clients and proxies may then matter that do not matter on a calm one.

        Raises:
            ConfigError: the first such option, and what it lacks.
        """
        from windtunnel.quantity import format_duration

        if self.max_wait_s and self.max_batch is None and system.max_batch == 1:
            raise ConfigError(
                "waits for company, and batches are of one", field="--max-wait", value=format_duration(self.max_wait_s),
                fix="give --max-batch too",
            )  # fmt: skip
        checks = (
            self._idle_keys(system, traffic),
            self._idle_scaling(),
            self._idle_admission(system, traffic),
            self._idle_faults(system, traffic),
        )
        for found in (*checks, *(() if strikes else (self._idle_client(system),))):
            for option, what, fix in found:
                raise ConfigError(what, field=option, fix=fix)

    def _idle_scaling(self) -> Iterator[tuple[str, str, str]]:
        if not self.scaler:
            for option, said in (
                ("--least-replicas", self.least), ("--most-replicas", self.most), ("--cold-start", self.cold_start_s),
            ):  # fmt: skip
                if said is not None:
                    yield option, "is for replicas that scale, and these do not", "give --scaler too, or leave it out"
        elif self.replicas == self._least == self._most:
            yield (
                "--scaler",
                f"has no choice: there are {self._most} replicas at least and at most",
                "give --most-replicas",
            )

    def _idle_admission(self, system: System, traffic: Traffic) -> Iterator[tuple[str, str, str]]:
        from windtunnel.simulate.admission import UNBOUNDED

        admission, client = system.admission, system.client
        capped = admission.max_ongoing < UNBOUNDED or admission.max_waiting >= 0 or system.batcher.max_waiting >= 0
        if admission.max_queued >= 0 and not (capped or self.scaler or self.faults):
            yield (
                "--admission (max_queued)",
                "counts those whom no replica accepts, and these accept any number",
                "give max_ongoing or max_waiting too",
            )
        if admission.drops_abandoned and not (client.timeout_s or client.hedge_s or client.patience_s):
            yield (
                "--admission (drops_abandoned)",
                "drops what clients gave up, and these wait for ever",
                "give --client timeout=1s",
            )
        if "--deadline" in traffic.asked and not admission.drops_late:
            yield (
                "--deadline",
                "is heeded by nobody: late requests are served like others",
                "give --admission drops_late=true",
            )
        if admission.drops_late and "deadline_s" not in traffic.columns:
            yield (
                "--admission (drops_late)",
                "drops what is past its deadline, and no request has one",
                "give --deadline 100ms, or a trace with deadline_s",
            )

    @staticmethod
    def _idle_keys(system: System, traffic: Traffic) -> Iterator[tuple[str, str, str]]:
        from windtunnel.simulate.routing import ROUTERS

        heeded = system.multiplex is not None or isinstance(system.router, ROUTERS["consistent-hash"])
        if "--keys" in traffic.asked and not heeded:
            yield (
                "--keys",
                "is heeded by nobody: any replica serves any key",
                "give --router consistent-hash, or --multiplex",
            )
        # users of a closed loop are keys themselves
        if heeded and traffic.trace is not None and "key" not in traffic.columns:
            option = "--multiplex" if system.multiplex is not None else f"--router {system.router.name}"
            yield (
                option,
                "goes by the key of a request, and none has one",
                "give --keys 'zipf(distinct=100)', or a trace with a column key",
            )

    def _idle_faults(self, system: System, traffic: Traffic) -> Iterator[tuple[str, str, str]]:
        from windtunnel.quantity import format_duration
        from windtunnel.simulate.fault import ProxyStall

        lasts_s = traffic.trace.duration_s if traffic.trace is not None else float("inf")
        for text, fault in zip(self.faults, system.faults, strict=True):
            if isinstance(fault, ProxyStall) and system.proxy is None:
                yield f"--fault {text}", "stalls a proxy, and there is none", "give --proxy 'workers=4, service=0.1ms'"
            if fault.at_s > lasts_s:
                yield (
                    f"--fault {text}",
                    f"strikes after the last request, which comes at {format_duration(lasts_s)}",
                    "let it strike earlier",
                )

    def _idle_client(self, system: System) -> Iterator[tuple[str, str, str]]:
        from windtunnel.simulate.client import Client
        from windtunnel.simulate.phrase import read_settings

        said, client = read_settings(self.client, Client, field="--client"), system.client
        if not client.retries:
            for name in ("backoff_s", "backoff_max_s", "jitter", "budget_ratio", "budget_burst"):
                if name in said:
                    yield (
                        f"--client ({name.removesuffix('_s')})",
                        "is for clients that ask again, and these do not",
                        "give retries=2 too",
                    )
        elif not _may_fail(system):
            yield (
                "--client (retries)",
                "asks again after a timeout, a refusal or a failure, and there is none",
                "give timeout=1s too",
            )
        if "budget_ratio" in said and "budget_burst" not in said:
            yield "--client (budget_ratio)", "fills a bucket that has no bottom", "give budget_burst=10 too"
        if client.timeout_s and client.hedge_s >= client.timeout_s:
            yield "--client (hedge)", "comes after the attempt was given up", "give a hedge below the timeout"


def _may_fail(system: System) -> bool:
    """Whether any attempt may end without an answer."""
    from windtunnel.simulate.batching import CorkBatching
    from windtunnel.simulate.fault import Crash, Preemption

    return bool(
        system.client.timeout_s or system.admission.max_queued >= 0 or system.admission.drops_late
        or isinstance(system.batcher, CorkBatching) or getattr(system.batcher, "queue_timeout_s", 0.0)
        or any(isinstance(each, Crash | Preemption) for each in system.faults)
    )  # fmt: skip
