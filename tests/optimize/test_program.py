from __future__ import annotations

import contextlib
import json
import pickle
import zipfile
from typing import TYPE_CHECKING, Any

import pytest
import torch

from windtunnel.errors import ModelError
from windtunnel.optimize.program import export_program
from windtunnel.session import OnnxSession

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


class _Mean(torch.nn.Module):
    """Embeds tokens and takes their masked mean."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.embedding = torch.nn.Embedding(20, 4)

    def forward(self, ids: torch.Tensor, mask: torch.Tensor) -> dict[str, torch.Tensor]:
        inside = self.embedding(ids) * mask[:, :, None]
        return {"mean": inside.sum(1) / mask.sum(1, keepdim=True)}


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A program as torch saves it: one input by position, one by keyword."""
    batch, length = torch.export.Dim("batch", min=1), torch.export.Dim("length", min=1)
    ids, free = torch.arange(15).reshape(3, 5), {0: batch, 1: length}
    program = torch.export.export(
        _Mean().eval(), (ids,), {"mask": torch.ones_like(ids)}, dynamic_shapes={"ids": free, "mask": free}
    )
    path: Path = tmp_path_factory.mktemp("program") / "m.pt2"
    torch.export.save(program, path)
    return path


def test_a_program(saved: Path, tmp_path: Path) -> None:
    """A captured program becomes an ONNX file with its inputs' and outputs' names, free where it was captured free."""
    made = export_program(saved, tmp_path / "m.onnx")
    session = OnnxSession(tmp_path / "m.onnx")

    assert [(each.name, each.shape) for each in session.signature.inputs] == [
        ("ids", ("batch", "ids_axis_1")), ("mask", ("batch", "ids_axis_1"))
    ]  # fmt: skip
    assert [each.name for each in session.signature.outputs] == ["mean"]
    assert made.compared == {"batch": (1, 2, 3, 17), "ids_axis_1": (1, 2, 5, 8, 10)}
    assert made.worst < 1e-6


def _changed(
    given: Path, path: Path, change: Callable[[str, bytes], bytes], extra: dict[str, bytes] | None = None
) -> Path:
    """A copy of an archive with its members changed, and others added."""
    with zipfile.ZipFile(given) as old, zipfile.ZipFile(path, "w") as new:
        for name in old.namelist():
            new.writestr(name, change(name.partition("/")[2], old.read(name)))
        for name, data in (extra or {}).items():
            new.writestr(f"m/{name}", data)
    return path


def _graph(change: Callable[[Any], None]) -> Callable[[str, bytes], bytes]:
    def changed(name: str, data: bytes) -> bytes:
        if name != "models/model.json":
            return data
        value = json.loads(data)
        change(value)
        return json.dumps(value).encode()

    return changed


def _calls(target: str) -> Callable[[str, bytes], bytes]:
    return _graph(lambda value: value["graph_module"]["graph"]["nodes"][0].update(target=target))


def _guards(text: str) -> Callable[[str, bytes], bytes]:
    return _graph(lambda value: value.update(guards_code=[text]))


class _Evil:
    def __reduce__(self) -> tuple[Any, ...]:
        return (print, ("was run",))


def _pickled(name: str, data: bytes) -> bytes:
    import io

    buffer = io.BytesIO()
    torch.save(_Evil(), buffer)
    return buffer.getvalue() if name == "data/sample_inputs/model.pt" else data


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (_calls("torch.os.system"), "it calls `torch.os.system`"),
        (_calls("torch.ops.aten.from_file.default"), "it calls `torch.ops.aten.from_file.default`"),
        (_calls("torch.ops.load_library"), "it calls `torch.ops.load_library`"),
        (_calls("_operator.methodcaller"), "it calls `_operator.methodcaller`"),
        (_calls("#evil:op"), "it calls `#evil:op`"),
        (_guards("__import__('os').system('ls') == 0"), "it evaluates `__import__"),
        (_guards("L['ids'].__class__ == 0"), "it evaluates"),
        (_guards("sympify('1') == 0"), "it evaluates"),
        (_graph(lambda value: value.update(in_spec="\\u005f_enum__")), "it imports modules by name"),
        (_graph(lambda value: value.update(as_operator="torch.os.system")), "it calls `torch.os.system`"),
        (_pickled, "`data/sample_inputs/model.pt` is a pickle of more than tensors"),
    ],
)
def test_programs_that_could_run_code(
    saved: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], change: Callable[[str, bytes], bytes], words: str
) -> None:
    """Whatever in a file could run code of its author's is named before torch reads the file."""
    path = _changed(saved, tmp_path / "m.pt2", change)
    with pytest.raises(ModelError, match=words) as refusal:
        export_program(path, tmp_path / "m.onnx")

    assert "could run code of its author's" in str(refusal.value)
    assert str(refusal.value).endswith("--allow-pickle if you trust it")
    assert capsys.readouterr().out == ""


def test_compiled_code(saved: Path, tmp_path: Path) -> None:
    """A library beside the weights is named."""
    path = _changed(saved, tmp_path / "m.pt2", lambda _, data: data, {"data/aotinductor/model/m.so": b"ELF"})
    with pytest.raises(ModelError, match=r"`data/aotinductor/model/m\.so` is compiled"):
        export_program(path, tmp_path / "m.onnx")


def test_the_older_form(tmp_path: Path) -> None:
    """Files at the top of the archive, which torch reads where it finds no folder, are named: they hold pickles and calls."""
    with zipfile.ZipFile(tmp_path / "m.pt2", "w") as archive:
        archive.writestr("version", "8.14")
        archive.writestr("serialized_exported_program.json", json.dumps({"target": "torch.os.system", "inputs": []}))
        archive.writestr("serialized_state_dict.pt", pickle.dumps(_Evil()))
    with pytest.raises(ModelError, match="could run code of its author's: `version` is no member that torch writes"):
        export_program(tmp_path / "m.pt2", tmp_path / "m.onnx")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("n/models/model.json", "`m/.*` is no member that torch writes"),
        ("m/data/constants/opaque_obj_0", "`m/data/constants/opaque_obj_0` is no member that torch writes"),
        ("m/models/MODEL.json", "two of its members have one name"),
    ],
)
def test_members_beside(saved: Path, tmp_path: Path, name: str, words: str) -> None:
    """A second folder, an unknown name, or a name that torch takes for another's is named."""
    path = _changed(saved, tmp_path / "m.pt2", lambda _, data: data)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(name, archive.read("m/models/model.json"))
    with pytest.raises(ModelError, match=words):
        export_program(path, tmp_path / "m.onnx")


def test_two_lists_of_members(saved: Path, tmp_path: Path) -> None:
    """A file whose list of members Python's reader finds elsewhere than torch's is refused: one would be shown, one read."""
    shown, read = _changed(saved, tmp_path / "a.pt2", lambda _, data: data), saved.read_bytes()
    harmless = shown.read_bytes()
    (tmp_path / "m.pt2").write_bytes(read + harmless)
    with pytest.raises(ModelError, match=r"m\.pt2: (is not a \.pt2 file|could run code)"):
        export_program(tmp_path / "m.pt2", tmp_path / "m.onnx")


@pytest.mark.parametrize(
    "data", [b"{", b'{"graph": ' * 100_000, b'{"guards_code": [1], "in_spec": 3}', b'{"guards_code": 1}', b"\xff"]
)
def test_torn_members(saved: Path, tmp_path: Path, data: bytes) -> None:
    """JSON that is none, is nested without end, or holds other types than torch writes is refused in words."""
    path = _changed(saved, tmp_path / "m.pt2", lambda name, old: data if name == "models/model.json" else old)
    with pytest.raises(ModelError, match=r"m\.pt2: (is not a \.pt2 file|cannot be read by torch)"):
        export_program(path, tmp_path / "m.onnx")


def test_damaged_members(saved: Path, tmp_path: Path) -> None:
    """Whatever byte of the archive is changed, nothing but a refusal in words comes of it."""
    data = bytearray(saved.read_bytes())
    for place in range(40, len(data), len(data) // 12):
        changed = data.copy()
        changed[place : place + 8] = b"\xff" * 8
        (tmp_path / "m.pt2").write_bytes(changed)
        with contextlib.suppress(ModelError):
            export_program(tmp_path / "m.pt2", tmp_path / "m.onnx")


def test_trusted(saved: Path, tmp_path: Path) -> None:
    """With leave, a file is read that would be refused; here it is only a guard that could be more than arithmetic."""
    path = _changed(saved, tmp_path / "m.pt2", _guards("abs(-1) == 1"))
    with pytest.raises(ModelError, match=r"it evaluates `abs\(-1\) == 1`"):
        export_program(path, tmp_path / "m.onnx")

    assert export_program(path, tmp_path / "m.onnx", allow_pickle=True).worst < 1e-6


@pytest.mark.parametrize("data", [b"", b"garbage", b"PK\x03\x04"])
def test_no_program(tmp_path: Path, data: bytes) -> None:
    """What is no archive is refused as that."""
    path = tmp_path / "m.pt2"
    path.write_bytes(data)
    with pytest.raises(ModelError, match=r"m\.pt2: is not a \.pt2 file"):
        export_program(path, tmp_path / "m.onnx")
