"""Other servers of the Open Inference Protocol, each in an environment of its own: their pins and ours do not agree.

    python -m tests.conformance.other_servers install [triton] [mlserver]

They lie under the user's cache folder (`XDG_CACHE_HOME`, else `~/.cache`), a folder a version. Triton is the protocol's first
implementation (2.51.0 comes with nvidia-pytriton 0.7.0: Linux on x86-64 with glibc 2.35 or newer, 110 MB); MLServer is Seldon's,
in Python, and speaks JSON alone. Tests skip those that are not installed.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import tempfile
import time
import venv
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from windtunnel.errors import MeasurementError
from windtunnel.serving.remote import Address, Connection, place
from windtunnel.serving.tensor_data import DATATYPES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

HERE = Path(__file__).parent / "servers"

MODEL = "every"
"""What the model is called everywhere: it gives back what it is given, a tensor of two numbers a row for each datatype."""

READY_S = 90.0
"""How long a server may take to be ready."""


@dataclass(frozen=True)
class Environment:
    """A virtual environment of its own.

    Args:
        name: of the folder.
        packages: what is installed, pinned.
    """

    name: str
    packages: tuple[str, ...]

    @property
    def folder(self) -> Path:
        """Where it lies: another version is another folder."""
        cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "windtunnel" / "servers"
        pins = "-".join(package.partition("[")[0].replace("==", "-") for package in self.packages[:1])
        return cache / f"{pins}-python{sys.version_info.major}.{sys.version_info.minor}"

    @property
    def python(self) -> Path:
        """Its interpreter."""
        return self.folder / "bin" / "python"

    @property
    def ready(self) -> bool:
        """Whether it was installed to the end."""
        return (self.folder / "ready").is_file()

    def install(self) -> None:
        """Make it, unless it is there.

        Raises:
            CalledProcessError: a package cannot be had.
        """
        if self.ready:
            return
        shutil.rmtree(self.folder, ignore_errors=True)
        venv.create(self.folder, with_pip=True)
        subprocess.run(
            [self.python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *self.packages], check=True
        )
        (self.folder / "ready").touch()


TRITON = Environment("triton", ("nvidia-pytriton==0.7.0",))
MLSERVER = Environment("mlserver", ("mlserver==1.7.1",))
ENVIRONMENTS = {each.name: each for each in (TRITON, MLSERVER)}


def free_port() -> int:
    """A port of this machine that nobody listens at."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def triton() -> Iterator[Address]:
    """Triton with the model, on loopback."""
    port = free_port()
    # its stub links the interpreter's library, and would take that of another installation
    libraries = os.pathsep.join(filter(None, (sysconfig.get_config_var("LIBDIR"), os.environ.get("LD_LIBRARY_PATH"))))
    command = [str(TRITON.python), str(HERE / "triton_every.py"), str(port), json.dumps(DATATYPES)]
    with (
        tempfile.TemporaryDirectory() as home,
        running(command, port, Path(home), {"LD_LIBRARY_PATH": libraries, "PYTRITON_HOME": home}) as address,
    ):
        yield address


@contextlib.contextmanager
def mlserver() -> Iterator[Address]:
    """MLServer with the model, on loopback."""
    port, tensors = free_port(), {}
    for side in ("in", "out"):
        tensors[f"{side}puts"] = [
            {"name": f"{side}_{name}", "datatype": name, "shape": [-1, 2]} for name in DATATYPES if name != "FP16"
        ]
    server = {
        "host": "127.0.0.1", "http_port": port, "grpc_port": free_port(), "metrics_endpoint": None, "parallel_workers": 0,
    }  # fmt: skip
    with tempfile.TemporaryDirectory() as home:
        shutil.copy(HERE / "mlserver_every" / "every.py", home)
        model = {"name": MODEL, "implementation": "every.Every", **tensors}
        for name, settings in (("settings", server), ("model-settings", model)):
            (Path(home) / f"{name}.json").write_text(json.dumps(settings))
        with running([str(MLSERVER.python.with_name("mlserver")), "start", home], port, Path(home), {}) as address:
            yield address


STARTS: dict[str, Callable[[], contextlib.AbstractContextManager[Address]]] = {"triton": triton, "mlserver": mlserver}


@contextlib.contextmanager
def running(
    command: Sequence[str], port: int, home: Path, more: dict[str, str], model: str = MODEL
) -> Iterator[Address]:
    """A server in a process group of its own, until it has ended.

    Raises:
        MeasurementError: it ends before it is ready, or is not ready in time; with what it said last.
    """
    said = home / "said.txt"
    with said.open("wb") as notes:
        process = subprocess.Popen(
            command, stdout=notes, stderr=subprocess.STDOUT, cwd=home, env=os.environ | more, start_new_session=True
        )
    try:
        address = Address("127.0.0.1", port)
        _await(address, model, process, said)
        yield address
    finally:
        _stop(process)


def _await(address: Address, model: str, process: subprocess.Popen[bytes], said: Path) -> None:
    deadline = time.monotonic() + READY_S
    while not _is_ready(address, model):
        if process.poll() is not None or time.monotonic() > deadline:
            raise MeasurementError(f"{process.args!r} is not ready: {said.read_text(errors='replace')[-2000:]}")
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(0.1)


def _is_ready(address: Address, model: str) -> bool:
    with Connection(address, patience_s=5.0) as connection:
        try:
            return connection.ask("GET", f"{place(model)}/ready").status == 200
        except OSError:
            return False


def _stop(process: subprocess.Popen[bytes]) -> None:
    """Ask the server to go; then end what is left of its group."""
    process.send_signal(signal.SIGINT)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(20.0)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def main() -> None:
    """Install what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("order", choices=["install"])
    parser.add_argument("names", nargs="*", choices=[*ENVIRONMENTS, []], help="both where none is named")
    asked = parser.parse_args()
    for name in asked.names or list(ENVIRONMENTS):
        started = time.monotonic()
        ENVIRONMENTS[name].install()
        print(f"{name}: {ENVIRONMENTS[name].folder} ({time.monotonic() - started:.0f} s)")  # noqa: T201  # a script


if __name__ == "__main__":
    main()
