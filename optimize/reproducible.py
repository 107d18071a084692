"""Training that gives the same bits again: torch's chance and its order of summing, held for a while and handed back."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextlib.contextmanager
def reproducible(seed: int, threads: int = 1) -> Iterator[None]:
    """Let torch draw from a seed, sum in one order, and use so many threads; all is as it was afterwards.

    The number of threads decides how sums are split, hence their last bits: it belongs to what is asked for, not to the machine.

    Args:
        seed: of torch's generator on the processor.
        threads: of one operation.

    Example:
        >>> import torch
        >>> with reproducible(1):
        ...     first = torch.rand(2).tolist()
        >>> with reproducible(1):
        ...     again = torch.rand(2).tolist()
        >>> first == again
        True
    """
    import torch

    had_threads, had_order = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    had_warning = torch.is_deterministic_algorithms_warn_only_enabled()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        torch.set_num_threads(threads)
        torch.use_deterministic_algorithms(mode=True)
        try:
            yield
        finally:
            torch.set_num_threads(had_threads)
            torch.use_deterministic_algorithms(mode=had_order, warn_only=had_warning)
