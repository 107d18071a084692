"""A generator of load: Locust in a process of its own, told by lines on stdin, telling by lines on stdout.

    python -P -m windtunnel.driving.generator FOLDER

    hears  {"do": "burst", "address": [HOST, PORT], "seconds": 1.0}    says  {"capacity_per_s": …}
    hears  {"do": "go", "start_s": …}                                  says  {"sent": …, "answered": …, …} twice a second,
    hears  {"do": "stop"}, or the end of its orders                          {"done": true, …} when FOLDER/log.npz is written

FOLDER holds `orders.json` and the arrays of a `Load`. A user of Locust's runs the course; its HTTP is geventhttpclient's parser on connections of our own: `FastHttpSession.request` costs
three times the CPU a request (132 µs against 43 µs, Locust 2.47 on one core), which the server's replicas would pay for here.
"""

from __future__ import annotations

import gc
import json
import logging
import math
import os
import resource
import shutil
import signal
import sys
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gevent
import numpy as np
from gevent.event import Event
from gevent.fileobject import FileObject

from windtunnel.driving.connections import Connections
from windtunnel.driving.course import Course, Load, Manners
from windtunnel.driving.seat import Seat

if TYPE_CHECKING:
    from collections.abc import Callable

AT_ONCE = 16
"""Requests under way in a burst: enough to keep a generator busy, few enough to need few connections."""

WARM_S = 0.2
"""The first part of a burst, which opens connections and is not counted."""

EVERY_S = 0.5
"""How often it says how far it is."""

LOOK_S = 0.1
"""How often it looks for the core with the least to do."""

SPARE_FILES = 64
"""Files that a process may need besides connections."""


class Generator:
    """What a process of load holds: its part of the load, and the course it is on.

    Args:
        folder: of its orders.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.orders: dict[str, Any] = json.loads((folder / "orders.json").read_text())
        self.load, self.manners = read_load(folder), Manners(**_unbounded(self.orders["manners"]))
        self.course: Course | None = None
        self.told: Callable[[str, float, int], None] | None = None
        self.started, self.finished = Event(), Event()
        self.start_s, self.realtime, self.failed = 0.0, False, False

    def burst(self, address: tuple[str, int], seconds: float) -> float:
        """Requests a second that it can make, in a closed loop with a server that does nothing."""
        few = self._few()
        course = Course(
            few, Manners(), Connections(address, 2 * AT_ONCE), at_once=AT_ONCE, told=self._told("burst before the run")
        )
        runs = gevent.spawn(course.run, time.monotonic())
        counts = []
        for wait_s in (WARM_S, seconds):
            gevent.sleep(wait_s)
            counts.append((time.monotonic(), course.answered))
        course.stop()
        runs.join()
        course.connections.close()
        (from_s, before), (until_s, after) = counts
        return (after - before) / (until_s - from_s)

    def _told(self, name: str) -> Callable[[float, int], None] | None:
        """Who hears of attempts, under that name; nobody where nobody watches."""
        return None if self.told is None else partial(self.told, name)

    def stop(self) -> None:
        """Send nothing more."""
        if self.course is not None:
            self.course.stop()

    def _few(self) -> Load:
        """So many requests as no burst uses up, all due at once, of the bodies of the load."""
        count = 200_000
        message = np.resize(self.load.message, count)
        never = np.full(count, math.inf)
        return Load(
            np.zeros(count), self.load.messages, message, never, np.ones((count, 1)), np.zeros(count, dtype=bool)
        )

    def run(self) -> None:
        """The course, once it is told to go; what became of it is left in the folder."""
        self.started.wait()
        address, most = self.orders["address"], files_for(self.orders["most_connections"])
        self.course = Course(
            self.load,
            self.manners,
            Connections(tuple(address), most),
            told=self._told("infer"),
            keep=self.orders["keep"],
        )
        beside = [gevent.spawn(self._tell, self.course)]
        beside += [gevent.spawn(self._sit)] if self.realtime and self.orders["alone"] else []
        self.course.run(self.start_s)
        gevent.killall(beside)
        self.course.connections.close()
        self._write(self.course, most)

    def _sit(self) -> None:
        seat = Seat()
        while True:
            gevent.sleep(LOOK_S)
            seat.change(LOOK_S)

    def _tell(self, course: Course) -> None:
        while True:
            gevent.sleep(EVERY_S)
            recent, course.latencies_s = sorted(course.latencies_s), []
            p50_s, p99_s = (recent[int(share * (len(recent) - 1))] if recent else None for share in (0.5, 0.99))
            say({
                "at_s": course.now_s(), "sent": course.next, "answered": course.answered, "lost": course.lost,
                "under_way": course.under_way, "p50_s": p50_s, "p99_s": p99_s, "recent": len(recent),
            })  # fmt: skip

    def _write(self, course: Course, most: int) -> None:
        begun = course.next
        columns = {name: each[:begun] for name, each in {**course.figures, **course.counts}.items()}
        np.savez(self.folder / "log.npz", **columns)  # type: ignore[arg-type]  # arrays by name
        kept = list(course.kept or ())
        np.savez(
            self.folder / "answers.npz", message=np.array([each[0] for each in kept], np.int32),
            json_bytes=np.array([each[1] for each in kept], np.int64), ends=np.cumsum([len(each[2]) for each in kept], dtype=np.int64),
            bodies=np.frombuffer(b"".join(each[2] for each in kept), np.uint8),
        )  # fmt: skip
        say({
            "done": True, "begun": begun, "ended_s": course.now_s(), "not_sent": course.not_sent, "most_connections": most,
            "opened": course.connections.opened, "gone_s": _known(course.gone_s), "stopped_s": _known(course.stopped_s),
            "cpu_s": time.process_time(), "realtime": self.realtime,
        })  # fmt: skip


def on_locust(generator: Generator) -> Any:
    """Locust's runner of one user, who takes the generator over its course and is done.

    Where the orders name a page (`windtunnel.driving.page`), this process is a worker of that master, which shows what is sent.
    Locust is imported here and not above, for it patches the sockets of the process that imports it.
    """
    from locust import User, task
    from locust.env import Environment
    from locust.exception import StopUser

    class RoadUser(User):
        """Who sends what is due until it is over, or until somebody stops it on Locust's page."""

        @task
        def drive(self) -> None:
            runs = gevent.spawn(generator.run)
            try:
                runs.join()
            finally:
                generator.stop()
                runs.join()
                generator.failed = not runs.successful()
                generator.finished.set()
            raise StopUser

    environment = Environment(user_classes=[RoadUser])
    if generator.orders["page"]:
        generator.told = partial(_tell_locust, environment.events.request.fire)
        return environment.create_worker_runner(*generator.orders["page"])
    runner = environment.create_local_runner()
    runner.start(1, spawn_rate=1)
    return runner


def _tell_locust(fire: Callable[..., None], name: str, span_s: float, status: int) -> None:
    wrong = None if 200 <= status < 300 else RuntimeError(f"answered with {status}" if status else "not answered")
    fire(
        request_type="POST", name=name, response_time=span_s * 1e3, response_length=0, exception=wrong, context={}, response=None,
        start_time=time.time() - span_s, url=name,
    )  # fmt: skip


def read_load(folder: Path) -> Load:
    """The load that lies in a folder; the messages are mapped, not read."""
    arrays = {name: np.load(folder / f"{name}.npy") for name in ("due_s", "message", "leaves_s", "back_off", "slow")}
    ends = np.load(folder / "ends.npy").tolist()
    whole = memoryview(np.load(folder / "messages.npy", mmap_mode="r"))
    starts = [0, *ends[:-1]]
    messages = [whole[start:end] for start, end in zip(starts, ends, strict=True)]
    return Load(arrays["due_s"], messages, arrays["message"], arrays["leaves_s"], arrays["back_off"], arrays["slow"])


def files_for(connections: int) -> int:
    """Let this process open so many connections; as many as the system lets it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = connections + SPARE_FILES
    if soft != resource.RLIM_INFINITY and soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return connections if soft == resource.RLIM_INFINITY else min(connections, soft - SPARE_FILES)


def _unbounded(manners: dict[str, Any]) -> dict[str, Any]:
    """JSON has no word for what has no bound: there it is null."""
    return {name: math.inf if value is None else value for name, value in manners.items()}


def go_first() -> bool:
    """Go before others who want the core, where the system lets us (root, or CAP_SYS_NICE); whether it does.

    A generator works for less than half of a core, a few dozen microseconds at a time. Beside a busy server on two cores one request in a hundred
    left 1 to 5 ms late without this, and 0.1 to 0.2 ms with it.
    """
    try:
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))
    except (AttributeError, OSError):
        return False
    return True


def _known(figure: float) -> float | None:
    return None if math.isnan(figure) else figure


def say(line: dict[str, Any]) -> None:
    """Tell whoever started it."""
    os.write(sys.stdout.fileno(), (json.dumps(line) + "\n").encode())


def heed(generator: Generator) -> None:
    """Do what is told, until the orders end."""
    for line in FileObject(sys.stdin.fileno(), "rb", close=False):
        order = json.loads(line)
        if order["do"] == "burst":
            say({"capacity_per_s": generator.burst(tuple(order["address"]), order["seconds"])})
        elif order["do"] == "go":
            generator.start_s = order["start_s"]
            generator.started.set()
        else:
            generator.stop()
            return
    # who started it is gone, or has had enough: what lies in the folder, tokens too, is nobody's now
    shutil.rmtree(generator.folder, ignore_errors=True)
    os._exit(0)


def main() -> None:
    """Run the program."""
    # Ctrl-C reaches every process of the terminal; this one is told to stop by who started it
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    logging.basicConfig(level=logging.WARNING)
    generator = Generator(Path(sys.argv[1]))
    runner = on_locust(generator)
    gc.collect()
    gc.freeze()
    orders = gevent.spawn(heed, generator)
    generator.realtime = go_first()
    say({"ready": True})
    generator.finished.wait()
    orders.kill()
    runner.quit()
    if generator.failed:
        raise SystemExit(1)  # gevent has said why


if __name__ == "__main__":
    main()
