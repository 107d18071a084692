"""The noun that keeps a road's stations."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from windtunnel.deployment import BatchPolicy
from windtunnel.errors import DataError
from windtunnel.hardware import Hardware
from windtunnel.road import Loaded, Road

if TYPE_CHECKING:
    from pathlib import Path

MACHINE = Hardware("a CPU", "x86_64", (), 2.0, 2**32)


def make_road() -> Road:
    """A road."""
    load = Loaded(50.0, 1.0, np.ones(3), np.full(4, 0.001), np.zeros(2))
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
        (load,),
        1e-4,
        2e-4,
        3e-4,
        4e-4,
        5e-4,
        6e-4,
        7e-4,
        8e-4,
    )


def test_a_road_is_kept_whole(tmp_path: Path) -> None:
    """What is read is what was written, and the same road is the same bytes."""
    road = make_road()
    road.save(tmp_path / "a.road.npz")
    read = Road.load(tmp_path / "a.road.npz")
    assert {**vars(read), "loads": 0, "service_s": 0} == {**vars(road), "loads": 0, "service_s": 0}
    assert read.service_s.tolist() == road.service_s.tolist()
    assert read.loads[0].outside_s.tolist() == road.loads[0].outside_s.tolist()
    read.save(tmp_path / "b.road.npz")
    assert (tmp_path / "a.road.npz").read_bytes() == (tmp_path / "b.road.npz").read_bytes()


def test_another_place_is_refused() -> None:
    """Other hardware, another Ray, other batches or replicas: a road says nothing of them."""
    road, place = make_road(), (MACHINE, "2.60.0", BatchPolicy(2, 0.005), 1)
    road.check(*place)
    other = (replace(MACHINE, cores=4.0), "2.61.0", BatchPolicy(4, 0.005), 2)
    for at, each in enumerate(other):
        with pytest.raises(DataError, match="was measured with another"):
            road.check(*(each if at == index else same for index, same in enumerate(place)))  # type: ignore[arg-type]  # by position


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
        {"loads": (replace(road.loads[0], rate_per_s=90.0), road.loads[0])},
    ):
        with pytest.raises(DataError):
            replace(road, **wrong)
