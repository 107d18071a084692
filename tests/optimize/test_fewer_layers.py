from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from windtunnel.errors import ModelError
from windtunnel.optimize.fewer_layers import alike, choose_blocks, find_blocks, keep_blocks, spreads

ROWS = {"x": np.random.default_rng(1).normal(size=(20, 5, 8)).astype(np.float32)}


class _Tower(nn.Module):
    """Six encoder layers and a head; `walk` goes over all layers there are, or over six by number."""

    def __init__(self, *, by_number: bool = False) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.layers = nn.ModuleList(nn.TransformerEncoderLayer(8, 2, 16, batch_first=True) for _ in range(6))
        self.head, self.by_number = nn.Linear(8, 3), by_number

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for layer in [self.layers[place] for place in range(6)] if self.by_number else self.layers:
            x = layer(x)
        answer: torch.Tensor = self.head(x.mean(1))
        return answer


def _state(module: nn.Module) -> list[float]:
    return [float(each) for value in module.state_dict().values() for each in value.flatten()]


def test_kept_layers_are_the_teachers() -> None:
    """What stays is as the teacher has it, layer by layer, and the teacher stays whole."""
    tower = _Tower()
    before = _state(tower)

    small = keep_blocks(tower, (0, 2, 5))

    assert [_state(layer) for layer in small.get_submodule("layers").children()] == [
        _state(tower.layers[place]) for place in (0, 2, 5)
    ]
    assert _state(small.get_submodule("head")) == _state(tower.head)
    assert _state(tower) == before
    assert len(tower.layers) == 6


def test_the_best_spread_is_kept() -> None:
    """Of the ways to keep half, the one is taken that answers most as before: here the layers that do something."""
    tower = _Tower()
    for place in (0, 2, 4):  # these hand on what they get
        layer = tower.layers[place]
        assert isinstance(layer, nn.TransformerEncoderLayer)
        layer.norm_first = True
        for last in (layer.self_attn.out_proj, layer.linear2):
            nn.init.zeros_(last.weight)
            nn.init.zeros_(last.bias)

    small = keep_blocks(tower, choose_blocks(tower, ROWS, 2))

    with torch.no_grad():
        x = torch.from_numpy(ROWS["x"])
        assert float((small(x) - tower.eval()(x)).abs().max()) < 1e-5
    assert _state(small.get_submodule("layers.0")) == _state(tower.layers[1])


def test_every_spread_keeps_as_many() -> None:
    """However blocks are spread, one in so many is kept, and at least one."""
    assert {len(kept) for kept in spreads(12, 3)} == {4}
    assert {len(kept) for kept in spreads(2, 2)} == {1}


def test_a_module_without_blocks() -> None:
    """A module that is not made of equal blocks is refused, and so is one where they are a small part."""
    wide = nn.ModuleDict({"few": nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2)), "rest": nn.Linear(100, 100)})

    for module in (nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 1)), wide):
        with pytest.raises(ModelError, match="does not mainly consist of equal blocks"):
            find_blocks(module)


def test_blocks_that_are_counted_in_forward() -> None:
    """A module that calls its blocks by number does not run without them, which is said."""
    with pytest.raises(ModelError, match=r"does not run with fewer blocks .* walk over all blocks"):
        choose_blocks(_Tower(by_number=True), ROWS, 2)


def test_too_few_blocks() -> None:
    """One block in seven of six is none."""
    with pytest.raises(ModelError, match="has 6 equal blocks, too few to keep one in 7"):
        choose_blocks(_Tower(), ROWS, 7)


def test_a_kept_layer_does_the_work_of_those_behind_it() -> None:
    """What a kept layer hands on is matched with what the next kept one gets in the whole module, the last with its last."""
    assert alike(_Tower(), (1, 3, 5), ROWS) == (
        ("layers.2", "layers.0"),
        ("layers.4", "layers.1"),
        ("layers.5", "layers.2"),
    )
    assert alike(_Tower(), (5,), ROWS) == (("layers.5", "layers.0"),)


class _Turned(_Tower):
    """Hands tokens before rows from layer to layer."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x.transpose(0, 1))


def test_layers_that_put_tokens_before_rows() -> None:
    """Where the first axis does not number rows nothing is matched: values of other rows would be taken for them."""
    assert alike(_Turned(), (1, 3, 5), ROWS) == ()
