"""How fast formats of recorded traffic are read, in rows a second, and how much memory that takes.

    python tests/performance/reading.py [--rows ROWS]

Each file is written first, then read by `windtunnel.simulate.formats.read` in a process of its own: the whole way to a `Trace`, unpacking,
sorting and spreading included. `peak` is that process's greatest resident size, less what it had before reading.
"""

from __future__ import annotations

import argparse
import gzip
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import polars as pl


def write_files(folder: Path, rows: int) -> list[Path]:
    """Write the same arrivals as CSV, packed CSV, Parquet, an access log, JSON lines and OTLP lines (a tenth of the rows)."""
    times = 1_700_000_000 + np.cumsum(np.random.default_rng(0).exponential(0.01, size=rows))
    stamps = pl.Series((times * 1e6).astype(np.int64)).cast(pl.Datetime("us"))
    table = pl.DataFrame(
        {"TIMESTAMP": stamps.dt.strftime("%Y-%m-%d %H:%M:%S%.6f"), "ContextTokens": 7, "GeneratedTokens": 9}
    )
    files = {
        name: folder / name
        for name in ("llm.csv", "llm.csv.gz", "llm.parquet", "access.log", "mooncake.jsonl", "otlp.jsonl")
    }
    table.write_csv(files["llm.csv"])
    files["llm.csv.gz"].write_bytes(gzip.compress(files["llm.csv"].read_bytes(), 1))
    table.write_parquet(files["llm.parquet"])
    logged = stamps.dt.strftime("%d/%b/%Y:%H:%M:%S +0000").to_list()
    files["access.log"].write_text(
        "".join(f'1.2.3.4 - - [{at}] "GET / HTTP/1.1" 200 5 "-" "curl/8" 0.012\n' for at in logged)
    )
    pl.DataFrame(
        {"timestamp": ((times - times[0]) * 1e3).astype(np.int64), "input_length": 7, "output_length": 9}
    ).write_ndjson(files["mooncake.jsonl"])
    with files["otlp.jsonl"].open("w") as file:
        for n, at in enumerate((times[: rows // 10] * 1e9).astype(np.int64).tolist()):
            span = {
                "spanId": f"{n:x}",
                "name": "p",
                "kind": 2,
                "startTimeUnixNano": str(at),
                "endTimeUnixNano": str(at + 9),
            }
            file.write(json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": [span]}]}]}) + "\n")
    return list(files.values())


def read_one(path: Path) -> None:
    """Read a file in this process, and print what that took."""
    from windtunnel.simulate.formats import read

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start, used = time.perf_counter(), time.process_time()
    reading = read(path)
    wall_s, cpu_s = time.perf_counter() - start, time.process_time() - used
    peak = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    rows = len(reading.trace)
    pace = f"{rows:>10,} rows {wall_s:7.2f} s {rows / wall_s:>12,.0f} rows/s, {rows / cpu_s:>12,.0f} rows a CPU second, peak +{peak:,.0f} MiB"
    sys.stdout.write(f"{path.name:15} {reading.format:14} {pace}\n")


def main() -> None:
    """Write, and read each file in a process of its own."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--file", type=Path)
    asked = parser.parse_args()
    if asked.file is not None:
        read_one(asked.file)
        return
    with tempfile.TemporaryDirectory() as folder:
        for path in write_files(Path(folder), asked.rows):
            subprocess.run([sys.executable, __file__, "--file", str(path)], check=True)


if __name__ == "__main__":
    main()
