"""HAProxy's wrapper: what Ray Serve leaves open is closed, and nothing else is touched."""

from __future__ import annotations

import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from windtunnel.serving import ingress

if TYPE_CHECKING:
    from pathlib import Path

CONFIGURATION = """\
global
    log 127.0.0.1:514 local0 info
    stats socket /somewhere mode 666
defaults
    mode http
    option log-health-checks
    option httplog
frontend prometheus
    bind :9101
    mode http
frontend http_frontend
    bind *:8000
listen stats
  bind *:8404
"""


def test_what_the_wrapper_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Statistics are bound to loopback, logs go nowhere, trickling is given up; the address that was asked for stays."""
    monkeypatch.setattr(ingress, "find_haproxy", lambda: ("/bin/echo", ""))
    environment, why = ingress.prepare(tmp_path, body_s=7.0)
    path = tmp_path / "haproxy.cfg"
    path.write_text(CONFIGURATION)
    ran = subprocess.run(
        [environment["RAY_SERVE_HAPROXY_BINARY_PATH"], "-db", "-f", str(path), "-sf", "1"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    lines = path.read_text().splitlines()

    assert (why, ran.stdout) == ("", f"-db -f {path} -sf 1\n")
    assert [line.strip() for line in lines if "bind" in line] == [
        "bind 127.0.0.1:9101",
        "bind *:8000",
        "bind 127.0.0.1:8404",
    ]
    assert not [line for line in lines if "log" in line]
    assert lines.count("    timeout http-request 7s") == lines.count("    option http-buffer-request") == 1
    at = lines.index("    bind *:8000")
    assert [each.split(" if {")[0] for each in lines[at + 1 : at + 6]] == [
        "    http-request deny deny_status 400",
        "    http-request deny deny_status 404",
        "    http-request del-header Upgrade",
        "    http-request set-header X-Request-Disconnect-Disabled ?1",
        "    http-request set-header X-Request-Id %[uuid] unless { req.hdr(x-request-id) -m found }",
    ]
    assert lines[at + 1].endswith(r"traceparent|tracestate):.*[\x80-\xff] }")
    assert sum("http-request deny" in line for line in lines) == 2


def test_it_listens_where_it_is_asked_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray has the replicas on loopback; HAProxy's own address is another, also where that has slashes or brackets for sed."""
    monkeypatch.setattr(ingress, "find_haproxy", lambda: ("/bin/echo", ""))
    wrapper = ingress.prepare(tmp_path, 7.0, ["[::1]:8000", "127.0.0.1:8000"])[0]["RAY_SERVE_HAPROXY_BINARY_PATH"]
    path = tmp_path / "haproxy.cfg"
    path.write_text(CONFIGURATION)
    subprocess.run([wrapper, "-f", str(path)], capture_output=True, check=True)
    lines = path.read_text().splitlines()
    at = lines.index("frontend http_frontend")

    assert lines[at + 1 : at + 3] == ["    bind [::1]:8000", "    bind 127.0.0.1:8000"]
    assert sum("http-request deny" in line for line in lines) == 2


def test_each_server_has_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two servers on a machine share neither folder nor port."""
    monkeypatch.setattr(ingress, "find_haproxy", lambda: ("/bin/echo", ""))
    folders = [tmp_path / "a", tmp_path / "b"]
    for folder in folders:
        folder.mkdir()
    first, second = ({**ingress.prepare(folder, 1.0)[0]} for folder in folders)
    own = [key for key in first if key.endswith(("_PATH", "_LOC", "_BASE", "_FILE", "_PORT"))]

    assert len(own) == 9
    assert not [key for key in own if first[key] == second[key]]


@pytest.mark.parametrize(
    ("setting", "platform", "why"),
    [("0", "linux", "RAY_SERVE_ENABLE_HA_PROXY=0 says so"), ("1", "darwin", "not to be had for darwin")],
)
def test_where_it_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, setting: str, platform: str, why: str
) -> None:
    """Where it was switched off or cannot be had, Ray's own proxy is asked for, and why is told."""
    monkeypatch.setenv("RAY_SERVE_ENABLE_HA_PROXY", setting)
    monkeypatch.setattr(sys, "platform", platform)
    environment, told = ingress.prepare(tmp_path, 1.0)

    assert environment["RAY_SERVE_ENABLE_HA_PROXY"] == "0"
    assert why in told


def test_draining_ends_its_own_processes_only(tmp_path: Path) -> None:
    """A process with a configuration in the folder is asked to end; one with another's goes on."""
    ours, other = tmp_path / "ours", tmp_path / "other"
    running = []
    for folder in (ours, other):
        folder.mkdir()
        code = "import sys; print(flush=True); sys.stdin.read()"
        words = [sys.executable, "-c", code, "-f", str(folder / "haproxy.cfg")]
        process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert process.stdout is not None
        process.stdout.readline()
        running.append(process)
    ended, goes_on = running
    ingress.drain(ours, time.monotonic())

    assert ended.wait(20) == -10  # SIGUSR1, on which HAProxy stops softly
    assert goes_on.poll() is None
    goes_on.communicate()
    ended.communicate()
