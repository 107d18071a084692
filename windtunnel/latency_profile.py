"""A LatencyProfile: how long a variant takes per batch size, as samples, on which hardware, and whether to trust it."""

from __future__ import annotations

import io
import json
import math
import zipfile
import zlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from windtunnel.digest import canonical_json, write_atomically
from windtunnel.errors import DataError
from windtunnel.footprint import Footprint
from windtunnel.hardware import Hardware
from windtunnel.server_cost import ServerCost
from windtunnel.stats import STRETCHES, Interval, quantile_interval, series_mean_interval
from windtunnel.verdict import Verdict

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from windtunnel.verdict import Outcome

    Floats = NDArray[np.float64]

FORMAT = "windtunnel.latency-profile/2"

QUANTILES = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "p999": 0.999}
"""The quantiles of a service time that are told, by the name that keys bear."""

USUAL = ("onnxruntime", "CPUExecutionProvider")
"""The runtime that goes without saying: the first word of its description and the last."""

ON_ACCELERATOR = ("cuda", "tensorrt")
"""Words by which a profile's runtime says that it computes on an accelerator."""


def setting_name(variant: str, runtime: str, threads: int = 1, concurrency: int = 1, size: str = "") -> str:
    """A variant and whatever is not usual in its setting.

    Example:
        >>> setting_name("m", "onnxruntime 1.32.0 CPUExecutionProvider", 2, size="n=8")
        'm, 2 threads, n=8'
        >>> setting_name("m", "torch 2.13.0 eager CPU (AVX2)", concurrency=4)
        'm, torch eager CPU, 4 at once'
    """
    words = runtime.partition(" (")[0].split()
    told = "" if (words[0], words[-1]) == USUAL else " ".join(words[:1] + words[2:])
    cores = f"{threads} threads" if threads > 1 else ""
    instances = f"{concurrency} at once" if concurrency > 1 else ""
    return ", ".join(part for part in (variant, told, cores, instances, size) if part)


@dataclass(frozen=True)
class LatencyProfile:
    """Service-time samples in seconds per batch size for one variant in one setting on one machine.

    Args:
        variant: the variant's name.
        sha256: of its file.
        hardware: what it was measured on.
        runtime: such as `onnxruntime 1.32.0 CPUExecutionProvider`.
        threads: intra-op threads of the session.
        basis: `measured`, or `projected` from other hardware; never confused.
        batch_sizes: sorted, each once.
        samples_s: one array of service times per batch size, in the order in which they were measured.
        parallel_efficiency: throughput of all cores running a session each ÷ (cores × that of one alone).
        verdict: go (valid), or what would make it valid.
        concurrency: how many instances, a process each, were busy at once while it was measured.
        size: the size class of variable-length inputs, such as `sequence=128`; empty where there is one only.
        cpu_s: CPU seconds a call, all threads together, one per batch size; empty where they were not counted.
        footprint: memory and start of an instance; None where they were not measured.
        rounds: in how many rounds it was measured, each on a session opened anew.
        efficiency_reach: half the width of the 95% interval of `parallel_efficiency`.
        guessed: those of the batch sizes that were never measured, from `extended`.
        clock_s: what the clock itself could not tell when it was measured; every quantile's interval is wider by as much.
        band: the factor by which every time of a projected profile may be longer or shorter, at 95%; 1 where measured.
        server: what a server costs a request beside the model; None where none was measured.
    """

    variant: str
    sha256: str
    hardware: Hardware
    runtime: str
    threads: int
    basis: Literal["measured", "projected"]
    batch_sizes: tuple[int, ...]
    samples_s: tuple[Floats, ...]
    parallel_efficiency: float
    verdict: Verdict
    concurrency: int = 1
    size: str = ""
    cpu_s: tuple[float, ...] = ()
    footprint: Footprint | None = None
    band: float = 1.0
    rounds: int = STRETCHES
    clock_s: float = 0.0
    efficiency_reach: float = 0.0
    guessed: tuple[int, ...] = ()
    server: ServerCost | None = None

    def __post_init__(self) -> None:
        if not self.batch_sizes or list(self.batch_sizes) != sorted(set(self.batch_sizes)):
            raise DataError("must be sorted and without repetition", field="batch_sizes", value=self.batch_sizes)
        if self.batch_sizes[0] < 1:
            raise DataError("must be at least 1", field="batch_sizes", value=self.batch_sizes)
        if not 1.0 <= self.band < math.inf or (self.basis == "measured" and self.band != 1.0):
            raise DataError("is no band of a profile that was " + self.basis, field="band", value=self.band)
        for size, samples in zip(self.batch_sizes, self.samples_s, strict=True):
            if len(samples) == 0 or not np.all(np.isfinite(samples)) or np.min(samples) <= 0.0:
                raise DataError(
                    "has service times that are missing, not finite, or not above zero",
                    field=f"batch {size}",
                    fix="measure it again",
                )

    @property
    def name(self) -> str:
        """The variant and whatever is not the default of its setting: what tables and files call the profile.

        Example:
            >>> hardware, go = Hardware("a CPU", "x86_64", (), 2.0, 2**30), Verdict("go", ("steady",))
            >>> LatencyProfile("m", "", hardware, "openvino", 2, "measured", (1,), (np.ones(9),), 1.0, go).name
            'm, openvino, 2 threads'
        """
        return setting_name(self.variant, self.runtime, self.threads, self.concurrency, self.size)

    def quantile_s(self, batch: int, quantile: float, confidence: float = 0.95) -> Interval | None:
        """A quantile of the service time in seconds, with its interval; None where the samples cannot carry it.

        Of a projected profile the interval holds the band too. A size that was never measured has none.
        """
        if batch in self.guessed:
            return None
        interval = quantile_interval(self._samples(batch), quantile, confidence, rounds=self.rounds)
        if interval is None:
            return None
        low, high = max(0.0, interval.low - self.clock_s), interval.high + self.clock_s
        return self._banded(replace(interval, low=low, high=high))

    def quantiles_s(self, batch: int, quantiles: Sequence[float]) -> list[Interval | None]:
        """Rising quantiles of the service time; where the samples cannot carry one, no higher one is told either."""
        found: list[Interval | None] = []
        for quantile in quantiles:
            carried = not found or found[-1] is not None
            found.append(self.quantile_s(batch, quantile) if carried else None)
        return found

    def throughput_per_s(self, batch: int, confidence: float = 0.95) -> Interval:
        """Rows a second of as many instances as were busy at once, one call after the other."""
        mean = self._banded(series_mean_interval(self._samples(batch), confidence, rounds=self.rounds))
        rows = batch * self.concurrency
        low, high = rows / mean.high, rows / mean.low if mean.low > 0.0 else math.inf
        return Interval(rows / mean.value, low, high, mean.samples, confidence)

    def _samples(self, batch: int) -> Floats:
        return self.samples_s[self.batch_sizes.index(batch)]

    def _banded(self, each: Interval) -> Interval:
        return replace(each, low=each.low / self.band, high=each.high * self.band)

    def scaled(self, factor: float) -> LatencyProfile:
        """The profile with every service time multiplied by a factor, as if on a slower (above 1) or faster machine."""
        return replace(self, samples_s=tuple(samples * factor for samples in self.samples_s))

    @property
    def served(self) -> LatencyProfile:
        """The profile as a core is held that serves: each batch as much longer as the server works on its requests.

        The server's work is taken to fall on the cores that the sessions fill, evenly: then core seconds add up, and the most
        that can be served is 1 / (1 / model's rate + server's CPU / cores). Where cores stay free it is too cautious. Itself
        where no server was measured beside the model, where its times hold it already, and on an accelerator, which the
        server's work does not hold up.

        Example:
            >>> hardware, go = Hardware("a CPU", "x86_64", (), 2.0, 2**30), Verdict("go", ("steady",))
            >>> server = ServerCost("s", Interval(0.0005, 0.0004, 0.0006, 9, 0.95), model_s=0.001)
            >>> samples = (np.full(9, 0.001), np.full(9, 0.004))
            >>> alone = LatencyProfile("m", "", hardware, "onnxruntime", 1, "measured", (1, 8), samples, 1.0, go, server=server)
            >>> [float(each[0]) for each in alone.served.samples_s]
            [0.0015, 0.008]
        """
        server = self.server
        if server is None or not server.counted or any(word in self.runtime.lower() for word in ON_ACCELERATOR):
            return self
        each_s = server.cpu_s.value / self.threads
        held = tuple(samples + size * each_s for size, samples in zip(self.batch_sizes, self.samples_s, strict=True))
        return replace(self, samples_s=held, server=server.held())

    @property
    def server_told(self) -> str:
        """What its server costs, and whether that is in what rests on the profile; a sentence or two."""
        if self.server is None:
            return f"What a server costs beside the model is not in it: none was measured for {self.name}."
        if self.server.inside:
            return f"{self.server.sentence} The service times of {self.name} hold it."
        return f"{self.server.sentence} It is {'not ' if self.served is self else ''}in it."

    def extended(self, max_batch: int) -> LatencyProfile:
        """The profile with a guess for what was never measured, up to batches of `max_batch`; the same where all was.

        Above the largest measured size each quantile goes on along the line through its values at the last two; none falls.
        Below the smallest one a batch takes as long as that: it can be padded. Nobody has seen such a batch, so the verdict
        is inconclusive at best, and no quantile of it has an interval.

        Raises:
            DataError: batches above the measured ones are asked for, and one size was measured, which is no line.

        Example:
            >>> hardware, go = Hardware("a CPU", "x86_64", (), 2.0, 2**30), Verdict("go", ("steady",))
            >>> samples = (np.full(9, 0.001), np.full(9, 0.002))
            >>> told = LatencyProfile("m", "", hardware, "onnxruntime", 1, "measured", (1, 2), samples, 1.0, go).extended(8)
            >>> round(float(told.service_table(8, points=1)[8, 0]), 6), told.guessed, told.verdict.outcome
            (0.008, (8,), 'inconclusive')
        """
        sizes, samples = self.batch_sizes, self.samples_s
        low, high = (1,) * (sizes[0] > 1), (max_batch,) * (max_batch > sizes[-1])
        if not (low or high):
            return self
        if high and len(sizes) == 1:
            raise DataError(
                f"was never profiled for {self.variant}, and one measured size ({sizes[0]}) is no line to go on along",
                field="max_batch", value=max_batch, fix="measure two sizes at least (--batch)",
            )  # fmt: skip
        further = tuple(self._further(size) for size in high)
        return replace(
            self, batch_sizes=low + sizes + high, samples_s=samples[: len(low)] + samples + further, cpu_s=(),
            guessed=low + self.guessed + high, verdict=self._doubted(low, high),
        )  # fmt: skip

    def _doubted(self, low: tuple[int, ...], high: tuple[int, ...]) -> Verdict:
        """The verdict with these sizes guessed: inconclusive at best."""
        sizes = self.batch_sizes
        told = [f"batches below {sizes[0]} were never measured: they are taken to last as long as those" for _ in low]
        told += [
            f"batches above {sizes[-1]} were never measured: up to {size} they go on along the line through {sizes[-2]} and {sizes[-1]}"
            for size in high
        ]  # fmt: skip
        own = () if self.verdict.outcome == "go" else self.verdict.reasons
        outcome: Outcome = "no-go" if self.verdict.outcome == "no-go" else "inconclusive"
        asked = " and ".join(str(size) for size in low + high)
        return Verdict(outcome, (*told, *own), (f"measure batches of {asked} too (benchmark --batch)",))

    def _further(self, size: int) -> Floats:
        """Service times of a size above the measured ones, each quantile along the line through the last two."""
        at = np.linspace(0.0, 1.0, len(self.samples_s[-1]))
        before, last = (_quantiles(samples, at) for samples in self.samples_s[-2:])
        slope = np.maximum(last - before, 0.0) / (self.batch_sizes[-1] - self.batch_sizes[-2])
        return np.sort(last + slope * (size - self.batch_sizes[-1]))

    @property
    def doubts(self) -> tuple[str, ...]:
        """Why nothing that rests on it is sure: what was guessed, and that it is not valid; a sentence each, none where it is sound."""
        reasons, count = self.verdict.reasons, len(self.guessed)
        told = [f"{self.variant}: {reason}." for reason in reasons[:count]]
        if self.verdict.outcome != "go" and reasons[count:]:
            told.append(f"The profile of {self.variant} it rests on is not valid: {reasons[count]}")
        return tuple(told)

    @property
    def extrapolated(self) -> dict[str, int] | None:
        """From the last measured size to what it was extended to; None where all was measured."""
        if not self.guessed:
            return None
        measured = [size for size in self.batch_sizes if size not in self.guessed]
        above = self.guessed[-1] > measured[-1]
        return {"from": measured[-1 if above else 0], "to": self.guessed[-1]}

    def service_table(self, max_batch: int, *, points: int = 4096, scale: float = 1.0) -> Floats:
        """Quantiles of the service time for every batch size up to `max_batch`, for drawing by inversion.

        Between two measured sizes each quantile is interpolated linearly; outside the measured range nothing is invented.

        Args:
            max_batch: the largest batch a server may form.
            points: quantiles a row; row 0 (no batch of zero items) is zeros.
            scale: multiplies every time (slower cores: above 1).

        Returns:
            float64 `[max_batch + 1, points]`, seconds.

        Raises:
            DataError: `max_batch` or 1 lies outside the measured sizes.
        """
        if max_batch > self.batch_sizes[-1] or self.batch_sizes[0] > 1:
            raise DataError(
                f"was never profiled for {self.variant}; measured sizes are {list(self.batch_sizes)}",
                field="max_batch",
                value=max_batch,
                fix="measure it (--batch), ask for batches inside the measured range, or guess it with --extrapolate",
            )
        at = (np.arange(points) + 0.5) / points
        measured = np.stack([_quantiles(samples, at) for samples in self.samples_s])
        at_size = np.interp(np.arange(1, max_batch + 1), self.batch_sizes, np.arange(len(self.batch_sizes)))
        below = np.floor(at_size).astype(np.int64)
        above = np.minimum(below + 1, len(self.batch_sizes) - 1)
        share = (at_size - below)[:, None]
        table = np.zeros((max_batch + 1, points))
        table[1:] = (measured[below] * (1.0 - share) + measured[above] * share) * scale
        return table

    def check_quantile(self, quantile: float) -> None:
        """Refuse to speak of a quantile that the samples of some batch size hold nothing beyond.

        Raises:
            DataError: fewer than one sample in expectation lies beyond it.
        """
        least = math.ceil(1.0 / (1.0 - quantile) - 1e-9)
        for size, samples in zip(self.batch_sizes, self.samples_s, strict=True):
            if len(samples) < least:
                raise DataError(
                    f"has {len(samples)} samples of batch {size}, too few to say anything of p{quantile * 100:g}",
                    field=self.variant,
                    fix=f"measure longer (at least {least} samples), or promise a lower quantile",
                )

    def save(self, path: Path) -> None:
        """Write the profile as one `.npz` file, the same bytes for the same profile."""
        head = {
            "format": FORMAT, "variant": self.variant, "sha256": self.sha256, "hardware": self.hardware.to_dict(),
            "runtime": self.runtime, "threads": self.threads, "basis": self.basis, "batch_sizes": self.batch_sizes,
            "parallel_efficiency": self.parallel_efficiency, "verdict": self.verdict.to_dict(), "concurrency": self.concurrency, "size": self.size, "cpu_s": self.cpu_s,
            "footprint": self.footprint.to_dict() if self.footprint is not None else None, "band": self.band, "rounds": self.rounds, "clock_s": self.clock_s, "efficiency_reach": self.efficiency_reach,
            "guessed": self.guessed, **({"server": self.server.to_dict()} if self.server is not None else {}),
        }  # fmt: skip
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as archive:
            archive.writestr(zipfile.ZipInfo("profile.json"), canonical_json(head))
            for size, samples in zip(self.batch_sizes, self.samples_s, strict=True):
                part = io.BytesIO()
                np.save(part, samples)
                archive.writestr(zipfile.ZipInfo(f"batch_{size}.npy"), part.getvalue())
        write_atomically(path, buffer.getvalue())

    @staticmethod
    def load(path: Path) -> LatencyProfile:
        """Read what `save` wrote.

        Raises:
            DataError: missing, truncated, or another kind of file.
        """
        if not path.is_file():
            raise DataError("is not a file", file=path, fix="give a profile that `windtunnel benchmark --out` wrote")
        try:
            with zipfile.ZipFile(path) as archive:
                return _read(archive)
        # what zipfile, json and numpy raise on bytes that nobody meant as a profile; RuntimeError: "encrypted"
        except (
            zipfile.BadZipFile,
            zlib.error,
            KeyError,
            ValueError,
            TypeError,
            EOFError,
            OSError,
            RuntimeError,
        ) as error:
            raise DataError(
                f"is not a latency profile ({error})", file=path, fix="give one that `windtunnel benchmark --out` wrote"
            ) from error


def _quantiles(samples: Floats, at: Floats) -> Floats:
    """What `np.quantile` gives, twenty times as fast where thousands of quantiles are asked for: it partitions for each."""
    return np.interp(at * (len(samples) - 1), np.arange(len(samples)), np.sort(samples))


def _read(archive: zipfile.ZipFile) -> LatencyProfile:
    head: dict[str, Any] = json.loads(archive.read("profile.json"))
    if head["format"] != FORMAT:
        raise ValueError(f"its format is {head['format']}, not {FORMAT}")
    samples = tuple(np.load(io.BytesIO(archive.read(f"batch_{size}.npy"))) for size in head["batch_sizes"])
    return LatencyProfile(
        head["variant"], head["sha256"], Hardware.from_dict(head["hardware"]), head["runtime"], head["threads"],
        head["basis"], tuple(head["batch_sizes"]), samples, head["parallel_efficiency"], Verdict.from_dict(head["verdict"]),
        head["concurrency"], head["size"], tuple(head["cpu_s"]),
        Footprint.from_dict(head["footprint"]) if head["footprint"] is not None else None, head["band"], head["rounds"], head["clock_s"], head["efficiency_reach"],
        tuple(head.get("guessed", ())), ServerCost.from_dict(head["server"]) if "server" in head else None,
    )  # fmt: skip
