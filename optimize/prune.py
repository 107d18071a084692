"""Smaller students by taking out hidden units, channels and attention heads: physically, not by masks.

What may go is found in the graph that `torch.export` sees. A *group* is one hidden axis: the layers that make it (its rows
go), what only carries it (activations, batch normalisation, pooling, depthwise convolution, gating by a product), and the
layers that take it (their columns go). An axis that meets a sum is left alone: it is a residual stream, and many depend on it.
"""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from windtunnel.errors import ModelError
from windtunnel.session import first_line

from .distil import argument
from .parity import flat
from .reproducible import reproducible

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    import torch
    from numpy.typing import NDArray

    Node = torch.fx.Node

POINTWISE = {
    "relu", "relu6", "gelu", "silu", "tanh", "sigmoid", "hardtanh", "leaky_relu", "elu", "hardswish", "hardsigmoid",
    "mish", "softplus", "selu", "dropout", "clone", "contiguous", "clamp", "clamp_min", "pow", "square", "abs", "neg",
}  # fmt: skip
"""Operations that keep each number where it is."""

POOLING = {
    "max_pool1d",
    "max_pool2d",
    "avg_pool1d",
    "avg_pool2d",
    "adaptive_avg_pool1d",
    "adaptive_avg_pool2d",
    "adaptive_max_pool2d",
}
"""Operations that keep each channel where it is."""

VIEWS = {"view", "reshape", "_unsafe_view", "unflatten", "transpose", "permute", "flatten"}
"""Operations that number the same values anew: around attention and after convolutions they are understood."""

ATTENTION = "scaled_dot_product_attention"

CONVOLUTIONS = {"conv1d", "conv2d"}

GRID = 8
"""Axes of 32 and more keep a multiple of that: vector units and integer kernels like it."""

TOLERANCE = 1e-4
"""How far the pruned module may be from the whole one with the same units silenced, relative to its largest answer."""

PROBES = 32
"""Batches over which a unit's effect is averaged."""

PROBE_ROWS = 8
"""Rows of one such batch."""


@dataclass(frozen=True)
class Group:
    """One hidden axis, and the parameters that know of it, by name.

    Args:
        width: units on the axis.
        block: units that go together: the size of an attention head, else 1.
        made: parameters whose rows go: weights and biases of the layers that make it.
        carried: parameters and buffers of what carries it, a number (or a filter) a unit.
        taken: parameters whose columns go, with how many columns belong to a unit.
    """

    width: int
    block: int
    made: tuple[str, ...]
    carried: tuple[str, ...]
    taken: tuple[tuple[str, int], ...]

    @property
    def units(self) -> int:
        """How many can go."""
        return self.width // self.block

    def keep(self, share: float) -> int:
        """How many stay where a share goes.

        Example:
            >>> Group(256, 1, (), (), ()).keep(0.5), Group(100, 1, (), (), ()).keep(0.5), Group(96, 32, (), (), ()).keep(0.5)
            (128, 56, 2)
        """
        wanted = max(1, round(self.units * (1.0 - share)))
        return (
            min(self.units, math.ceil(wanted / GRID) * GRID) if self.block == 1 and self.units >= 4 * GRID else wanted
        )


def find_groups(module: torch.nn.Module, inputs: Mapping[str, torch.Tensor]) -> tuple[Group, ...]:
    """Find every hidden axis of a module whose units can go.

    Raises:
        ModelError: torch cannot trace the module.
    """
    import torch

    module.eval()
    try:
        program = torch.export.export(module, (), dict(inputs), strict=False)
    except Exception as error:  # the exporter's errors share no base class; each is passed on with its words
        said = first_line(error)
        raise ModelError(
            f"cannot be traced, so nothing can be cut out of it ({said})", field="module",
            fix="give a smaller student of your own: module.py:student",
        ) from error  # fmt: skip
    names = {**program.graph_signature.inputs_to_parameters, **program.graph_signature.inputs_to_buffers}
    found: dict[tuple[str, ...], Group] = {}
    for node in program.graph.nodes:
        if _kind(node) in {"linear", *CONVOLUTIONS}:
            group = _Axis(names).follow(node)
            if group is not None:
                found.setdefault(group.made, group)
    return tuple(found.values())


def _kind(node: Node) -> str:
    """The operation's name: `relu` for `aten.relu_.default`."""
    name = str(node.target) if node.op == "call_function" else node.op
    return name.split(".")[1].removesuffix("_") if name.startswith("aten.") else name


def _shape(node: Any) -> tuple[int, ...]:
    return tuple(node.meta["val"].shape)


class _NotOurs(Exception):  # noqa: N818  # a turn in the search, not an error
    """The axis reaches something that it cannot be taken out of."""


@dataclass
class _Axis:
    """The search for one group; thrown away after it."""

    names: Mapping[str, str]
    width: int = 0
    block: int = 1
    made: list[str] = field(default_factory=list)
    carried: list[str] = field(default_factory=list)
    taken: list[tuple[str, int]] = field(default_factory=list)
    repeats: dict[Node, int] = field(default_factory=dict)
    image: bool = False
    reshaped: bool = False

    def follow(self, maker: Node) -> Group | None:
        """The group of what a layer makes; None where its axis cannot shrink."""
        self.image = _kind(maker) in CONVOLUTIONS
        self.width = _shape(maker)[1 if self.image else -1]
        try:
            self._join(maker, 1)
        except _NotOurs:
            return None
        if not self.taken or (self.reshaped and self.block == 1) or self.width // self.block < 2:
            return None
        return Group(
            self.width, self.block, tuple(sorted(self.made)), tuple(sorted(self.carried)), tuple(sorted(self.taken))
        )

    def _join(self, node: Node, repeat: int) -> None:
        """Take a value that has the axis: where it comes from, and all who use it."""
        if node in self.repeats:
            return
        self.repeats[node] = repeat
        self._look_back(node)
        for user in node.users:
            self._look_ahead(node, user, repeat)

    def _look_back(self, node: Node) -> None:
        """Find what makes a value: the layers whose rows are its units, or what it was carried through."""
        kind = _kind(node)
        if kind == "linear" or (kind in CONVOLUTIONS and _groups(node) == 1):
            if _shape(node)[1 if kind in CONVOLUTIONS else -1] != self.width:
                raise _NotOurs
            self.made += self._parameters(node, (1, 2))
        elif kind == "mul":
            for each in node.args[:2]:
                if hasattr(each, "meta"):
                    self._join_factor(node, _node(each))
        elif kind == ATTENTION:
            for each in node.args[:3]:
                self._join(_node(each), 1)
        else:
            self._look_through(node)

    def _look_through(self, node: Node) -> None:
        """Go back through what gives each unit what it got."""
        kind, source = _kind(node), _node(node.args[0] if node.args else None)
        if kind in CONVOLUTIONS:
            self._check_depthwise(node)
            self.carried += self._parameters(node, (1, 2))
        elif kind == "batch_norm":
            self.carried += self._parameters(node, (1, 2, 3, 4))
        elif kind not in POINTWISE | VIEWS and not (self.image and (kind in POOLING or _is_spatial_mean(node))):
            raise _NotOurs
        self._join(source, self.repeats.get(source, 1))

    def _look_ahead(self, node: Node, user: Node, repeat: int) -> None:
        kind = _kind(user)
        if kind == "linear" or (kind in CONVOLUTIONS and _groups(user) == 1):
            if user.args[0] is not node or _shape(node)[-1 if kind == "linear" else 1] != self.width * repeat:
                raise _NotOurs
            self.taken += [(name, repeat) for name in self._parameters(user, (1,))]
        elif kind in CONVOLUTIONS or kind in {"batch_norm", "mul"} | POINTWISE | POOLING or _is_spatial_mean(user):
            self._join(user, repeat)
        elif kind == ATTENTION:
            if node not in user.args[:3]:
                raise _NotOurs
            *_, heads, _, size = _shape(user.args[0])
            if heads * size != self.width or _shape(user.args[2])[-1] != size:
                raise _NotOurs
            self.block = size
            self._join(user, 1)
        elif kind in VIEWS:
            self._join(user, self._reshape(node, user, repeat))
        else:
            raise _NotOurs

    def _reshape(self, node: Node, user: Node, repeat: int) -> int:
        """How many numbers a unit has behind a view: the places of an image that is laid flat, or one more turn about attention."""
        before, after = _shape(node), _shape(user)
        if self.image and before[1] == self.width and after == (before[0], math.prod(before[1:])):
            return repeat * math.prod(before[2:])
        self.reshaped = True
        return repeat

    def _join_factor(self, product: Node, factor: Node) -> None:
        """A gate of the same width has the axis too; one that is stretched over it cannot lose a unit of its own."""
        mine, whole = _shape(factor), _shape(product)
        if len(mine) != len(whole) or self.width not in (mine[-1], mine[min(1, len(mine) - 1)]):
            raise _NotOurs
        self._join(factor, 1)

    def _check_depthwise(self, node: Node) -> None:
        if not _groups(node) == self.width == _shape(node)[1] == _shape(node.args[0])[1]:
            raise _NotOurs

    def _parameters(self, node: Node, places: Iterable[int]) -> list[str]:
        """The names of a node's parameters; one that others use as well cannot be cut."""
        given = [node.args[place] for place in places if place < len(node.args) and node.args[place] is not None]
        found = [_node(each) for each in given]
        if any(each.name not in self.names or len(each.users) > 1 for each in found):
            raise _NotOurs
        return [self.names[each.name] for each in found]


def _node(value: Any) -> Node:
    import torch

    if not isinstance(value, torch.fx.Node):
        raise _NotOurs
    return value


def _groups(node: Node) -> int:
    groups = node.args[6] if len(node.args) > 6 else 1
    return groups if isinstance(groups, int) else 1


def _is_spatial_mean(node: Node) -> bool:
    axes = node.args[1] if _kind(node) == "mean" and len(node.args) > 1 else None
    return (
        isinstance(axes, list | tuple) and bool(axes) and set(axes) <= {-1, -2, 2, 3} and len(_shape(node.args[0])) == 4
    )


def _columns(weight: torch.Tensor, width: int, repeat: int) -> torch.Tensor:
    """Sum a weight over all but the units of its second axis."""
    return (
        weight.transpose(0, 1).reshape(width, -1).sum(1) if repeat == 1 else weight.sum(0).reshape(width, repeat).sum(1)
    )


def effects(
    module: torch.nn.Module, groups: Sequence[Group], rows: Mapping[str, NDArray[Any]], *, seed: int = 1
) -> list[torch.Tensor]:
    """How far the answers would move, to first order, if a unit fell silent: its Taylor importance, squared, without labels.

    Answers are weighed by random signs, each its own, and summed; the gradient of that sum by the columns that take a unit,
    times these columns, is the first-order effect of the unit. Its square has the sum of squared effects over answers for
    its expectation, as products of different signs vanish (Molchanov et al., Importance Estimation for Neural Network
    Pruning, 2019; Hutchinson's estimator).

    Args:
        module: in evaluation mode.
        groups: of its axes.
        rows: to ask it about; the first `PROBES` × `PROBE_ROWS`.
        seed: of the signs.
    """
    import torch

    tensors = dict(module.named_parameters())
    scores = [torch.zeros(group.units) for group in groups]
    signs = torch.Generator().manual_seed(seed)
    total = len(next(iter(rows.values())))
    for start in range(0, min(total, PROBES * PROBE_ROWS), PROBE_ROWS):
        batch = {
            argument(name): torch.from_numpy(array[start : start + PROBE_ROWS].copy()) for name, array in rows.items()
        }
        module.zero_grad()
        answers = [each for each in flat(module(**batch)).values() if each.requires_grad]
        weighed = [(each * (torch.randint(0, 2, each.shape, generator=signs) * 2 - 1)).sum() for each in answers]
        torch.stack(weighed).sum().backward()  # type: ignore[no-untyped-call]  # torch left this one untyped
        for score, group in zip(scores, groups, strict=True):
            effect = torch.zeros(group.width)
            for name, repeat in group.taken:
                weight = tensors[name]
                if weight.grad is not None:
                    effect += _columns((weight * weight.grad).detach(), group.width, repeat)
            score.add_(effect.reshape(-1, group.block).sum(1).square())
    module.zero_grad()
    return scores


def prune(
    module: torch.nn.Module,
    inputs: Mapping[str, torch.Tensor],
    share: float,
    *,
    rows: Mapping[str, NDArray[Any]],
    seed: int = 1,
) -> torch.nn.Module:
    """Take a share of the hidden units, channels and heads out of a module: those of each axis that move its answers least.

    The result is checked to answer as the whole module does with these units silenced.

    Args:
        module: stays as it was.
        inputs: example tensors by argument name, two rows or more.
        share: of the units of each axis, between 0 and 1.
        rows: by input name, on which effects are told.
        seed: of the signs by which effects are told.

    Returns:
        A smaller module in evaluation mode.

    Raises:
        ModelError: the share is none, the module cannot be traced, or has no axis that can shrink.

    Example:
        >>> import torch
        >>> mlp = torch.nn.Sequential(torch.nn.Linear(4, 64), torch.nn.ReLU(), torch.nn.Linear(64, 1))
        >>> prune(mlp, {"input": torch.zeros(2, 4)}, 0.5, rows={"input": torch.randn(32, 4).numpy()})
        Sequential(
          (0): Linear(in_features=4, out_features=32, bias=True)
          (1): ReLU()
          (2): Linear(in_features=32, out_features=1, bias=True)
        )
    """
    import torch

    if not 0.0 < share < 1.0:
        raise ModelError("is no share of what can go", field="share", value=share, fix="give one between 0 and 1")
    whole = copy.deepcopy(module).eval().requires_grad_(requires_grad=True)
    groups = [group for group in find_groups(whole, inputs) if group.keep(share) < group.units]
    if not groups:
        raise ModelError(
            "has no hidden axis that can shrink: each reaches a sum, an output or an operation that is not understood",
            field="module",
            fix="give a smaller student of your own: module.py:student",
        )
    with reproducible(seed), torch.enable_grad():
        scores = effects(whole, groups, rows, seed=seed)
    kept = [_best(score, group, group.keep(share)) for score, group in zip(scores, groups, strict=True)]
    return _cut(whole, groups, kept, inputs)


def _best(score: torch.Tensor, group: Group, count: int) -> torch.Tensor:
    """The places of the units that stay, in their old order; of equals the first."""
    import torch

    order = torch.argsort(score, descending=True, stable=True)[:count].sort().values
    return (order.unsqueeze(1) * group.block + torch.arange(group.block)).flatten()


def _cut(
    whole: torch.nn.Module, groups: Sequence[Group], kept: Sequence[torch.Tensor], inputs: Mapping[str, torch.Tensor]
) -> torch.nn.Module:
    """The module without the other units, and with what it says of its own sizes put right."""
    expected = _answers(_silenced(whole, groups, kept), inputs)
    for told in ((), ("head",), ("head", "dim", "size")):
        small = copy.deepcopy(whole)
        for group, places in zip(groups, kept, strict=True):
            _shrink(small, group, places)
            _retell(small, group, len(places), told)
        if _same(expected, small, inputs):
            return small
    raise ModelError(
        "answers otherwise without units that were silent: its code counts on their number", field="module",
        fix="take sizes from the tensors' shapes in `forward`",
    )  # fmt: skip


def _silenced(whole: torch.nn.Module, groups: Sequence[Group], kept: Sequence[torch.Tensor]) -> torch.nn.Module:
    import torch

    silent = copy.deepcopy(whole)
    tensors = dict(silent.named_parameters())
    with torch.no_grad():
        for group, places in zip(groups, kept, strict=True):
            mask = torch.zeros(group.width).index_fill(0, places, 1.0)
            for name, repeat in group.taken:
                weight = tensors[name]
                weight.mul_(mask.repeat_interleave(repeat).to(weight.dtype).reshape(1, -1, *[1] * (weight.dim() - 2)))
    return silent


def _answers(module: torch.nn.Module, inputs: Mapping[str, torch.Tensor]) -> list[torch.Tensor]:
    import torch

    with torch.no_grad():
        return list(flat(module(**inputs)).values())


def _same(expected: list[torch.Tensor], module: torch.nn.Module, inputs: Mapping[str, torch.Tensor]) -> bool:
    try:
        actual = _answers(module, inputs)
    except (RuntimeError, ValueError, TypeError, AssertionError):  # how a module's code says that a size is wrong
        return False
    pairs = list(zip(expected, actual, strict=True))
    return all(
        a.shape == b.shape and float((a - b).abs().max()) <= TOLERANCE * max(1e-6, float(a.abs().max()))
        for a, b in pairs
        if a.is_floating_point()
    )


def _shrink(module: torch.nn.Module, group: Group, places: torch.Tensor) -> None:
    import torch

    for name in (*group.made, *group.carried):
        _slice(module, name, 0, places)
    for name, repeat in group.taken:
        _slice(module, name, 1, (places.unsqueeze(1) * repeat + torch.arange(repeat)).flatten())


def _slice(module: torch.nn.Module, name: str, axis: int, places: torch.Tensor) -> None:
    """Keep some places of a parameter or buffer, and tell its owner."""
    import torch

    path, _, leaf = name.rpartition(".")
    owner = module.get_submodule(path)
    had = getattr(owner, leaf)
    now = had.detach().index_select(axis, places).clone()
    setattr(owner, leaf, torch.nn.Parameter(now) if isinstance(had, torch.nn.Parameter) else now)
    if isinstance(owner, torch.nn.Linear):
        owner.out_features, owner.in_features = owner.weight.shape
    elif isinstance(owner, torch.nn.Conv1d | torch.nn.Conv2d):
        owner.groups = len(places) if owner.groups > 1 else 1
        owner.out_channels, owner.in_channels = owner.weight.shape[0], owner.weight.shape[1] * owner.groups
    elif isinstance(owner, torch.nn.BatchNorm1d | torch.nn.BatchNorm2d):
        owner.num_features = len(places)


def _retell(module: torch.nn.Module, group: Group, width: int, told: tuple[str, ...]) -> None:
    """Change the numbers by which an attention knows its heads: whole numbers of its own of a fitting name and value."""
    if group.block == 1 or not told:
        return
    numbers = {group.units: width // group.block, group.width: width}
    for path in {name.rsplit(".", 2)[0] if name.count(".") > 1 else "" for name in group.made}:
        owner = module.get_submodule(path)
        for key, value in vars(owner).items():
            if type(value) is int and value in numbers and any(word in key for word in told):
                setattr(owner, key, numbers[value])
