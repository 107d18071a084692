from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from windtunnel.simulate.formats import Ask, read

if TYPE_CHECKING:
    from .conftest import Write

START = '1.2.3.4 - ann [10/Oct/2023:13:55:{:02d} +0200] "POST /v1/predict?q=\\"x\\" HTTP/1.1" 200 {}'
AGENT = ' "https://a.b/[c]" "curl/8 (a \\"b\\")"'


def _lines(*tails: str, agent: str = AGENT) -> str:
    return "".join(START.format(36 + 2 * n, 100 + n) + agent + tail + "\n" for n, tail in enumerate(tails))


def test_nginx_subtracts_the_request_time(write: Write) -> None:
    """Nginx stamps the end: with $msec and $request_time behind the line, the arrival is exact to the millisecond."""
    reading = read(
        write(_lines(" 1700000010.500 0.500", " 1700000011.000 2.250", " 1700000012.750 0.000"), "ACCESS.LOG.GZ")
    )

    assert reading.format == "access-log"
    assert np.allclose([0.0, 1.25, 4.0], reading.trace.arrivals_s, atol=1e-6)
    assert reading.trace.columns["duration_s"].tolist() == [2.25, 0.5, 0.0]
    assert reading.trace.columns["bytes"].tolist() == [101, 100, 102]
    assert "durations were read in s, stamps as marking the end of a request" in reading.warnings


def test_msec_in_the_brackets(write: Write) -> None:
    """A log that was set up with [$msec] for the time is read as exactly."""
    lines = "".join(
        f'1.2.3.4 - - [{t}] "GET / HTTP/2.0" 200 5 "-" "-" rt=0.250\n' for t in ("1700000000.123", "1700000001.623")
    )
    reading = read(write(lines))

    assert np.allclose([0.0, 1.5], reading.trace.arrivals_s, atol=1e-6)
    assert reading.noticed == {}


@pytest.mark.parametrize("tail", [" 1.500", ' "1.500"', " rt=1.500 uct=0.001", ' request_time="1.5"', " 1.500 1.499"])
def test_whole_seconds_are_spread_before_the_duration_is_subtracted(write: Write, tail: str) -> None:
    """`$time_local` is the second of the end: the end lies in it, and the arrival its duration earlier."""
    reading = read(write(_lines(tail, tail, tail)))
    steps = np.diff(reading.trace.arrivals_s)

    assert reading.trace.columns["duration_s"].tolist() == [1.5] * 3
    assert np.all((steps > 1.0) & (steps < 3.0))
    assert np.any(steps != 2.0)
    assert reading.noticed == {"spread": 3}
    assert "stamps as marking the end" in reading.warnings[0]


@pytest.mark.parametrize("tail", [" 1500000", " 1/1500000"])
def test_apache_stamps_the_start(write: Write, tail: str) -> None:
    """Apache's %D is in microseconds and its stamp the time of receipt: nothing is subtracted, unless it is said."""
    path = write(_lines(tail, " 0" if tail == " 1500000" else " 0/0", tail))
    even = Ask(spread="even")
    reading = read(path, even)

    assert reading.trace.columns["duration_s"].tolist() == [1.5, 0.0, 1.5]
    assert reading.trace.arrivals_s.tolist() == [0.0, 2.0, 4.0]
    assert "durations were read in us, stamps as marking the start of a request" in reading.warnings
    assert read(path, Ask(spread="even", stamped="end")).trace.arrivals_s.tolist() == [0.0, 3.5, 4.0]


def test_common_log_without_a_duration(write: Write) -> None:
    """Without a duration nothing can be subtracted, and the reader says what that means for nginx's logs."""
    reading = read(write(_lines("", "", "", agent="")), Ask(spread="even"))

    assert reading.trace.arrivals_s.tolist() == [0.0, 2.0, 4.0]
    assert any("there is no duration in the log" in each for each in reading.warnings)


def test_lines_that_are_none(write: Write) -> None:
    """What is no line of the log, a half line at the end included, is counted and left out."""
    reading = read(
        write(_lines(" 0.100", " 0.100", " 0.100") + "\n\x16\x03\x01 not http\n" + "1.2.3.4 - - [10/Oct/2023:13:5")
    )

    assert reading.skipped == {"line_unreadable": 2}
    assert len(reading.trace) == 3


ENVOY = '[2024-05-01T10:00:{}Z] "POST /v1/models/m:predict HTTP/1.1" 200 -{} 512 {} {} 11 "10.0.0.1" "curl/8" "id-{}" "a.b" "10.0.0.2:80"\n'


@pytest.mark.parametrize("extra", ["", ' via_upstream - "-"'])
def test_envoy_stamps_the_start(write: Write, extra: str) -> None:
    """Envoy's %START_TIME% is the start though the line is written at the end: nothing is subtracted, unless it is said."""
    path = write("".join(ENVOY.format(f"0{n}.{250 * n:03d}", extra, 100 + n, 1000 - 500 * n, n) for n in range(3)))
    reading = read(path)

    assert reading.format == "envoy"
    assert reading.trace.arrivals_s.tolist() == [0.0, 1.25, 2.5]
    assert reading.trace.columns["duration_s"].tolist() == [1.0, 0.5, 0.0]
    assert reading.trace.columns["bytes"].tolist() == [100, 101, 102]
    assert read(path, Ask(stamped="end")).trace.arrivals_s.tolist() == [0.0, 1.75, 3.5]


def test_envoy_counts_what_it_cannot_read(write: Write) -> None:
    """A line of another kind in the log is counted."""
    good = "".join(ENVOY.format(f"0{n}.500", "", 1, 2, n) for n in range(3))

    assert read(write(good + "[2024-05-01 10:00:05][warning] upstream\n")).skipped == {"line_unreadable": 1}
