"""A run folder: what ran, from what, with what result, so that it can be continued, believed and checked.

    RUN/manifest.json             the run: digests of each stage's manifest and of the files beside it, sealed by its own digest
    RUN/<stage>/manifest.json     the stage: key, parameters, inputs, outputs, versions, hardware, seconds, verdict
    RUN/<stage>/…                 its outputs
    RUN/.work-<stage>-<key>/      a stage under way; an interrupted one is continued here

A stage's *key* is the digest of everything its result depends on. A stage whose key is already there, and whose outputs
are intact, is not run again.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import platform
import shutil
from dataclasses import asdict, dataclass, field
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from windtunnel.digest import canonical_json, digest_file, digest_value, write_atomically
from windtunnel.errors import RunFolderError, WindtunnelError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

SCHEMA = "windtunnel.manifest/1"
MANIFEST = "manifest.json"
PACKAGES = (
    "torch",
    "onnx",
    "onnxscript",
    "onnxruntime",
    "onnxruntime-gpu",
    "tensorrt",
    "openvino",
    "nncf",
    "numpy",
    "scipy",
    "scikit-learn",
    "polars",
    "numba",
    "ray",
)
"""Packages whose version can change a result."""


@dataclass(frozen=True)
class RunManifest:
    """What ran.

    Args:
        stage: its name, or `run` for the whole.
        name: of the pipeline.
        key: the digest of everything the result depends on.
        parameters: what was asked for.
        seed: the root of all streams of chance.
        inputs: digests by name.
        outputs: digests by path, relative to the manifest.
        environment: versions of Python, windtunnel and the packages that matter.
        hardware: what it ran on.
        started_at: UTC.
        seconds: how long it took.
        verdict: what it ended in, or None while it is under way.
    """

    stage: str
    name: str
    key: str
    parameters: dict[str, Any]
    seed: int
    inputs: dict[str, str]
    outputs: dict[str, str]
    environment: dict[str, str]
    hardware: dict[str, Any]
    started_at: str
    seconds: float
    verdict: dict[str, Any] | None = None
    schema: str = field(default=SCHEMA)

    def to_bytes(self) -> bytes:
        """The manifest as a file, sealed: its last word is the digest of the rest."""
        body = asdict(self)
        return canonical_json({**body, "seal": digest_value(body)}).encode()

    @staticmethod
    def from_file(path: Path) -> RunManifest:
        """Read a manifest and check its seal.

        Raises:
            RunFolderError: missing, not JSON, of another schema, or changed since it was sealed.
        """
        if not path.is_file():
            raise RunFolderError("is not there", file=path, fix="give a folder that `windtunnel run --out` wrote")
        data = path.read_bytes()
        try:
            body = json.loads(data)
            seal = body.pop("seal")
            manifest = RunManifest(**body)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise RunFolderError(f"is not a manifest ({error})", file=path, fix="run it again") from error
        if manifest.schema != SCHEMA:
            raise RunFolderError(
                "is of another schema", file=path, field="schema", value=manifest.schema, fix=f"this reads {SCHEMA}"
            )
        if seal != digest_value(body) or data != manifest.to_bytes():
            raise RunFolderError("was changed after it was sealed", file=path, fix="run it again")
        return manifest


@cache
def environment() -> dict[str, str]:
    """The versions that a result depends on, and the digest of windtunnel's own source."""
    versions = {"python": platform.python_version(), "windtunnel": source_digest()}
    for package in PACKAGES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            versions[package] = metadata.version(package)
    return versions


def source_digest() -> str:
    """The digest of windtunnel's own Python files and catalogues, so that a changed one never passes off an old result as new."""
    folder = Path(__file__).parent
    stages = ("", "report", "verbs", "optimize", "benchmarks", "simulate", "backtest")
    files = sorted(
        [*(path for stage in stages for path in (folder / stage).glob("*.py")), *(folder / "catalog").glob("*.csv")]
    )
    return digest_value({path.relative_to(folder).as_posix(): digest_file(path) for path in files})


@dataclass(frozen=True)
class RunFolder:
    """A folder that belongs to one pipeline.

    Args:
        path: the folder.
        name: the pipeline's name, which tells its own folder from another's.
    """

    path: Path
    name: str

    @staticmethod
    @contextlib.contextmanager
    def open(path: Path, name: str) -> Iterator[RunFolder]:
        """Make a folder, or continue one of the same pipeline, and keep other processes out while it is open.

        A folder that was made here and in which nothing was finished before a refusal is taken back.

        Raises:
            RunFolderError: a file, a folder with something else in it, another pipeline's run, or one in use.
        """
        check_out(path, name)
        made = [each for each in (path, *path.parents) if not each.exists()]
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise RunFolderError(f"cannot be made ({error.strerror})", file=path, fix="choose another --out") from error
        with (path / ".lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise RunFolderError(
                    "is in use by another process", file=path, fix="wait for it, or choose another --out"
                ) from error
            _put_back(path)
            try:
                yield RunFolder(path, name)
            except WindtunnelError:
                _take_back(made)
                raise

    def finished(self, stage: str, key: str) -> RunManifest | None:
        """The manifest of a stage that ran with this very key and whose outputs are intact."""
        try:
            manifest = RunManifest.from_file(self.path / stage / MANIFEST)
        except RunFolderError:
            return None
        intact = manifest.key == key and not _changed(self.path / stage, manifest)
        return manifest if intact else None

    def workplace(self, stage: str, key: str, *, take_over: bool = False) -> Path:
        """Where a stage writes until it is finished; what an interrupted run left there is still there.

        Args:
            stage: its name.
            key: of everything that its result depends on.
            take_over: whether what was left under another key may be used too, because each file there says what made it.
        """
        here = self.path / f".work-{stage}-{key[:12]}"
        for other in self.path.glob(f".work-{stage}-*"):
            if other != here and take_over and not here.exists():
                other.rename(here)
            elif other != here:
                shutil.rmtree(other)
        here.mkdir(exist_ok=True)
        return here

    def finish(self, manifest: RunManifest) -> RunManifest:
        """Seal a stage's workplace and move it into its place in one step; the manifest comes back as a later run will read it."""
        here, place = self.workplace(manifest.stage, manifest.key), self.path / manifest.stage
        sealed = RunManifest(**{**asdict(manifest), "outputs": digest_tree(here)})
        write_atomically(here / MANIFEST, sealed.to_bytes())
        if place.exists():
            old = self.path / f".old-{manifest.stage}"
            shutil.rmtree(old, ignore_errors=True)
            place.rename(old)
            try:
                here.rename(place)
            finally:
                _put_back(self.path)
        else:
            here.rename(place)
        return RunManifest.from_file(place / MANIFEST)

    def seal(self, manifest: RunManifest) -> RunManifest:
        """Write the run's own manifest over everything that is finished in the folder."""
        sealed = RunManifest(**{**asdict(manifest), "outputs": self._outputs()})
        write_atomically(self.path / MANIFEST, sealed.to_bytes())
        return sealed

    def _outputs(self) -> dict[str, str]:
        files = [p for p in self.path.iterdir() if p.is_file() and _counts(p) and p.name != MANIFEST]
        manifests = [p for p in self.path.glob(f"*/{MANIFEST}") if _counts(p.parent)]
        return {p.relative_to(self.path).as_posix(): digest_file(p) for p in sorted([*files, *manifests])}


def check_out(path: Path, name: str) -> None:
    """Refuse an output folder that is not this pipeline's to write.

    Raises:
        RunFolderError: a file, a folder with something else in it, or another pipeline's run.
    """
    if path.exists() and not path.is_dir():
        raise RunFolderError("is a file", field="--out", value=str(path), fix="choose a folder")
    if not path.exists() or not any(each for each in path.iterdir() if each.name != ".lock"):
        return
    if not (path / MANIFEST).exists():
        raise RunFolderError(
            "holds something that is not a run", field="--out", value=str(path), fix="choose another folder"
        )
    manifest = RunManifest.from_file(path / MANIFEST)
    if manifest.name != name:
        raise RunFolderError(
            f"holds a run of `{manifest.name}`, not of `{name}`",
            field="--out",
            value=str(path),
            fix="choose another folder",
        )


def _put_back(path: Path) -> None:
    """Give a stage that was moved aside its place back, where no new one came to take it; drop it where one did."""
    for old in path.glob(".old-*"):
        place = path / old.name.removeprefix(".old-")
        if place.exists():
            shutil.rmtree(old)
        else:
            old.rename(place)


def _take_back(made: list[Path]) -> None:
    """Remove the folders that were made for a run, innermost first, unless a stage, or a child of a model, was finished in them."""
    if not made or any(made[0].glob(f"*/{MANIFEST}")):
        return
    if any(len(list(work.glob("*.onnx"))) > 1 for work in made[0].glob(".work-*")):
        return  # the model and at least one child of it: what was made is used by the next run
    shutil.rmtree(made[0])
    for folder in made[1:]:
        with contextlib.suppress(OSError):  # another run has moved in
            folder.rmdir()


def _counts(path: Path) -> bool:
    """Whether a path is part of a run: locks, workplaces and partial files are not."""
    return not path.name.startswith(".")


def digest_tree(folder: Path) -> dict[str, str]:
    """The digest of every file below a folder, by relative path; the manifest itself and hidden files left out."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and _counts(path))
    return {path.relative_to(folder).as_posix(): digest_file(path) for path in files if path != folder / MANIFEST}


def _changed(folder: Path, manifest: RunManifest) -> list[str]:
    """The outputs of a stage that are not as its manifest says."""
    return _differences(manifest.outputs, digest_tree(folder))


def _differences(expected: Mapping[str, str], found: Mapping[str, str]) -> list[str]:
    changed = [f"{name}: changed" for name in expected if name in found and found[name] != expected[name]]
    missing = [f"{name}: missing" for name in expected if name not in found]
    added = [f"{name}: in no manifest" for name in found if name not in expected]
    return sorted(changed + missing + added)


def verify(path: Path) -> list[str]:
    """Check every byte of a run folder against its manifests.

    Returns:
        One line for each file that was changed, is missing, or was added; none where the folder is intact.

    Raises:
        RunFolderError: there is no manifest, so it is no run folder.
    """
    if not (path / MANIFEST).is_file():
        raise RunFolderError(
            "is not a run folder: it has no manifest", file=path, fix="give a folder that `windtunnel run --out` wrote"
        )
    try:
        manifest = RunManifest.from_file(path / MANIFEST)
    except RunFolderError as error:
        return [f"{MANIFEST}: {error.problem}"]
    folder = RunFolder(path, manifest.name)
    problems = _differences(manifest.outputs, folder._outputs())  # noqa: SLF001  # the same module
    return sorted(problems + [line for stage in _stages(path) for line in _verify_stage(path, stage)])


def _stages(path: Path) -> list[str]:
    return sorted(each.name for each in path.iterdir() if each.is_dir() and _counts(each))


def _verify_stage(path: Path, stage: str) -> list[str]:
    try:
        manifest = RunManifest.from_file(path / stage / MANIFEST)
    except RunFolderError as error:
        return [f"{stage}/{MANIFEST}: {error.problem}"]
    return [f"{stage}/{line}" for line in _changed(path / stage, manifest)]
