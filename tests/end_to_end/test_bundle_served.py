"""A bundle's own Ray Serve application, started in the bundle's folder as its configuration says."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import numpy as np

from windtunnel.bundle import write_bundle
from windtunnel.runtime import open_session
from windtunnel.variant import Variant

if TYPE_CHECKING:
    from pathlib import Path

VISITOR = """
import json, logging, socket, sys, urllib.request
import numpy, ray, yaml
from ray import serve

with socket.socket() as probe:
    probe.bind(("127.0.0.1", 0))
    port = probe.getsockname()[1]
config = yaml.safe_load(open("serve/config.yaml"))["applications"][0]
module, attribute = config["import_path"].split(":")
sys.path.insert(0, ".")
app = getattr(__import__(module, fromlist=[attribute]), attribute)

ray.init(include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR, num_cpus=3)
try:
    serve.start(http_options={"host": "127.0.0.1", "port": port})
    serve.run(app, name=config["name"], route_prefix=config["route_prefix"])
    model = f"http://127.0.0.1:{port}/v2/models/{config['name']}"

    def ask(address, body=None):
        with urllib.request.urlopen(urllib.request.Request(address, data=body), timeout=60) as answer:
            return json.load(answer)

    samples = numpy.load("samples.npz")
    x = samples["in.x"]
    tensor = {"name": "x", "shape": list(x.shape), "datatype": "FP32", "data": x.ravel().tolist()}
    found = ask(model + "/infer", json.dumps({"inputs": [tensor]}).encode())["outputs"]
    assert [each["name"] for each in found] == ["y"]
    assert numpy.array_equal(numpy.array(found[0]["data"], "float32"), samples["out.y"])
    assert ask(model) == json.load(open("kserve/metadata.json"))
finally:
    serve.shutdown()
    ray.shutdown()
print("served")
"""


def test_the_application_answers_as_expected(tiny_model: Path, tmp_path: Path) -> None:
    """What the application answers over HTTP to the samples is what the bundle expects, and its metadata are the bundle's."""
    variant, folder = Variant.from_file(tiny_model), tmp_path / "bundle"
    inputs = {"x": np.random.default_rng(1).normal(size=(5, 4)).astype(np.float32)}
    write_bundle(variant, inputs, open_session(variant).run(inputs), folder, batch=(1, 8))
    ran = subprocess.run([sys.executable, "-c", VISITOR], cwd=folder, capture_output=True, text=True, timeout=300)

    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.splitlines()[-1] == "served"
