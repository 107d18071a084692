from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from torch import nn

from windtunnel.errors import ModelError
from windtunnel.graph import read_graph
from windtunnel.optimize.export import export
from windtunnel.optimize.prune import effects, find_groups, prune
from windtunnel.optimize.reproducible import reproducible
from windtunnel.optimize.student import propose_students, teach
from windtunnel.runtime import open_session
from windtunnel.variant import Variant

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray


class _Block(nn.Module):
    """A residual block as in ResNet-18."""

    def __init__(self, width_in: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(width_in, width, 3, stride, 1, bias=False), nn.BatchNorm2d(width)
        self.conv2, self.bn2 = nn.Conv2d(width, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width)
        self.down = nn.Sequential(nn.Conv2d(width_in, width, 1, stride, bias=False), nn.BatchNorm2d(width))
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        inner = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
        answer: torch.Tensor = self.relu(inner + self.down(x))
        return answer


class _Residual(nn.Module):
    """Two blocks and a classifier."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.last = _Block(3, 32, 1), _Block(32, 64, 2), nn.Linear(64, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        answer: torch.Tensor = self.last(self.second(self.first(x)).mean((2, 3)))
        return answer


class _Plain(nn.Module):
    """Convolutions without a sum: depthwise, pooled and laid flat into a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.depthwise = nn.Conv2d(3, 16, 3, padding=1), nn.Conv2d(16, 16, 3, padding=1, groups=16)
        self.norm, self.pool = nn.BatchNorm2d(16), nn.MaxPool2d(4)
        self.last = nn.Linear(16 * 4, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        answer: torch.Tensor = self.last(self.pool(self.norm(self.depthwise(self.first(x))).relu()).flatten(1))
        return answer


class _Attention(nn.Module):
    """Attention that knows its number of heads, and a gated layer behind it."""

    def __init__(self) -> None:
        super().__init__()
        self.num_heads, self.width = 4, 32
        self.q, self.k, self.v, self.out = (nn.Linear(32, 32) for _ in range(4))
        self.gate, self.up, self.down = nn.Linear(32, 48), nn.Linear(32, 48), nn.Linear(48, 32)
        self.norm = nn.LayerNorm(32)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        rows, length, _ = x.shape
        q, k, v = (each(x).view(rows, length, self.num_heads, -1).transpose(1, 2) for each in (self.q, self.k, self.v))
        seen = nn.functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(rows, length, -1)
        x = self.norm(x + self.out(seen))
        answer: torch.Tensor = x + self.down(nn.functional.silu(self.gate(x)) * self.up(x))
        return answer


def _mlp() -> nn.Module:
    return nn.Sequential(nn.Linear(4, 64), nn.GELU(), nn.Linear(64, 40), nn.Tanh(), nn.Linear(40, 1))


def _images() -> dict[str, torch.Tensor]:
    return {"x": torch.randn(6, 3, 8, 8)}


MODELS: dict[str, tuple[Callable[[], nn.Module], Callable[[], dict[str, torch.Tensor]], dict[str, tuple[int, ...]]]] = {
    "residual": (_Residual, _images, {"first.conv1.weight": (16, 3, 3, 3), "first.conv2.weight": (32, 16, 3, 3), "second.conv1.weight": (32, 32, 3, 3), "first.bn1.running_var": (16,), "last.weight": (5, 64)}),
    "plain": (_Plain, _images, {"first.weight": (8, 3, 3, 3), "depthwise.weight": (8, 1, 3, 3), "norm.bias": (8,), "last.weight": (2, 32)}),
    "attention": (_Attention, lambda: {"x": torch.randn(6, 5, 32)}, {"q.weight": (16, 32), "v.bias": (16,), "out.weight": (32, 16), "gate.weight": (24, 32), "up.weight": (24, 32), "down.weight": (32, 24)}),
    "mlp": (_mlp, lambda: {"input": torch.randn(6, 4)}, {"0.weight": (32, 4), "2.weight": (24, 32), "4.weight": (1, 24)}),
}  # fmt: skip
"""Modules, inputs for them, and shapes of what is left when half of their units are gone."""


def _seeded(name: str) -> tuple[nn.Module, dict[str, torch.Tensor], dict[str, tuple[int, ...]]]:
    torch.manual_seed(1)
    make, inputs, shapes = MODELS[name]
    return make().eval(), inputs(), shapes


def _rows(inputs: dict[str, torch.Tensor]) -> dict[str, NDArray[Any]]:
    return {key: each.numpy() for key, each in inputs.items()}


@pytest.mark.parametrize("name", MODELS)
def test_smaller_layers(name: str) -> None:
    """Half of each hidden axis is gone, physically; the module still runs, and the whole one stays whole."""
    module, inputs, shapes = _seeded(name)
    before = {key: value.clone() for key, value in module.state_dict().items()}

    small = prune(module, inputs, 0.5, rows=_rows(inputs))

    found = {key: tuple(value.shape) for key, value in small.state_dict().items()}
    assert {key: found[key] for key in shapes} == shapes
    assert small(**inputs).shape == module(**inputs).shape
    assert all(torch.equal(value, before[key]) for key, value in module.state_dict().items())


@pytest.mark.parametrize("name", MODELS)
def test_silent_units_go_first(name: str) -> None:
    """Units that nothing takes are the ones that go, and without them the answers are the same."""
    module, inputs, _ = _seeded(name)
    tensors = dict(module.named_parameters())
    with torch.no_grad():
        for group in find_groups(module, inputs):
            stay = group.keep(0.5) * group.block
            for key, repeat in group.taken:
                tensors[key][:, : tensors[key].shape[1] - stay * repeat] = 0.0
        expected = module(**inputs)

        small = prune(module, inputs, 0.5, rows=_rows(inputs))
        assert small(**inputs).flatten().tolist() == pytest.approx(expected.flatten().tolist(), abs=1e-5)


def test_what_a_sum_reaches_stays() -> None:
    """Only channels within a residual block can go: what its sum reaches is left alone."""
    module, inputs, _ = _seeded("residual")

    assert [group.made for group in find_groups(module, inputs)] == [("first.conv1.weight",), ("second.conv1.weight",)]


def test_effects_are_those_of_silencing() -> None:
    """Where a model is linear in its units, the effect is that of leaving one out: the square of what it adds, summed over rows."""
    torch.manual_seed(1)
    last = nn.Linear(8, 2)
    module = nn.Sequential(nn.Linear(3, 8), nn.ReLU(), last).eval()
    x = torch.randn(256, 3)
    group = find_groups(module, {"input": x[:2]})[0]
    with torch.no_grad():
        hidden = module[:2](x)
        # products of different answers of one batch have random signs, and vanish on average only
        truth = hidden.square().sum(0) * last.weight.square().sum(0)

    found = torch.stack([effects(module, [group], {"input": x.numpy()}, seed=seed)[0] for seed in range(30)]).mean(0)

    assert (found / truth).tolist() == pytest.approx([1.0] * 8, abs=0.15)


def test_the_same_twice() -> None:
    """The same share of the same module is the same module, bit for bit."""
    module, inputs, _ = _seeded("mlp")
    first, again = (prune(module, inputs, 0.5, rows=_rows(inputs)).state_dict() for _ in range(2))

    assert all(torch.equal(value, again[key]) for key, value in first.items())


class _Shared(nn.Module):
    """One layer used twice."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.again = nn.Linear(4, 4), nn.Linear(4, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        answer: torch.Tensor = self.again(self.again(self.first(x)).relu())
        return answer


class _Stubborn(nn.Module):
    """Asks for a size that it wrote down."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(4, 64), nn.Linear(64, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        hidden = self.first(x)
        assert hidden.shape[1] == 64
        answer: torch.Tensor = self.last(hidden)
        return answer


class _Branching(nn.Module):
    """Decides by a value."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x if bool(x.sum() > 0) else -x


@pytest.mark.parametrize(
    ("module", "problem"),
    [
        (_Shared(), "`module` has no hidden axis that can shrink"),
        (nn.Linear(4, 4), "`module` has no hidden axis that can shrink"),
        (_Stubborn(), "its code counts on their number; take sizes from the tensors"),
        (_Branching(), "`module` cannot be traced, so nothing can be cut out of it"),
    ],
    ids=["shared", "single", "stubborn", "branching"],
)
def test_what_cannot_be_cut(module: nn.Module, problem: str) -> None:
    """A module from which nothing can go is refused, with the reason."""
    name = "input" if isinstance(module, nn.Linear) else "x"
    with pytest.raises(ModelError, match=problem):
        prune(module, {name: torch.zeros(2, 4)}, 0.5, rows={name: np.ones((9, 4), np.float32)})


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_no_share(share: float) -> None:
    """Nothing and everything are no shares."""
    with pytest.raises(ModelError, match="is no share of what can go"):
        prune(_mlp(), {"input": torch.zeros(2, 4)}, share, rows={"input": np.ones((9, 4), np.float32)})


class _Digits(nn.Module):
    """Two convolutions and two layers, from `image` [batch, 1, 8, 8] to ten scores."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(1, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(32, 64, 3, padding=1), nn.BatchNorm2d(64), nn.ReLU(), nn.MaxPool2d(2),
            nn.Flatten(), nn.Linear(256, 64), nn.ReLU(), nn.Linear(64, 10),
        )  # fmt: skip

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        scores: torch.Tensor = self.layers(image)
        return scores


def _trained(images: NDArray[np.float32], digits: NDArray[np.int64]) -> nn.Module:
    """`_Digits` after six rounds of some rows."""
    x, y = torch.from_numpy(images), torch.from_numpy(digits)
    with reproducible(1):
        net = _Digits()
        optimizer = torch.optim.AdamW(net.parameters(), 3e-3)
        for _ in range(6):
            for rows in torch.randperm(len(x)).split(50):  # type: ignore[no-untyped-call]  # torch left this one untyped
                optimizer.zero_grad()
                nn.functional.cross_entropy(net(x[rows]), y[rows]).backward()  # type: ignore[no-untyped-call]  # as above
                optimizer.step()
    return net.eval()


def test_a_network_of_digits_halved(tmp_path: Path) -> None:
    """A student with half the channels of a network, taught without labels, reads as many digits, within one in a hundred.

    It has less than 0.3 of the operations and of the bytes of its teacher, which reads more than 97 in a hundred.
    """
    images, digits = load_digits(return_X_y=True)
    x, order = (images.reshape(-1, 1, 8, 8) / 16).astype(np.float32), np.random.default_rng(1).permutation(len(images))
    learnt, held = order[:1200], order[1200:]
    net, rows = _trained(x[learnt], digits[learnt]), {"image": x[learnt]}
    export(net, {"image": torch.from_numpy(x[:3])}, tmp_path / "parent.onnx")
    parent = Variant.from_file(tmp_path / "parent.onnx")
    teach(
        parent,
        tmp_path / "s.onnx",
        propose_students(parent, rows, None, net, seed=1, work=1e10, decides=True)[0],
        rows,
        seed=1,
    )
    child = Variant.from_file(tmp_path / "s.onnx")
    right = [
        float((open_session(each).run({"image": x[held]})["output"].argmax(1) == digits[held]).mean())
        for each in (parent, child)
    ]
    asked = [read_graph(each.path, {"batch": 1}).flops for each in (parent, child)]

    assert right[0] > 0.97
    assert right[1] > right[0] - 0.01
    assert asked[1] < 0.3 * asked[0]
    assert child.bytes < 0.3 * parent.bytes
