"""The server: Ray Serve on loopback, or elsewhere with a token, until it is told to stop."""

from __future__ import annotations

import contextlib
import http.client
import io
import ipaddress
import logging
import os
import shutil
import signal
import socket
import tempfile
import threading
import time
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from windtunnel.errors import ConfigError, MissingError, ModelError
from windtunnel.serving.bearer import read_token
from windtunnel.serving.company import QUIET, seated
from windtunnel.serving.ingress import HELD_BYTES, drain, prepare
from windtunnel.serving.limits import Limits
from windtunnel.serving.meter import in_flight
from windtunnel.serving.protocol import served_name
from windtunnel.session import first_line

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from windtunnel.deployment import Deployment
    from windtunnel.serving.company import Company, Seat
    from windtunnel.variant import Variant


LOOPBACK = "127.0.0.1"

STARTING_S = 30.0
"""So long the ingress may take to find the replicas."""


@dataclass(frozen=True)
class Options:
    """Where and what a server takes.

    Args:
        port: of the address; 0 for one that is free.
        host: an address of this machine; another than loopback needs a token.
        token_file: holds the token that requests must carry.
        limits: what is taken of strangers.
        max_ongoing: requests that a replica takes on at once; 0 for two batches, and at least 16.
        drain_s: how long what is in flight may take when the server is told to stop.

    Raises:
        ConfigError: an address that others can reach, and no token.
    """

    port: int = 8000
    host: str = LOOPBACK
    token_file: Path | None = None
    limits: Limits = field(default_factory=Limits)
    max_ongoing: int = 0
    drain_s: float = 30.0

    def __post_init__(self) -> None:
        if not self.is_loopback and self.token_file is None:
            raise ConfigError(
                "can be reached by others, and would answer everybody", field="--host", value=self.host,
                fix="give --token-file, or leave --host out",
            )  # fmt: skip

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach the address.

        Example:
            >>> Options().is_loopback, Options(host="::1").is_loopback
            (True, True)
        """
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError as error:
            raise ConfigError(
                "is not an address", field="--host", value=self.host, fix="give 127.0.0.1 or this machine's own"
            ) from error


def serve_until_interrupted(
    variant: Variant,
    deployment: Deployment,
    options: Options,
    *,
    ready: Callable[[str, tuple[str, ...]], None],
    company: Company | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> int:
    """Serve a model until Ctrl-C or SIGTERM; then answer what is in flight and leave nothing running.

    Args:
        variant: the model.
        deployment: how many sessions serve, and how they batch; they scale where it has `most`.
        options: where, and what is taken.
        ready: called with the model's address, and with what is to be said of it, once requests are answered.
        company: who is beside the model: a canary, a shadow, a log.
        say: told what these have to say later.

    Returns:
        How many requests had no answer yet when the time for that was over.

    Raises:
        ConfigError: the port is taken, the address is not this machine's, or the token cannot be used.
        MissingError: Ray cannot be started.
    """
    token = read_token(options.token_file) if options.token_file else ""
    port = free_port(options.host, options.port)
    with _Stop() as stop, _folder() as folder:
        environment, why_not = prepare(folder, options.limits.body_s, addresses(options.host, port))
        os.environ.update(environment)
        notes = [] if not why_not else [f"without HAProxy, many times slower for small models: {why_not}"]
        limits = replace(options.limits, held_bytes=0 if why_not else HELD_BYTES)
        options = replace(options, limits=limits)
        if not options.is_loopback:
            notes.append(f"others can reach {options.host}: requests must carry the token of {options.token_file}")
        side = nullcontext() if company is None else seated(company, deployment, port, say)
        # behind HAProxy nobody but it reaches the replicas
        inner = options.host if why_not else LOOPBACK
        with _running(
            variant, deployment, options, inner=inner, port=port, token=token, folder=folder, stop=stop, side=side
        ):
            ready(f"http://{_bracketed(options.host)}:{port}/v2/models/{served_name(variant)}", tuple(notes))
            stop.wait()
            until_s = time.monotonic() + options.drain_s
            drain(folder, until_s)
            _await(lambda: not in_flight(folder), until_s)
            left = in_flight(folder)
    return left


class _Stop:
    """Waits for SIGTERM or SIGINT; neither breaks into starting or stopping, which ends as it should."""

    def __enter__(self) -> Self:
        self._asked = threading.Event()
        self._usual = {each: signal.getsignal(each) for each in (signal.SIGTERM, signal.SIGINT)}
        self.listen()
        return self

    def listen(self) -> None:
        """Take both signals, whoever took them before."""
        for each in self._usual:
            signal.signal(each, lambda *_: self._asked.set())

    def wait(self) -> None:
        """Return once it is asked for."""
        self._asked.wait()

    def __exit__(self, *_: object) -> None:
        for each, handler in self._usual.items():
            signal.signal(each, handler)


@contextmanager
def _folder() -> Iterator[Path]:
    """A folder that only this user may enter, gone afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="windtunnel-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)  # HAProxy may be writing its last line


@contextmanager
def _running(
    variant: Variant,
    deployment: Deployment,
    options: Options,
    *,
    inner: str,
    port: int,
    token: str,
    folder: Path,
    stop: _Stop,
    side: AbstractContextManager[Seat | None],
) -> Iterator[None]:
    import ray
    from ray import serve

    from windtunnel.serving.app import build_app

    logging.getLogger("ray.serve").setLevel(logging.ERROR)  # what it starts and connects to is ours to tell
    quiet: dict[str, Any] = {"logging_config": QUIET}
    _start_ray(ray, max(deployment.replicas, deployment.most) + 2)
    stop.listen()  # Ray put handlers of its own in place
    try:
        serve.start(http_options={"host": inner, "port": port}, **quiet)
        with side as seat:
            app = build_app(
                variant, deployment.batch, deployment.replicas, most=deployment.most, max_ongoing=options.max_ongoing,
                limits=options.limits, token=token, meters=folder, seat=seat,
            )  # fmt: skip
            try:
                serve.run(app, name=served_name(variant), route_prefix="/", **quiet)
            except RuntimeError as error:  # what Serve raises where no replica would start
                raise ModelError(f"cannot be served ({first_line(error)})", file=variant.path) from error
            if not _await(lambda: _answers(options.host, port), time.monotonic() + STARTING_S):
                raise MissingError(f"nothing answers at {options.host}:{port}, though Ray Serve says that it runs")
            yield
    finally:
        # Serve ends its controller while that is still answering, and Ray prints that as an error
        with contextlib.redirect_stdout(io.StringIO()):
            serve.shutdown()  # type: ignore[no-untyped-call]  # ray
            ray.shutdown()


def _start_ray(ray: Any, cpus: int) -> None:
    # its news (started, connecting, ready) is ours to tell, or not
    logging.getLogger("ray").setLevel(logging.ERROR)
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    ray.init(
        "local", include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR, num_cpus=cpus,
        _node_ip_address=LOOPBACK,
    )  # fmt: skip


def free_port(host: str, port: int) -> int:
    """The port, or a free one where it is 0; said before Ray is started, which would say it in a page.

    Raises:
        ConfigError: taken, not allowed, or the address is not this machine's.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as held:
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # one that closed a moment ago is free
        try:
            held.bind((host, port))
            held.listen()
        except OSError as error:
            raise ConfigError(
                f"cannot be listened on ({error.strerror})", field="--port", value=f"{host}:{port}", fix="give another"
            ) from error
        return int(held.getsockname()[1])


def addresses(host: str, port: int) -> list[str]:
    """Where HAProxy listens: where it was asked to, and on loopback, where Ray looks after it.

    Example:
        >>> addresses("127.0.0.1", 80), addresses("0.0.0.0", 80), addresses("::1", 80)
        (['127.0.0.1:80'], ['0.0.0.0:80'], ['[::1]:80', '127.0.0.1:80'])
    """
    every = {LOOPBACK, "0.0.0.0", "::"}  # noqa: S104  # compared, not listened on
    return [f"{each}:{port}" for each in (_bracketed(host), *([] if host in every else [LOOPBACK]))]


def _answers(host: str, port: int) -> bool:
    """Whether requests find their way to a replica."""
    own = {"0.0.0.0": LOOPBACK, "::": "::1"}.get(host, host)  # noqa: S104  # compared, not listened on
    asked = http.client.HTTPConnection(own, port, timeout=5.0)
    try:
        asked.request("GET", "/v2/health/ready")
        return asked.getresponse().status == http.HTTPStatus.OK
    except (OSError, http.client.HTTPException):  # it is not there yet
        return False
    finally:
        asked.close()


def _await(what: Callable[[], bool], until_s: float) -> bool:
    """Whether something has come about before a time on the monotonic clock."""
    while not (come := what()) and time.monotonic() < until_s:
        time.sleep(0.02)  # an address, and counts in files: neither can be waited for, only looked at
    return come


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host
