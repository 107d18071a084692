from __future__ import annotations

import csv
import math
from typing import TYPE_CHECKING

import pytest

from windtunnel.errors import DataError
from windtunnel.price_file import COLUMNS, GPUHUNT, SKYPILOT, read_price_file

if TYPE_CHECKING:
    from pathlib import Path

OWN = {
    "provider": "aws", "instance_type": "t4.tiny", "region": "us-east-1", "arch": "x86_64", "vcpu": "2", "memory_gib": "4.0",
    "accelerator": "", "accelerator_count": "0", "ondemand_usd_per_hour": "0.5", "catalog_date": "2026-01-01", "source": "a page",
}  # fmt: skip

GPU_INFO = "{'Gpus': [{'Name': 'A10G', 'Count': 1, 'MemoryInfo': {'SizeInMiB': 24576}}], 'TotalGpuMemoryInMiB': 24576}"
SKY = {
    "InstanceType": "g5.xlarge", "AcceleratorName": "A10G", "AcceleratorCount": "1.0", "vCPUs": "4.0", "MemoryGiB": "16.0",
    "Price": "1.006", "Region": "us-east-1", "GpuInfo": GPU_INFO, "SpotPrice": "0.43", "AvailabilityZone": "use1-az1",
    "Arch": "x86_64",
}  # fmt: skip

HUNT = {
    "instance_name": "g5.xlarge", "location": "us-east-1", "price": "1.006", "cpu": "4", "memory": "16.0", "gpu_count": "1",
    "gpu_name": "A10G", "gpu_memory": "24.0", "spot": "False", "disk_size": "", "gpu_vendor": "nvidia", "flags": "",
}  # fmt: skip

KINDS = [
    pytest.param(OWN, "prices.csv", "instance_type", "ondemand_usd_per_hour", id="own"),
    pytest.param(SKY, "aws/vms.csv", "InstanceType", "Price", id="skypilot"),
    pytest.param(HUNT, "aws.csv", "instance_name", "price", id="gpuhunt"),
]
"""A row of each kind of table, where it lies, and the columns of its type and its price."""


def _table(path: Path, *rows: dict[str, str]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def test_own(tmp_path: Path) -> None:
    """A row of windtunnel's own is read under its provider and type, with where and when its price was seen."""
    price = read_price_file(_table(tmp_path / "p.csv", OWN))["aws:t4.tiny"]

    assert (price.vcpu, price.memory_gib, price.usd_per_hour, price.accelerator, price.accelerators) == (
        2,
        4.0,
        0.5,
        "",
        0,
    )
    assert (price.date, price.source, price.region, price.architecture) == (
        "2026-01-01",
        "a page",
        "us-east-1",
        "x86_64",
    )
    assert (price.physical_cores, price.clock_ghz, price.spot_usd_per_hour) == (None, None, None)


def test_own_with_all_columns(tmp_path: Path) -> None:
    """Columns that a table may leave out are read where they are there."""
    more = {"physical_cores": "1.0", "sustained_clock_ghz": "3.2", "accelerator_memory_gib_each": "16", "currency": "USD",
            "spot_usd_per_hour": "0.2", "spot_min_usd": "0.1", "spot_max_usd": "0.3", "spot_zones": "5"}  # fmt: skip
    price = read_price_file(_table(tmp_path / "p.csv", OWN | more))["aws:t4.tiny"]

    assert (price.physical_cores, price.clock_ghz, price.accelerator_memory_gib) == (1.0, 3.2, 16.0)
    assert (price.spot_usd_per_hour, price.spot_min_usd, price.spot_max_usd) == (0.2, 0.1, 0.3)


def test_skypilot(tmp_path: Path) -> None:
    """Zones of a region are one price: on-demand as they agree, spot by their median, with its range; local zones and other regions are left."""
    spots = {"use1-az1": "0.45", "us-east-1b": "0.42", "use1-az4": "0.43", "use1-az6": "", "use1-atl2-az1": "0.9"}
    zones = [SKY | {"SpotPrice": usd, "AvailabilityZone": zone} for zone, usd in spots.items()]
    abroad = SKY | {"Region": "eu-west-1", "Price": "1.123"}
    path = _table(tmp_path / "aws" / "vms.csv", *zones, abroad)
    price = read_price_file(path)["aws:g5.xlarge"]

    assert (price.usd_per_hour, price.region) == (1.006, "us-east-1")
    assert (price.spot_usd_per_hour, price.spot_min_usd, price.spot_max_usd) == (0.43, 0.42, 0.45)
    assert (price.vcpu, price.memory_gib, price.architecture) == (4, 16.0, "x86_64")
    assert (price.accelerator, price.accelerators, price.accelerator_memory_gib) == ("A10G", 1, 24.0)
    assert read_price_file(path, region="eu-west-1")["aws:g5.xlarge"].usd_per_hour == 1.123
    assert list(read_price_file(path, provider="here")) == ["here:g5.xlarge"]


def test_skypilot_zones_that_disagree(tmp_path: Path) -> None:
    """An on-demand price that differs between zones of one region is refused, with the row."""
    path = _table(tmp_path / "aws" / "vms.csv", SKY, SKY | {"Price": "1.5"})

    with pytest.raises(DataError, match=r"`Price` \(='1\.5'\) of aws:g5\.xlarge differs from 1\.006.*line 3"):
        read_price_file(path)


def test_skypilot_rows_that_are_no_machine(tmp_path: Path) -> None:
    """Accelerators alone, Google's GPU hosts without their GPUs, and types sold as spot alone are left out."""
    alone = SKY | {"InstanceType": "", "Region": "us-east1"}
    host = SKY | {"InstanceType": "a2-highgpu-1g", "AcceleratorName": "", "AcceleratorCount": "", "Region": "us-east1"}
    spot = SKY | {"InstanceType": "n1-spot", "Price": "", "Region": "us-east1"}
    plain = SKY | {"InstanceType": "n1-standard-4", "AcceleratorName": "", "AcceleratorCount": "", "Region": "us-east1"}

    assert list(read_price_file(_table(tmp_path / "gcp" / "vms.csv", alone, host, spot, plain))) == [
        "gcp:n1-standard-4"
    ]
    with pytest.raises(DataError, match="offers no machine on demand"):
        read_price_file(_table(tmp_path / "gcp" / "vms.csv", alone, host, spot))


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        ({"SpotPrice": "0.00"}, (None, "A10G", 1, 24.0)),
        ({"GpuInfo": "{'Gpus': [{'MemoryInfo': {'SizeInMiB': 80}}]}"}, (0.43, "A10G", 1, 80.0)),
        ({"GpuInfo": "tpu-v4-8"}, (0.43, "A10G", 1, None)),
        ({"AcceleratorCount": "0.167"}, (0.43, "0.167 of A10G", 1, 24.0)),
    ],
)
def test_skypilot_as_it_is(tmp_path: Path, cells: dict[str, str], expected: tuple[object, ...]) -> None:
    """Vast writes no spot price as zero, RunPod GiB for MiB, TPUs no GPU memory, and Azure sells slices of a GPU."""
    price = read_price_file(_table(tmp_path / "some" / "vms.csv", SKY | cells))["some:g5.xlarge"]

    assert expected == (
        price.spot_usd_per_hour,
        price.accelerator,
        price.accelerators,
        price.accelerator_memory_gib,
    )


def test_gpuhunt(tmp_path: Path) -> None:
    """Spot offers are rows of their own, and zones of Google's regions are one region."""
    spots = [HUNT | {"price": usd, "spot": "True", "location": "us-east1-b"} for usd in ("0.4", "0.5", "0.7")]
    price = read_price_file(_table(tmp_path / "gcp.csv", HUNT | {"location": "us-east1-c"}, *spots))["gcp:g5.xlarge"]

    assert (price.usd_per_hour, price.region, price.vcpu, price.memory_gib) == (1.006, "us-east1", 4, 16.0)
    assert (price.spot_usd_per_hour, price.spot_min_usd, price.spot_max_usd) == (0.5, 0.4, 0.7)
    assert (price.accelerator, price.accelerators, price.accelerator_memory_gib) == ("A10G", 1, 24.0)


def test_gpuhunt_oddities(tmp_path: Path) -> None:
    """An offer without a name, or neither spot nor not, is refused; a type sold as spot alone is left out."""
    with pytest.raises(DataError, match=r"`instance_name` .*is empty \(row at line 2\)"):
        read_price_file(_table(tmp_path / "aws.csv", HUNT | {"instance_name": ""}))
    with pytest.raises(DataError, match=r"`spot` \(='maybe'\) is neither True nor False"):
        read_price_file(_table(tmp_path / "aws.csv", HUNT | {"spot": "maybe"}))
    only = read_price_file(_table(tmp_path / "aws.csv", HUNT, HUNT | {"instance_name": "p5", "spot": "True"}))

    assert list(only) == ["aws:g5.xlarge"]


@pytest.mark.parametrize(("row", "name", "kind", "price"), KINDS)
@pytest.mark.parametrize("usd", ["-1", "0", "nan", "inf", "-inf", "free", ""])
def test_impossible_price(tmp_path: Path, row: dict[str, str], name: str, kind: str, price: str, usd: str) -> None:
    """A price that nobody can pay is refused in every kind of table, with file, row, column, value and way out."""
    path = _table(tmp_path / name, {**row, price: usd, **({"SpotPrice": ""} if kind == "InstanceType" else {})})

    with pytest.raises(DataError, match=rf"csv: `{price}` .*\(row at line 2\); give US dollars") as caught:
        read_price_file(path)
    assert usd == caught.value.value


@pytest.mark.parametrize(("row", "name", "kind", "price"), KINDS)
def test_missing_columns(tmp_path: Path, row: dict[str, str], name: str, kind: str, price: str) -> None:
    """A table that lacks a column is refused by that column's name."""
    needed = {"instance_type": COLUMNS, "InstanceType": SKYPILOT, "instance_name": GPUHUNT}[kind]
    for column in needed:
        if column in {"InstanceType", "instance_name"}:
            continue
        path = _table(tmp_path / name, {key: value for key, value in row.items() if key != column})
        with pytest.raises(DataError, match=rf"csv: `{column}` is not a column"):
            read_price_file(path)
    assert price in needed


@pytest.mark.parametrize(("row", "name", "kind", "price"), KINDS)
def test_files_that_are_no_tables(tmp_path: Path, row: dict[str, str], name: str, kind: str, price: str) -> None:
    """What is cut, too long, empty, without rows, not UTF-8, not CSV, a folder or not there is refused in words."""
    path = _table(tmp_path / name, row)
    whole = path.read_text()
    cases = {
        "fields in the row at line 3, but": whole + "aws,cut\n",
        "fields in the row at line 2, but": whole.rstrip("\r\n") + ",more\n",
        "is empty": "",
        "has no rows": whole.splitlines()[0] + "\n",
        "is not CSV": whole + '"open\n',
    }
    for problem, text in cases.items():
        path.write_text(text)
        with pytest.raises(DataError, match=problem):
            read_price_file(path)
    path.write_bytes(whole.encode() + b"\xff\xfe\n")
    with pytest.raises(DataError, match="is not UTF-8"):
        read_price_file(path)
    for nowhere in (tmp_path / "none.csv", tmp_path):
        with pytest.raises(DataError, match=r"is not a file.*ondemand_usd_per_hour"):
            read_price_file(nowhere)
    assert kind in row
    assert price in row


@pytest.mark.parametrize(
    ("row", "name", "column"),
    [
        *((OWN, "p.csv", column) for column in ("vcpu", "memory_gib", "accelerator_count")),
        *((SKY, "aws/vms.csv", column) for column in ("vCPUs", "MemoryGiB", "AcceleratorCount")),
        *((HUNT, "aws.csv", column) for column in ("cpu", "memory", "gpu_count", "gpu_memory")),
    ],
)
def test_figures_that_are_none(tmp_path: Path, row: dict[str, str], name: str, column: str) -> None:
    """A figure that is no number, not finite or negative is refused, with its row and column."""
    for text, problem in (
        ("many", "is not a number"),
        ("nan", "is not a figure"),
        ("inf", "is not a figure"),
        ("-1", "is not a figure"),
    ):
        with pytest.raises(DataError, match=rf"`{column}` \(='{text}'\) {problem}.*line 2"):
            read_price_file(_table(tmp_path / name, row | {column: text}))


def test_empty_figures(tmp_path: Path) -> None:
    """What a source does not say is not made up: memory is unknown, and there is no accelerator."""
    price = read_price_file(_table(tmp_path / "p.csv", OWN | {"memory_gib": "", "accelerator_count": ""}))[
        "aws:t4.tiny"
    ]

    assert math.isnan(price.memory_gib)
    assert price.accelerators == 0


def test_refused_rows(tmp_path: Path) -> None:
    """A type that stands twice, another currency, a nameless row and a region nobody sells in are refused."""
    with pytest.raises(DataError, match=r"\(='aws:t4\.tiny'\) stands twice in us-east-1"):
        read_price_file(_table(tmp_path / "p.csv", OWN, OWN))
    with pytest.raises(DataError, match=r"`currency` \(='EUR'\) is not USD .*no exchange rate"):
        read_price_file(_table(tmp_path / "p.csv", OWN | {"currency": "EUR"}))
    with pytest.raises(DataError, match=r"`instance_type` \(=''\) is empty"):
        read_price_file(_table(tmp_path / "p.csv", OWN | {"instance_type": ""}))
    with pytest.raises(DataError, match=r"`region` \(='us-est-1'\) has no price.*did you mean `us-east-1`"):
        read_price_file(_table(tmp_path / "p.csv", OWN), region="us-est-1")


def test_home_region(tmp_path: Path) -> None:
    """Of several regions the provider's home is read, or where it has none the one with the most types."""
    abroad = OWN | {"region": "eu-west-1", "ondemand_usd_per_hour": "0.6"}
    other = [OWN | {"provider": "vast", "region": region, "instance_type": kind} for region, kind in ("ax", "by", "bx")]
    prices = read_price_file(_table(tmp_path / "p.csv", abroad, OWN, *other))

    assert {name: price.region for name, price in prices.items()} == {
        "aws:t4.tiny": "us-east-1",
        "vast:x": "b",
        "vast:y": "b",
    }


def test_byte_order_mark(tmp_path: Path) -> None:
    """A table that a spreadsheet saved, with its mark at the beginning, is read like any other."""
    path = _table(tmp_path / "p.csv", OWN)
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())

    assert list(read_price_file(path)) == ["aws:t4.tiny"]
