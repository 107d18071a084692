"""A Grid: the whole numbers that stand for a block of weights, and how to round to them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Grid:
    """Whole numbers 0 … 2^bits − 1, of which `zero` stands for nought and two neighbours lie `scale` apart.

    Args:
        bits: of a whole number.
        scale: float32 [..., 1], one for each block.
        zero: float32 [..., 1], whole numbers.

    Example:
        >>> grid = Grid.around(np.float32([[-1.0, 0.0, 0.5, 2.0]]), bits=2)
        >>> grid.codes(np.float32([[-1.0, 0.0, 0.5, 2.0]])), grid.values(np.float32([[0, 1, 2, 3]]))
        (array([[0., 1., 2., 3.]], dtype=float32), array([[-1.,  0.,  1.,  2.]], dtype=float32))
    """

    bits: int
    scale: Floats
    zero: Floats

    @staticmethod
    def around(blocks: Floats, bits: int) -> Grid:
        """The grid from the smallest to the largest of each block (the last axis), nought among them."""
        low, high = np.minimum(blocks.min(axis=-1, keepdims=True), 0), np.maximum(blocks.max(axis=-1, keepdims=True), 0)
        scale = ((high - low) / np.float32(2**bits - 1)).astype(np.float32)
        scale[scale < np.finfo(np.float32).tiny] = 1.0
        return Grid(bits, scale, np.clip(np.rint(-low / scale), 0, 2**bits - 1).astype(np.float32))

    def codes(self, blocks: Floats) -> Floats:
        """The nearest whole numbers."""
        rounded = np.rint(blocks / self.scale) + self.zero
        return np.asarray(np.clip(rounded, 0, 2**self.bits - 1), dtype=np.float32)

    def values(self, codes: Floats) -> Floats:
        """What whole numbers stand for."""
        return (codes - self.zero) * self.scale


def nearest(weights: Floats, block: int, bits: int) -> tuple[Floats, Grid]:
    """Round to nearest, block by block.

    Args:
        weights: [outputs, inputs], inputs a multiple of the block.
        block: inputs that share a scale.
        bits: of a whole number.

    Returns:
        Whole numbers [outputs, blocks, block] and their grid.
    """
    blocks = weights.reshape(len(weights), -1, block)
    grid = Grid.around(blocks, bits)
    return grid.codes(blocks), grid


ITERATIONS = 20
"""Rounds of the half-quadratic solver; its error stands still after a dozen."""

NORM = 0.7
"""The power of the error that the half-quadratic solver makes small: below one, so that a few far weights may stay far."""


def half_quadratic(weights: Floats, block: int, bits: int) -> tuple[Floats, Grid]:
    """Fit each block's scale so that most of its weights are near, and a few far ones may be far.

    Half-quadratic quantization (Badri and Shaji 2023, HQQ), which turns shrinking the error and solving for the grid. HQQ
    solves for a zero that is no whole number; ONNX Runtime's fast kernels know only whole ones, so that the scale
    is solved for, and the zero is rounded. A block that gets no better keeps its first grid.
    """
    blocks = weights.reshape(len(weights), -1, block)
    first = grid = Grid.around(blocks, bits)
    best, best_error = first, _power(blocks, first)
    beta = np.float32(10.0)
    for _ in range(ITERATIONS):
        error = _shrink((blocks - grid.values(grid.codes(blocks))) / grid.scale, beta) * grid.scale
        grid = _refit(blocks - error, grid, blocks)
        found = _power(blocks, grid)
        better = found < best_error
        best = Grid(bits, np.where(better, grid.scale, best.scale), np.where(better, grid.zero, best.zero))
        best_error = np.minimum(found, best_error)
        beta *= np.float32(1.1)
    return best.codes(blocks), best


def _shrink(error: Floats, beta: np.float32) -> Floats:
    """The proximal step of |error|^NORM: small errors become none, large ones stay (in units of the scale)."""
    size = np.abs(error)
    less = np.maximum(size - np.power(np.maximum(size, 1e-4), NORM - 1) / beta, 0.0)
    return np.asarray(np.sign(error) * less, dtype=np.float32)


def _refit(target: Floats, grid: Grid, blocks: Floats) -> Grid:
    """The scale that fits the present whole numbers best, then the zero."""
    codes = grid.codes(blocks)
    steps = codes - grid.zero
    size = (steps * steps).sum(axis=-1, keepdims=True)
    scale = np.where(size > 0, (steps * target).sum(axis=-1, keepdims=True) / np.maximum(size, 1), grid.scale)
    scale = np.where(scale > 0, scale, grid.scale).astype(np.float32)
    zero = np.clip(np.rint((codes - target / scale).mean(axis=-1, keepdims=True)), 0, 2**grid.bits - 1)
    return Grid(grid.bits, scale, zero.astype(np.float32))


def _power(blocks: Floats, grid: Grid) -> Floats:
    error = np.abs(blocks - grid.values(grid.codes(blocks)))
    return np.asarray(np.power(error, NORM).sum(axis=-1, keepdims=True), dtype=np.float32)


def pack(codes: Floats, bits: int) -> NDArray[Any]:
    """Whole numbers along the last axis as bytes: of two that share a byte the first is the low half.

    Example:
        >>> pack(np.float32([[1, 2, 15]]), 4).tolist(), pack(np.float32([[1, 200]]), 8).tolist()
        ([[33, 15]], [[1, 200]])
    """
    whole = codes.astype(np.uint8)
    if bits == 8:
        return whole
    if whole.shape[-1] % 2:
        whole = np.concatenate([whole, np.zeros((*whole.shape[:-1], 1), np.uint8)], axis=-1)
    return whole[..., ::2] | (whole[..., 1::2] << 4)
