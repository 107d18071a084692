"""What a user's factory makes: a torch module, example inputs by argument name, and which of their axes are free."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from windtunnel.errors import ModelError
from windtunnel.source import call, load_function

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import torch

RETURN = "return (module, {name: tensor}), or (module, {name: tensor}, {name: {axis: name of a free axis}})"


@dataclass(frozen=True)
class Made:
    """A torch module as a user's function made it.

    Args:
        module: takes its inputs by name.
        inputs: example tensors by argument name, rows on axis 0.
        axes: for each input the axes beside the first that are free, by their place, with a name each.
    """

    module: torch.nn.Module
    inputs: Mapping[str, torch.Tensor]
    axes: Mapping[str, Mapping[int, str]] = field(default_factory=dict)


def make_module(text: str, home: Path, *arguments: Any) -> Made:
    """Call `file.py:function` or `package.module:function`.

    Args:
        text: the function.
        home: the folder that it is relative to.
        arguments: that it takes.

    Raises:
        ConfigError: there is no such function.
        UserCodeError: it raised; its traceback is shown, not ours.
        ModelError: it returned something else.
    """
    made = call(load_function(text, home), *arguments, name=text)
    if not (isinstance(made, tuple) and len(made) in {2, 3} and all(isinstance(each, dict) for each in made[1:])):
        raise ModelError("did not return a module and its example inputs", field=text, fix=RETURN)
    return Made(*made)
