from __future__ import annotations

from pathlib import Path

import pytest

from windtunnel.errors import ConfigError, DataError
from windtunnel.gpu_spec import SHIPPED, find_gpu, read_gpu_specs

SHARED = Path(__file__).parents[3] / "shared" / "data" / "gpu_specs.csv"
"""The gathered data sheets beside the checkout."""


def test_shipped() -> None:
    """Every shipped data sheet names its source, and reads in units of one: bytes, operations and watts."""
    specs = read_gpu_specs()
    a10g = specs["A10G"]

    assert len(specs) == 17
    assert [name for name, spec in specs.items() if not spec.source] == []
    assert (a10g.architecture, a10g.compute_capability, a10g.tdp_w) == ("Ampere", "8.6", 150.0)
    assert (a10g.memory_bytes, a10g.bytes_per_s) == (24 * 10**9, 600.2e9)
    assert (a10g.fp32_flops_per_s, a10g.fp16_flops_per_s, a10g.int8_ops_per_s) == (31.52e12, 70e12, 140e12)
    assert a10g.tf32_flops_per_s is None


def test_what_no_source_says() -> None:
    """Without a tensor-core figure fp16 is what the other cores do, and int8 and power stay unknown."""
    p100, v100 = read_gpu_specs()["P100"], read_gpu_specs()["V100-SXM2-16GB"]

    assert (p100.fp16_flops_per_s, p100.int8_ops_per_s) == (19.05e12, None)
    assert (v100.fp16_flops_per_s, v100.tdp_w) == (125e12, None)


def test_memory_is_sold_in_gigabytes() -> None:
    """24 GB of data sheet are the 22.35 GiB that AWS lists for the same board."""
    assert read_gpu_specs()["L4"].memory_bytes / 2**30 == pytest.approx(22.35, abs=0.005)


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("t4", "T4"),
        ("T4g", "T4G"),
        ("Tesla T4", "T4"),
        ("NVIDIA A10G", "A10G"),
        ("NVIDIA A10", "A10"),
        ("NVIDIA L40S", "L40S"),
        ("NVIDIA A100 80GB PCIe", "A100-PCIe-80GB"),
        ("NVIDIA A100-SXM4-40GB", "A100-SXM4-40GB"),
        ("NVIDIA H100 80GB HBM3", "H100-SXM5-80GB"),
        ("NVIDIA H100 PCIe", "H100-PCIe-80GB"),
        ("NVIDIA H200", "H200-SXM-141GB"),
        ("NVIDIA GeForce RTX 4090", "RTX4090"),
        ("Tesla V100-SXM2-16GB", "V100-SXM2-16GB"),
    ],
)
def test_names(name: str, found: str) -> None:
    """A GPU is found by what price tables, the driver and its data sheet call it, and A10 is not A10G."""
    assert found == find_gpu(name).name


def test_boards_of_one_name() -> None:
    """Of the boards that a name means, memory leaves some out, eight in a machine are SXM, and else the slowest is meant."""
    assert find_gpu("A100", memory_gib=40.0, count=8).name == "A100-SXM4-40GB"
    assert find_gpu("A100", memory_gib=80.0).name == "A100-PCIe-80GB"
    assert find_gpu("A100", memory_gib=80.0, count=8).name == "A100-SXM4-80GB"
    assert find_gpu("H100").name == "H100-PCIe-80GB"
    assert find_gpu("A10G", memory_gib=22.35).name == "A10G"


def test_refused() -> None:
    """What has no data sheet is said with those that have one; so is another memory, and a slice of a GPU."""
    with pytest.raises(ConfigError, match=r"`accelerator` \(='Inferentia2'\) has no data sheet here; known: A10,"):
        find_gpu("Inferentia2")
    with pytest.raises(ConfigError, match=r"\(='T4'\) is not sold with 80 GiB; known: T4 \(15 GiB\)"):
        find_gpu("T4", memory_gib=80.0)
    with pytest.raises(ConfigError, match="is a slice of a GPU"):
        find_gpu("0.167 of A10")


def test_malformed(tmp_path: Path) -> None:
    """A table without a column, with a figure that is none, a name twice, cut, or not UTF-8 is refused in words."""
    whole, path = SHIPPED.read_text(), tmp_path / "gpus.csv"
    cases = {
        r"`tdp_w` is not a column": whole.replace("tdp_w", "watts"),
        r"`memory_gb` \(='-16\.0'\) of T4 is not a figure above zero": whole.replace(",16.0,320.0", ",-16.0,320.0", 1),
        r"`memory_bandwidth_gb_s` \(='fast'\) of T4 is not": whole.replace(",320.0,", ",fast,", 1),
        r"`fp32_tflops` of T4 is empty": whole.replace(",8.14,", ",,", 1),
        r"holds a name twice": whole + whole.splitlines()[1] + "\n",
        r"of L9 is empty": whole + "L9,L9,Ada\n",
        r"`name` is not a column": "",
    }
    for problem, text in cases.items():
        path.write_text(text)
        with pytest.raises(DataError, match=problem):
            read_gpu_specs(path)
    path.write_bytes(whole.encode() + b"\xff\n")
    with pytest.raises(DataError, match="is not CSV in UTF-8"):
        read_gpu_specs(path)
    with pytest.raises(DataError, match="is not a file"):
        read_gpu_specs(tmp_path)


def test_shipped_as_gathered() -> None:
    """The shipped data sheets are the gathered ones, byte for byte."""
    if not SHARED.exists():
        pytest.skip("the gathered gpu_specs.csv is not beside this checkout")

    assert SHARED.read_bytes() == SHIPPED.read_bytes()
