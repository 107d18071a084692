"""What `vpmaddubsw` loses: sums of two products that do not fit 16 bits.

x86 processors without VNNI multiply unsigned with signed bytes by this instruction, which adds each two neighbouring
products and clamps the sum to 16 bits before anything is widened: 255 × 127 + 255 × 127 = 64,770 becomes 32,767.
Source: Intel 64 and IA-32 Architectures Software Developer's Manual, volume 2, `PMADDUBSW`; ONNX Runtime's kernels
(`mlas/lib/x86_64/QgemmU8X8KernelAvx2.S`, `ConvSymKernelAvx2.S`, 1.30) take pairs along the summed axis, for a convolution in
the order height, width, channel.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numba
import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

LEAST, MOST = -(2**15), 2**15 - 1


def may_saturate(weights: NDArray[np.int8]) -> bool:
    """Whether any activations at all could overflow a pair: of two weights in a pair, those of one sign sum beyond 128.

    Args:
        weights: `[summed, columns]`.

    Example:
        >>> may_saturate(np.array([[64], [64]], np.int8)), may_saturate(np.array([[65], [64]], np.int8))
        (False, True)
    """
    wide = _even(weights).astype(np.int32)
    up, down = (np.maximum(sign * wide, 0) for sign in (1, -1))
    return bool(
        255 * (up[::2] + up[1::2]).max(initial=0) > MOST or -255 * (down[::2] + down[1::2]).max(initial=0) < LEAST
    )


def lost(activations: NDArray[np.uint8], weights: NDArray[np.int8]) -> tuple[NDArray[np.int32], int]:
    """What clamping takes from a product of matrices: added to the exact product it gives the clamped one.

    Args:
        activations: `[rows, summed]`.
        weights: `[summed, columns]`.

    Returns:
        int32 `[rows, columns]`, and how many of the rows × ⌈summed / 2⌉ × columns pairs were clamped.

    Example:
        >>> change, pairs = lost(np.array([[255, 255, 1]], np.uint8), np.array([[127], [127], [3]], np.int8))
        >>> change.tolist(), pairs
        ([[-32003]], 1)
    """
    pairs = _even(weights).astype(np.int32).reshape(-1, 2, weights.shape[1])
    high = np.maximum(pairs, 0).sum(axis=1).max(axis=1, initial=0)
    low = np.minimum(pairs, 0).sum(axis=1).min(axis=1, initial=0)
    change = np.zeros((len(activations), weights.shape[1]), np.int32)
    clamped = _lost(
        np.ascontiguousarray(_even(activations.T).T), pairs, high.astype(np.int32), low.astype(np.int32), change
    )
    return change, int(clamped)


def _even(matrix: NDArray[Any]) -> NDArray[Any]:
    """A row of zeros more where their number is odd: what kernels pad the last pair with."""
    return np.pad(matrix, ((0, len(matrix) % 2), (0, 0)))


@numba.njit(nogil=True, cache=True)
def _lost(
    activations: NDArray[np.uint8],
    pairs: NDArray[np.int32],
    high: NDArray[np.int32],
    low: NDArray[np.int32],
    change: NDArray[np.int32],
) -> int:
    clamped = 0
    for row in range(activations.shape[0]):
        for pair in range(pairs.shape[0]):
            first, second = np.int32(activations[row, 2 * pair]), np.int32(activations[row, 2 * pair + 1])
            larger = max(first, second)
            if larger * high[pair] <= MOST and larger * low[pair] >= LEAST:
                continue  # no column of this pair can overflow
            for column in range(pairs.shape[2]):
                total = first * pairs[pair, 0, column] + second * pairs[pair, 1, column]
                excess = min(max(total, np.int32(LEAST)), np.int32(MOST)) - total
                change[row, column] += excess
                clamped += excess != 0
    return clamped


def patches(
    images: NDArray[np.uint8],
    kernel: tuple[int, int],
    strides: tuple[int, int],
    pads: tuple[int, int, int, int],
    dilations: tuple[int, int],
    empty: int,
) -> NDArray[np.uint8]:
    """The matrix whose product with the weights is a convolution (im2col), in the order height, width, channel.

    Args:
        images: `[rows, channels, height, width]`.
        kernel: its height and width.
        strides: of the kernel, down and across.
        pads: top, left, bottom, right.
        dilations: of the kernel, down and across.
        empty: what stands for zero.

    Returns:
        uint8 `[rows × places, kernel height × kernel width × channels]`, places in reading order.
    """
    top, left, bottom, right = pads
    padded = np.pad(images, ((0, 0), (0, 0), (top, bottom), (left, right)), constant_values=empty)
    reach = [dilations[axis] * (kernel[axis] - 1) + 1 for axis in (0, 1)]
    windows = np.lib.stride_tricks.sliding_window_view(padded, reach, axis=(2, 3))
    seen = windows[:, :, :: strides[0], :: strides[1], :: dilations[0], :: dilations[1]]
    return np.ascontiguousarray(seen.transpose(0, 2, 3, 4, 5, 1)).reshape(-1, kernel[0] * kernel[1] * images.shape[1])
