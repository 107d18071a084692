"""How much memory ranges by percentile take, on images: `python -m tests.performance.calibration [--images 1000]`.

A hand-written ResNet-18 at 224² is quantized ahead from random images; what counts is the peak of the process, images and
all. Ends with 1 where it is above two gibibytes.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from windtunnel.optimize.static_int8 import FLOWING, StaticInt8, static_int8
from windtunnel.quantity import format_bytes, format_duration
from windtunnel.variant import Variant

LIMIT_BYTES = 2 * 2**30


def main() -> int:
    """Quantize, and tell the peak."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--write", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.write:
        _write(asked.write)
        return 0
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "resnet18.onnx"
        # in a process of its own: what it takes to make the network is not what is measured
        subprocess.run([sys.executable, "-m", "tests.performance.calibration", "--write", str(path)], check=True)
        images = np.empty((asked.images, 3, 224, 224), np.float32)
        np.random.default_rng(0).standard_normal(out=images, dtype=np.float32)
        settings = StaticInt8(calibrator="percentile", operators=FLOWING, outputs=True)
        variant, started = Variant.from_file(path), time.perf_counter()
        static_int8(variant, Path(folder) / "int8.onnx", settings, {variant.signature.inputs[0].name: images})
    peak_bytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    took = format_duration(time.perf_counter() - started)
    print(  # noqa: T201  # a script for people
        f"{asked.images:,} images in {took}: at most {format_bytes(peak_bytes)}, of which the images {format_bytes(images.nbytes)}"
    )
    return int(peak_bytes > LIMIT_BYTES)


def _write(path: Path) -> None:
    """The network with its first weights: what it takes to run does not depend on what it knows."""
    import torch

    from tests.performance.peer_models import resnet18_features
    from windtunnel.optimize.export import export

    torch.manual_seed(0)
    export(resnet18_features(), {"input": torch.zeros(2, 3, 224, 224)}, path)


if __name__ == "__main__":
    sys.exit(main())
