"""An Alarm: it wakes a greenlet at an instant, and not up to a millisecond later."""

from __future__ import annotations

import ctypes
import os
import sys
import time

import gevent
from gevent.hub import get_hub

CLOCK_MONOTONIC, TFD_NONBLOCK, TFD_CLOEXEC, ABSOLUTE = 1, 0o4000, 0o2000000, 1


class _Span(ctypes.Structure):
    """`struct itimerspec` of timerfd_settime(2): an interval, which is none, and an instant."""

    _fields_ = (
        ("interval_s", ctypes.c_long),
        ("interval_ns", ctypes.c_long),
        ("value_s", ctypes.c_long),
        ("value_ns", ctypes.c_long),
    )


class Alarm:
    """Waits until an instant of `time.monotonic`.

    gevent's timers are libev's, and libev waits in whole milliseconds, rounded up (`ev_epoll.c`, `ev_linuxaio.c`: `timeout * 1e3`),
    so a request would leave half a millisecond late on average. A `timerfd` of the kernel wakes the same loop on time. Where there
    is none (not Linux) gevent's own timer stands in.
    """

    def __init__(self) -> None:
        self._file = -1
        if sys.platform == "linux":
            self._libc = ctypes.CDLL(None, use_errno=True)
            self._file = self._libc.timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC)
        if self._file >= 0:
            self._watcher = get_hub().loop.io(self._file, 1)
            # before answers that came at the same moment
            self._watcher.priority = 2

    def wait(self, until_s: float) -> None:
        """Let others run until then."""
        left_s = until_s - time.monotonic()
        if left_s <= 0.0:
            return
        if self._file < 0:
            gevent.sleep(left_s)
            return
        whole = int(until_s)
        span = _Span(0, 0, whole, max(1, int((until_s - whole) * 1e9)))
        self._libc.timerfd_settime(self._file, ABSOLUTE, ctypes.byref(span), None)
        get_hub().wait(self._watcher)
        os.read(self._file, 8)

    def close(self) -> None:
        """Give the timer back."""
        if self._file >= 0:
            self._watcher.close()
            os.close(self._file)
