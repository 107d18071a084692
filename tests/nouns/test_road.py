"""The noun that keeps a road's stations."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from windtunnel.deployment import BatchPolicy
from windtunnel.errors import DataError
from windtunnel.hardware import Hardware
from windtunnel.road import IDLE_S, Loaded, Road

if TYPE_CHECKING:
    from pathlib import Path

MACHINE = Hardware("a CPU", "x86_64", (), 2.0, 2**32)


def make_road() -> Road:
    """A road."""
    load = Loaded(50.0, 1.0, np.ones(3), np.full(4, 0.001), np.zeros(2), np.array([0.5, 2.0]))
    batch = BatchPolicy(2, 0.005)
    return Road(
        "m",
        "ab",
        MACHINE,
        "2.60.0",
        "HAProxy",
        batch,
        1,
        240.0,
        np.array([0.0, 0.1, 0.2]),
        np.linspace(0.9, 1.2, len(IDLE_S)),
        (load,),
        1e-4,
        2e-4,
        3e-4,
        np.array([0.0, 4e-4, 5e-4]),
        6e-4,
        7e-4,
        8e-4,
    )


def test_a_road_is_kept_whole(tmp_path: Path) -> None:
    """What is read is what was written, and the same road is the same bytes."""
    road = replace(make_road(), doubts=("others were at work",))
    road.save(tmp_path / "a.road.npz")
    read = Road.load(tmp_path / "a.road.npz")
    arrays = dict.fromkeys(("loads", "service_s", "resume_s", "warmth"), 0)
    assert {**vars(read), **arrays} == {**vars(road), **arrays}
    assert read.resume_s.tolist() == road.resume_s.tolist()
    assert read.loads[0].loop.tolist() == road.loads[0].loop.tolist()
    assert read.warmth.tolist() == road.warmth.tolist()
    assert read.service_s.tolist() == road.service_s.tolist()
    assert read.loads[0].outside_s.tolist() == road.loads[0].outside_s.tolist()
    read.save(tmp_path / "b.road.npz")
    assert (tmp_path / "a.road.npz").read_bytes() == (tmp_path / "b.road.npz").read_bytes()


def test_another_place_is_refused() -> None:
    """Another model, other hardware, another Ray or ingress, other batches or replicas: a road says nothing of them."""
    road = make_road()
    place: dict[str, Any] = {
        "variant": "m", "sha256": "ab", "hardware": MACHINE, "ray": "2.60.0", "ingress": "HAProxy", "batch": BatchPolicy(2, 0.005),
        "replicas": 1,
    }  # fmt: skip
    road.check(**place)
    other = {
        "sha256": "cd", "hardware": replace(MACHINE, cores=4.0), "ray": "2.61.0", "ingress": "Serve's own proxy",
        "batch": BatchPolicy(4, 0.005), "replicas": 2,
    }  # fmt: skip
    for name, each in other.items():
        with pytest.raises(DataError, match="was measured with another"):
            road.check(**place | {name: each})


def test_what_is_no_road_is_refused(tmp_path: Path) -> None:
    """A file that is missing or something else is named, with the way out."""
    with pytest.raises(DataError, match="is not a file"):
        Road.load(tmp_path / "none.road.npz")
    (tmp_path / "other.road.npz").write_bytes(b"other")
    with pytest.raises(DataError, match="is not a road"):
        Road.load(tmp_path / "other.road.npz")


def test_a_road_without_loads_or_sizes_is_none() -> None:
    """Nothing measured, sizes missing, loads out of order."""
    road = make_road()
    for wrong in (
        {"loads": ()},
        {"service_s": np.zeros(2)},
        {"resume_s": np.zeros(2)},
        {"resume_s": np.array([0.0, 0.1, -0.1])},
        {"loads": (replace(road.loads[0], rate_per_s=90.0), road.loads[0])},
        {"service_s": np.array([0.0, np.nan, 0.2])},
        {"capacity_per_s": 0.0},
        {"knock_s": -1.0},
        {"replicas": 0},
    ):
        with pytest.raises(DataError, match="calibrate it again"):
            replace(road, **wrong)


def test_a_load_without_times_is_none(tmp_path: Path) -> None:
    """Figures that are no numbers, and series that are empty, are refused; read from a file, the file is named."""
    road = make_road()
    for wrong in (
        {"stretch": np.nan},
        {"rate_per_s": 0.0},
        {"residuals": np.empty(0)},
        {"timer_s": np.array([np.inf])},
    ):
        with pytest.raises(DataError, match="is no s"):
            replace(road.loads[0], **wrong)
    object.__setattr__(road.loads[0], "outside_s", np.empty(0))
    road.save(tmp_path / "a.road.npz")
    with pytest.raises(DataError, match=r"a\.road\.npz: `outside_s` is no series of times"):
        Road.load(tmp_path / "a.road.npz")
