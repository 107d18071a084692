"""Locust's live page over all generators: a master in a process of its own, which they report to.

    python -P -m windtunnel.driving.page '{"port": 40001, "web": 40002, "generators": 2}'

It starts the one user of each generator when all have come, and says so on stdout; it ends with its stdin. What is pressed on the page
counts: stop ends the run.
"""

from __future__ import annotations

import json
import logging
import signal
import sys


def main() -> None:
    """Run the program."""
    import gevent
    from gevent.fileobject import FileObject
    from locust import User
    from locust.env import Environment
    from locust.stats import stats_history

    class RoadUser(User):
        """Runs in the generators; here it is only known by name."""

    orders = json.loads(sys.argv[1])
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    logging.basicConfig(level=logging.WARNING)
    environment = Environment(user_classes=[RoadUser])
    runner = environment.create_master_runner("127.0.0.1", orders["port"])
    environment.create_web_ui("127.0.0.1", orders["web"])
    gevent.spawn(stats_history, runner)
    sys.stdout.write(json.dumps({"listens": True}) + "\n")
    sys.stdout.flush()

    def start() -> None:
        while len(runner.clients.ready) < orders["generators"]:
            gevent.sleep(0.05)
        runner.start(orders["generators"], spawn_rate=100.0)

    gevent.spawn(start)
    for _ in FileObject(sys.stdin.fileno(), "rb", close=False):
        pass
    environment.web_ui.stop()  # type: ignore[union-attr]  # it was created above
    runner.quit()


if __name__ == "__main__":
    main()
