"""What replicas count: added up over files, told as Prometheus has it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from windtunnel.serving.meter import Meter, expose, in_flight, read_numbers

if TYPE_CHECKING:
    from pathlib import Path


def _told(meters: Path) -> dict[str, str]:
    lines = expose(read_numbers(meters)).splitlines()
    return dict(line.rsplit(" ", 1) for line in lines if not line.startswith("#"))


def test_replicas_are_added_up(tmp_path: Path) -> None:
    """Whoever is asked tells of all: counters and histograms are sums over the files; other files are let alone."""
    one, two = Meter(tmp_path / "a.meter"), Meter(tmp_path / "b.meter")
    (tmp_path / "half.meter").write_bytes(b"\0" * 7)
    for meter, value in ((one, 0.003), (two, 0.2), (two, 99.0)):
        meter.answered(200)
        meter.observe("queue_seconds", value)
    told = _told(tmp_path)

    assert told['windtunnel_requests_total{code="200"}'] == "3"
    assert told['windtunnel_queue_seconds_bucket{le="0.005"}'] == "1"
    assert told['windtunnel_queue_seconds_bucket{le="0.25"}'] == "2"
    assert told['windtunnel_queue_seconds_bucket{le="10"}'] == "2"
    assert told['windtunnel_queue_seconds_bucket{le="+Inf"}'] == told["windtunnel_queue_seconds_count"] == "3"
    assert float(told["windtunnel_queue_seconds_sum"]) == 0.003 + 0.2 + 99.0


def test_a_bound_holds_what_is_equal_to_it() -> None:
    """Prometheus' buckets are "less or equal"."""
    meter = Meter()
    meter.observe("batch_requests", 8.0)

    assert 'windtunnel_batch_requests_bucket{le="8"} 1' in expose([meter.numbers]).splitlines()
    assert 'windtunnel_batch_requests_bucket{le="4"} 0' in expose([meter.numbers]).splitlines()


def test_what_a_dead_replica_leaves(tmp_path: Path) -> None:
    """Counts of a replica that is gone remain; what it had in flight is nobody's."""
    gone, here = Meter(tmp_path / "gone.meter"), Meter(tmp_path / "here.meter")
    for meter in (gone, here):
        meter.add("in_flight")
        meter.answered(500)
    gone.close()

    assert in_flight(tmp_path) == 1
    assert _told(tmp_path)['windtunnel_requests_total{code="500"}'] == "2"


def test_every_family_is_described(tmp_path: Path) -> None:
    """Each metric has its help and its type once, before its numbers."""
    Meter(tmp_path / "a.meter")
    lines = expose(read_numbers(tmp_path)).splitlines()
    types = [line.split()[2] for line in lines if line.startswith("# TYPE")]

    assert len(types) == len(set(types))
    assert [line.split()[2] for line in lines if line.startswith("# HELP")] == types
