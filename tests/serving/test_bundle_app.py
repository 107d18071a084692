from __future__ import annotations

import ast
import re
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from windtunnel.bundle import write_bundle
from windtunnel.deployment import BatchPolicy
from windtunnel.execution import Execution
from windtunnel.run import planned
from windtunnel.runtime import open_session
from windtunnel.serving.bundle_app import app_config, app_source, cluster_name, inference_service
from windtunnel.serving.protocol import served_name
from windtunnel.variant import Variant

if TYPE_CHECKING:
    from pathlib import Path

yaml = pytest.importorskip("yaml")  # comes with Ray


@pytest.fixture
def variant(tiny_model: Path) -> Variant:
    made = Variant.from_file(tiny_model, name="Int8 on=2t")
    return replace(made, execution=Execution("openvino", threads=2))


def test_the_module_parses(variant: Variant) -> None:
    """The application is a module with an `app`, which batches as it is told."""
    tree = ast.parse(app_source(variant, BatchPolicy(8, 0.0025)))
    assigned = {
        ast.unparse(each.targets[0]): ast.unparse(each.value) for each in tree.body if isinstance(each, ast.Assign)
    }

    assert assigned["policy"] == "BatchPolicy(max_batch=8, max_wait_s=0.0025)"
    assert assigned["app"].startswith("build_app(read_bundle(")


def test_a_bundle_is_served_as_its_own_module_says(tiny_model: Path, tmp_path: Path) -> None:
    """`windtunnel serve BUNDLE` batches as `serve run serve.app:app` does."""
    feeds = {"x": np.ones((2, 4), np.float32)}
    variant = Variant.from_file(tiny_model)
    write_bundle(variant, feeds, open_session(variant).run(feeds), tmp_path / "bundle", batch=(1, 8))
    policy, replicas = planned(tmp_path / "bundle")

    assert (policy.max_batch, replicas) == (8, 1)
    assert repr(policy) in (tmp_path / "bundle" / "serve" / "app.py").read_text()


def test_ray_takes_the_configuration(variant: Variant) -> None:
    """Ray Serve's own schema reads it; the deployment it tunes is the one that the application has."""
    from ray.serve.schema import ServeDeploySchema

    told = ServeDeploySchema.model_validate(yaml.safe_load(app_config(variant)))
    (app,) = told.applications

    assert (app.import_path, app.route_prefix, told.http_options.host) == ("serve.app:app", "/", "127.0.0.1")
    assert app.deployments[0].name == served_name(variant) == "Int8-on-2t"
    assert app.deployments[0].ray_actor_options.num_cpus == 2


def test_the_service_names_triton(variant: Variant) -> None:
    """KServe is told which runtime serves the repository, over which protocol, under a name that Kubernetes takes."""
    told = yaml.safe_load(inference_service(variant))
    model = told["spec"]["predictor"]["model"]

    assert (told["apiVersion"], told["kind"]) == ("serving.kserve.io/v1beta1", "InferenceService")
    assert (model["runtime"], model["protocolVersion"]) == ("kserve-tritonserver", "v2")
    assert model["modelFormat"] == {"name": "triton", "version": "2"}
    assert model["resources"]["requests"]["cpu"] == "2"
    assert told["metadata"]["name"] == "int8-on-2t"


@pytest.mark.parametrize("name", ["fp32", "8bit", "A_b=C", "x" * 80, "-", "é", "a" * 49 + "--b"])
def test_names_that_kubernetes_takes(variant: Variant, name: str) -> None:
    """Whatever a variant is called, its service has a DNS label."""
    assert re.fullmatch(r"[a-z]([-a-z0-9]{0,48}[a-z0-9])?", cluster_name(replace(variant, name=name)))
