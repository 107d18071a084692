"""A shallower student: some of a teacher's equal blocks, each as the teacher has it."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import numpy as np

from windtunnel.errors import ModelError
from windtunnel.session import first_line

from .distil import argument
from .parity import flat
from .reproducible import reproducible

if TYPE_CHECKING:
    from collections.abc import Mapping

    import torch
    from numpy.typing import NDArray

LEAST_SHARE = 0.3
"""Blocks with a smaller share of the parameters (look-up tables left out) are not where the work is."""

ASKED_ROWS = 64
"""Rows on which spreads of kept blocks are compared."""


def find_blocks(module: torch.nn.Module) -> str:
    """The name of the list of equal blocks that most of a module consists of.

    Raises:
        ModelError: there is none.

    Example:
        >>> import torch
        >>> layers = torch.nn.Sequential(*(torch.nn.Linear(4, 4) for _ in range(6)))
        >>> find_blocks(torch.nn.ModuleDict({"body": layers, "head": torch.nn.Linear(4, 1)}))
        'body'
    """
    import torch

    tables = {id(each.weight) for each in module.modules() if isinstance(each, torch.nn.Embedding)}
    total = sum(each.numel() for each in module.parameters() if id(each) not in tables)
    found = {
        name: sum(each.numel() for each in blocks.parameters())
        for name, blocks in module.named_modules()
        if isinstance(blocks, torch.nn.ModuleList | torch.nn.Sequential) and _equal(blocks)
    }
    best = max(found, key=lambda name: found[name], default="")
    if not found or found[best] < LEAST_SHARE * total:
        raise ModelError(
            "does not mainly consist of equal blocks, so none can be left out", field="module",
            fix="keep them in one ModuleList, or give a smaller student of your own",
        )  # fmt: skip
    return best


def _equal(blocks: torch.nn.Module) -> bool:
    """Whether there are two blocks or more, of the same class, with parameters of the same names and shapes."""
    children = list(blocks.children())
    shapes = [[(name, tuple(each.shape)) for name, each in child.state_dict().items()] for child in children]
    return len(children) > 1 and bool(shapes[0]) and all(
        type(child) is type(children[0]) and shape == shapes[0] for child, shape in zip(children, shapes, strict=True)
    )  # fmt: skip


def spreads(blocks: int, every: int) -> list[tuple[int, ...]]:
    """Ways to keep one block in so many: counted from the last, from the first, and with both ends.

    Example:
        >>> spreads(6, 2)
        [(1, 3, 5), (0, 2, 4), (0, 2, 5)]
    """
    count = max(1, blocks // every)
    last = tuple(sorted(blocks - 1 - every * step for step in range(count)))
    first = tuple(every * step for step in range(count))
    ends = tuple(int(place) for place in np.linspace(0, blocks - 1, count)) if count > 1 else (blocks - 1,)
    return list(dict.fromkeys([last, first, ends]))


def keep_blocks(module: torch.nn.Module, kept: tuple[int, ...]) -> torch.nn.Module:
    """A copy of a module that has only some of its equal blocks, in evaluation mode."""
    import torch

    name = find_blocks(module)
    small = copy.deepcopy(module).eval().requires_grad_(requires_grad=True)
    blocks = small.get_submodule(name)
    chosen = [list(blocks.children())[place] for place in kept]
    container: torch.nn.Module = (
        torch.nn.ModuleList(chosen) if isinstance(blocks, torch.nn.ModuleList) else torch.nn.Sequential(*chosen)
    )
    if not name:
        return container
    path, _, leaf = name.rpartition(".")
    setattr(small.get_submodule(path), leaf, container)
    return small


def choose_blocks(module: torch.nn.Module, rows: Mapping[str, NDArray[Any]], every: int) -> tuple[int, ...]:
    """Which of a module's equal blocks to keep, one in so many: those with which it answers most as before, unlearnt.

    Args:
        module: stays as it was.
        rows: by input name; the first 64 are asked.
        every: 2 keeps half.

    Returns:
        Their places.

    Raises:
        ModelError: it does not consist of equal blocks, or does not run with fewer.
    """
    import torch

    asked = {argument(name): torch.from_numpy(array[:ASKED_ROWS].copy()) for name, array in rows.items()}
    name = find_blocks(module)
    blocks = len(list(module.get_submodule(name).children()))
    if every > blocks:
        raise ModelError(
            f"has {blocks} equal blocks, too few to keep one in {every}", field="module", fix="keep them all"
        )
    with reproducible(0), torch.no_grad():
        wanted = _answer(module.eval(), asked)
        losses = [_distance(keep_blocks(module, kept), asked, wanted) for kept in spreads(blocks, every)]
    return spreads(blocks, every)[int(np.argmin(losses))]


def alike(
    module: torch.nn.Module, kept: tuple[int, ...], rows: Mapping[str, NDArray[Any]]
) -> tuple[tuple[str, str], ...]:
    """Which blocks of a module and of its copy with some of them kept are to give the same, by name.

    A kept block is followed by the next kept one: it is to hand on what the block before that one hands on in the whole
    module, and the last what the whole module's last does; so the work of those that went is shared out.

    Args:
        module: the whole one.
        kept: the places of its blocks that stay.
        rows: by input name; the first few are asked.

    Returns:
        A name in the whole module and one in the copy each; none where blocks do not give what they make of a row at its
        place on axis 0.

    Example:
        >>> import torch
        >>> whole = torch.nn.Sequential(*(torch.nn.Linear(4, 4) for _ in range(6)))
        >>> alike(whole, (0, 2, 4), {"input": np.ones((20, 4), np.float32)})
        (('1', '0'), ('3', '1'), ('5', '2'))
    """
    import torch

    path = find_blocks(module)
    names = [f"{path}.{name}" if path else name for name, _ in module.get_submodule(path).named_children()]
    given: list[int] = []
    hook = module.get_submodule(names[-1]).register_forward_hook(
        lambda _module, _arguments, output: given.append(len(next(iter(flat(output).values()))))
    )
    try:
        with reproducible(0), torch.no_grad():
            for count in (2, 3):
                _answer(
                    module.eval(),
                    {argument(name): torch.from_numpy(array[:count].copy()) for name, array in rows.items()},
                )
    finally:
        hook.remove()
    if given != [2, 3]:
        return ()
    copied = [f"{path}.{place}" if path else str(place) for place in range(len(kept))]
    return tuple(zip([names[place - 1] for place in (*kept[1:], len(names))], copied, strict=True))


def _answer(module: torch.nn.Module, asked: Mapping[str, torch.Tensor]) -> torch.Tensor:
    return next(iter(flat(module(**asked)).values()))


def _distance(small: torch.nn.Module, asked: Mapping[str, torch.Tensor], wanted: torch.Tensor) -> float:
    try:
        answer = _answer(small, asked)
    except (
        RuntimeError,
        ValueError,
        TypeError,
        IndexError,
        AttributeError,
    ) as error:  # how a module's code says that a block is missing
        raise ModelError(
            f"does not run with fewer blocks ({first_line(error)})",
            field="module", fix="let `forward` walk over all blocks there are",
        ) from error  # fmt: skip
    return float((answer - wanted).square().mean())
