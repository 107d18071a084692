from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import polars as pl
import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from .conftest import Command

LOG = '1.2.3.4 - - [10/Oct/2023:13:55:{:02d} +0000] "GET / HTTP/1.1" 200 5 "-" "-" 0.250\n'


def test_describe_as_json(windtunnel: Command, tmp_path: Path) -> None:
    """The document has the figures, the format, what was skipped and what was decided; `--describe` changes nothing."""
    path = tmp_path / "access.log"
    path.write_text("".join(LOG.format(n // 4) for n in range(40)) + "nonsense\n")
    ran = windtunnel("trace", path, "--describe", "--json")

    assert ran.code == 0
    assert {"format", "requests", "seconds", "rate_per_s", "burstiness", "skipped", "warnings"} <= set(ran.document)
    assert (ran.document["format"], ran.document["requests"]) == ("access-log", 40)
    assert ran.document["skipped"] == {"line_unreadable": 1}
    assert any("resolution of 1 s" in each for each in ran.document["warnings"])
    assert ran.document == windtunnel("trace", path, "--json").document
    assert ran.document != windtunnel("trace", path, "--json", "--seed", 2).document


def test_every_option(windtunnel: Command, tmp_path: Path) -> None:
    """Columns, units, spread and sampling are taken from the command line; what comes out is our own Parquet."""
    path, out = tmp_path / "t.txt", tmp_path / "own.parquet"
    path.write_text("at,took,n\n" + "".join(f"{1000 * n},500,{n % 3}\n" for n in range(1, 31)))
    ran = windtunnel(
        "trace", path, "--format", "csv", "--time", "at", "--time-unit", "ms", "--duration", "took", "--duration-unit", "ms",
        "--stamped", "end", "--column", "size=n", "--column", "priority=n", "--spread", "even", "--sampled", "50%", "--out", out, "--json",
    )  # fmt: skip
    again = windtunnel("trace", out, "--json")

    assert ran.code == 0
    assert ran.document["requests"] == 60
    assert ran.document["written"] == str(out)
    assert set(pl.read_parquet_schema(out)) == {"arrival_s", "size", "priority", "duration_s"}
    assert again.document["format"] == "windtunnel"
    assert again.document["seconds"] == ran.document["seconds"]
    assert "size" in windtunnel("trace", out).out


def test_counts_with_a_bin(windtunnel: Command, tmp_path: Path) -> None:
    """A bin's length is read as a duration."""
    path = tmp_path / "t.csv"
    path.write_text("time,requests\n1700000000,5\n")

    assert windtunnel("trace", path, "--bin", "1m", "--json").document["requests"] == 5


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--column", "size"), "`--column` (='size') is no name=column; write --column size=tokens, each name once"),
        (("--column", "size=b", "--column", "size=b"), "is no name=column"),
        (("--column", "size=c"), "`c` is not a column"),
        (("--sampled", "0%"), "`--sampled` (=0.0) is no share"),
        (("--bin", "soon"), "`--bin` (='soon')"),
        (("--spread", "far"), "`--spread` (='far') is not known"),
        (("--out", "t.csv"), "`--out` (='t.csv') is no Parquet file; end it in .parquet"),
        (("--format", "pcap"), "`--format` (='pcap') is not a format"),
    ],
)
def test_refusals(windtunnel: Command, tmp_path: Path, words: tuple[str, ...], message: str) -> None:
    """What cannot be meant is refused with the option, its value and the way out, and without a traceback."""
    path = tmp_path / "t.csv"
    path.write_text("time,b\n0.5,1\n1,2\n")
    ran = windtunnel("trace", path, *words)

    assert ran.code == 2
    assert message in ran.err
    assert "Traceback" not in ran.err


def test_other_commands_read_every_format(windtunnel: Command, tmp_path: Path) -> None:
    """`simulate` takes a log as it is."""
    path = tmp_path / "access.log"
    steps = np.cumsum(np.random.default_rng(0).exponential(0.5, size=50)).astype(int)
    path.write_text("".join(LOG.format(n) for n in steps))
    ran = windtunnel("simulate", "--trace", path, "--profile", "nothing.npz")

    assert ran.code == 2
    assert "nothing.npz" in ran.err
