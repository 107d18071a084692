"""The road: the same traffic and clients as in the tunnel, against a server that is there.

`Target` says whom, `Schedule` when, `Bodies` what; `drive` sends it from processes of their own (`windtunnel.driving`, Locust) and gives
a `LiveRun`: a `RequestLog` as the tunnel writes one, where the time went as far as the server tells, and whether the generators were fast
enough for all that to be believed.
"""

from __future__ import annotations

from .bodies import Bodies
from .drive import drive
from .flown import flown
from .live_run import LiveRun
from .schedule import Schedule, peak_per_s
from .screen import screen
from .section import draw_live
from .slow import Slow
from .target import Target

__all__ = ["Bodies", "LiveRun", "Schedule", "Slow", "Target", "draw_live", "drive", "flown", "peak_per_s", "screen"]
