"""A Road: what lies around a model where it is served for real, as a few stations measured in place."""

from __future__ import annotations

import io
import json
import math
import zipfile
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from windtunnel.deployment import BatchPolicy
from windtunnel.digest import canonical_json, write_atomically
from windtunnel.errors import DataError, naming
from windtunnel.hardware import Hardware

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

FORMAT = "windtunnel.road/4"

LOADS = (0.2, 0.5, 0.8)
"""Shares of capacity at which a road is measured."""

SLACK = 1.1
"""A rate may lie so far beyond those that it was measured at."""

IDLE_S = 0.001 * 2.0 ** np.arange(8)
"""How long a loop has stood idle when a batch begins, in steps of a factor of two: the longer, the colder the caches.
Compiled into `stations.py`: whoever changes it, changes `FORMAT` and touches that file too."""

CALIBRATING_S = 51.0
"""How long it is measured, all loads together."""


@dataclass(frozen=True)
class Loaded:
    """What was seen on the road at one load.

    Args:
        rate_per_s: requests a second that were asked.
        stretch: by how much batches took longer than `Road.service_s`; its product with `residuals` is 1 at the middle.
        residuals: float64 `[batches]`, each batch's service ÷ (`Road.service_s` of its size × `Road.warmth` × `stretch`), in the order in which
            they ran, so that a slow moment stays one.
        outside_s: float64 `[requests]`, seconds from when a request should have been sent to its answer without those in the
            replica, of requests that came while nothing was being served.
        timer_s: float64 `[batches]`, by how much batches that waited for company left later than their timer said.
        loop: float64 `[batches]`, by how much longer the event loop took after a full batch than `Road.resume_s`, `knock_s` and `entry_s` say, in the
            order in which they ran: others want its core as well.

    Raises:
        DataError: a rate or a stretch that is none, or times of which there are none, or some that are no numbers.
    """

    rate_per_s: float
    stretch: float
    residuals: Floats
    outside_s: Floats
    timer_s: Floats
    loop: Floats

    def __post_init__(self) -> None:
        for name in ("rate_per_s", "stretch"):
            _check_number(name, getattr(self, name), above=True)
        for name in _SERIES:
            _check_times(name, getattr(self, name))


@dataclass(frozen=True)
class Road:
    """Client, ingress, event loop, model and way back, as they were where the model was served.

    Args:
        variant: the variant's name.
        sha256: of its file.
        hardware: the machine that client, ingress and replicas shared.
        ray: the version of Ray whose batching it is.
        ingress: what stood in front of the replicas, such as `haproxy`.
        batch: when a batch leaves.
        replicas: how many served.
        capacity_per_s: requests a second that were answered when there was always another one waiting.
        service_s: float64 `[max_batch + 1]`, what a batch of each size took, at the middle, where nothing was in its way; its
            row 0 is zero.
        warmth: float64 `[len(IDLE_S)]`, by how much more a batch takes where the loop had been idle for `IDLE_S` before it.
        loads: what was seen at each load, from the least to the greatest.
        entry_s: what each request takes of the replica's event loop on its way in.
        dispatch_s: from when a batch is closed to when it runs; who comes in between is left over for the next.
        join_s: by how much later a timer fires for each that joins while it runs.
        resume_s: float64 `[max_batch + 1]`, from the end of a batch of each size, whose requests are answered first, to when the loop lets
            somebody in again; its row 0 is zero.
        knock_s: so much more for each that has come meanwhile, as all are read before one is let in.
        company_s: by how much an answer is later for each other request that shared its batch.
        rank_s: by how much an answer is later for each that left before it.
        doubts: why what was measured does not count; empty where it does.

    Raises:
        DataError: no load, service times that do not reach the largest batch, or figures that are none.
    """

    variant: str
    sha256: str
    hardware: Hardware
    ray: str
    ingress: str
    batch: BatchPolicy
    replicas: int
    capacity_per_s: float
    service_s: Floats
    warmth: Floats
    loads: tuple[Loaded, ...]
    entry_s: float
    dispatch_s: float
    join_s: float
    resume_s: Floats
    knock_s: float
    company_s: float
    rank_s: float
    doubts: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.loads:
            raise DataError("was measured at no load", field="loads", value=0, fix="calibrate it again")
        for name in _BY_SIZE:
            if len(getattr(self, name)) <= self.batch.max_batch:
                raise DataError(
                    "does not reach the largest batch", field=name, value=len(getattr(self, name)) - 1, fix="calibrate it again"
                )  # fmt: skip
            _check_times(name, getattr(self, name)[1:])
        if [each.rate_per_s for each in self.loads] != sorted(each.rate_per_s for each in self.loads):
            raise DataError(
                "are not in order", field="loads", value=[each.rate_per_s for each in self.loads], fix="calibrate it again"
            )  # fmt: skip
        _check_times("warmth", self.warmth)
        if len(self.warmth) != len(IDLE_S):
            raise DataError("has another length", field="warmth", value=len(self.warmth), fix="calibrate it again")
        _check_number("capacity_per_s", self.capacity_per_s, above=True)
        for name in _SPANS:
            _check_number(name, getattr(self, name))
        if not isinstance(self.replicas, int) or self.replicas < 1:
            raise DataError("is no number of replicas", field="replicas", value=self.replicas, fix="calibrate it again")

    def check(
        self, *, variant: str, sha256: str, hardware: Hardware, ray: str, ingress: str, batch: BatchPolicy, replicas: int
    ) -> None:  # fmt: skip
        """Refuse to speak of a road that it was not measured on.

        Raises:
            DataError: another model, other hardware, another version of Ray or ingress, or a server that batches or is replicated
                otherwise.
        """
        pairs = (
            ("model", f"{self.variant} ({self.sha256[:12]})", f"{variant} ({sha256[:12]})"),
            ("hardware", f"{self.hardware} ({self.hardware.fingerprint})", f"{hardware} ({hardware.fingerprint})"),
            ("Ray", self.ray, ray),
            ("ingress", self.ingress, ingress),
            ("batch", str(self.batch), str(batch)),
            ("replicas", str(self.replicas), str(replicas)),
        )
        for name, had, has in pairs:
            if had != has:
                raise DataError(
                    f"was measured with another: {had}, and this is {has}", field=f"{name} of the road",
                    fix="calibrate it here (leave --road out, or name another file)" + (
                        "; whether batches are made as before, tests/simulate/batching/test_ray_serve.py says" if name == "Ray" else ""
                    ),
                )  # fmt: skip

    def save(self, path: Path) -> None:
        """Write the road as one `.npz` file, the same bytes for the same road."""
        head = {
            "format": FORMAT, "variant": self.variant, "sha256": self.sha256, "hardware": self.hardware.to_dict(), "ray": self.ray,
            "ingress": self.ingress, "max_batch": self.batch.max_batch, "max_wait_s": self.batch.max_wait_s, "replicas": self.replicas,
            "capacity_per_s": self.capacity_per_s, "entry_s": self.entry_s, "dispatch_s": self.dispatch_s, "join_s": self.join_s,
            "knock_s": self.knock_s, "company_s": self.company_s, "rank_s": self.rank_s,
            "loads": [{"rate_per_s": each.rate_per_s, "stretch": each.stretch} for each in self.loads], "doubts": list(self.doubts),
        }  # fmt: skip
        arrays = {"warmth": self.warmth} | {name: getattr(self, name) for name in _BY_SIZE}
        for at, each in enumerate(self.loads):
            arrays |= {f"{name}_{at}": getattr(each, name) for name in _SERIES}
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr(zipfile.ZipInfo("road.json"), canonical_json(head))
            for name, array in arrays.items():
                part = io.BytesIO()
                np.save(part, array)
                archive.writestr(zipfile.ZipInfo(f"{name}.npy"), part.getvalue())
        write_atomically(path, buffer.getvalue())

    @staticmethod
    def load(path: Path) -> Road:
        """Read what `save` wrote.

        Raises:
            DataError: missing, truncated, or another kind of file.
        """
        fix = "give one that `windtunnel simulate --agree --out` wrote"
        if not path.is_file():
            raise DataError("is not a file", file=path, fix=fix)
        try:
            with naming(file=path), zipfile.ZipFile(path) as archive:
                return _read(archive)
        # what zipfile, json and numpy raise on bytes that nobody meant as a road; RuntimeError: "encrypted"
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
            raise DataError(f"is not a road ({error})", file=path, fix=fix) from error


_SERIES = ("residuals", "outside_s", "timer_s", "loop")

_BY_SIZE = ("service_s", "resume_s")

_SPANS = "entry_s", "dispatch_s", "join_s", "knock_s", "company_s", "rank_s"


def _check_number(name: str, value: float, *, above: bool = False) -> None:
    """Refuse what is not finite, below zero, or zero where it must be above."""
    if not math.isfinite(value) or value < 0.0 or (above and value == 0.0):
        raise DataError("is no such figure", field=name, value=value, fix="calibrate it again")


def _check_times(name: str, times: Floats) -> None:
    """Refuse a series without anything in it, or with something in it that is no time."""
    if times.ndim != 1 or not len(times) or not np.all(np.isfinite(times)) or times.min() < 0.0:
        raise DataError("is no series of times", field=name, fix="calibrate it again")


def _read(archive: zipfile.ZipFile) -> Road:
    head: dict[str, Any] = json.loads(archive.read("road.json"))
    if head["format"] != FORMAT:
        raise ValueError(f"its format is {head['format']}, not {FORMAT}")

    def array(name: str) -> Floats:
        return np.asarray(np.load(io.BytesIO(archive.read(f"{name}.npy"))), dtype=np.float64)

    loads = tuple(
        Loaded(each["rate_per_s"], each["stretch"], *(array(f"{name}_{at}") for name in _SERIES))
        for at, each in enumerate(head["loads"])
    )
    return Road(
        head["variant"], head["sha256"], Hardware.from_dict(head["hardware"]), head["ray"], head["ingress"],
        BatchPolicy(head["max_batch"], head["max_wait_s"]), head["replicas"], head["capacity_per_s"], array("service_s"), array("warmth"), loads,
        head["entry_s"], head["dispatch_s"], head["join_s"], array("resume_s"), head["knock_s"], head["company_s"], head["rank_s"],
        tuple(head["doubts"]),
    )  # fmt: skip
