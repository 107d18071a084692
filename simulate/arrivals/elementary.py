"""Logarithm, exponential and cosine out of additions, multiplications and divisions: the same bits on every machine.

A machine's own mathematical library picks its code by the processor it finds, and the last bit may differ from node to node of
a cluster. These do not, and the compiler can run four or eight of them at once where it finds a plain loop over them.

Source: algorithms and coefficients of fdlibm 5.3 (Sun Microsystems, 1993: e_log.c, e_exp.c, k_cos.c, k_sin.c).
"""

from __future__ import annotations

import numpy as np
from numba import njit

from windtunnel.simulate.chance import uniform_from

_LN2_HIGH, _LN2_LOW = 6.93147180369123816490e-01, 1.90821492927058770002e-10
_L1, _L2, _L3, _L4 = (
    6.666666666666735130e-01,
    3.999999999940941908e-01,
    2.857142874366239149e-01,
    2.222219843214978396e-01,
)
_L5, _L6, _L7 = 1.818357216161805012e-01, 1.531383769920937332e-01, 1.479819860511658591e-01
_P1, _P2, _P3 = 1.66666666666666019037e-01, -2.77777777770155933842e-03, 6.61375632143793436117e-05
_P4, _P5 = -1.65339022054652515390e-06, 4.13813679705723846039e-08
_C1, _C2, _C3 = 4.16666666666666019037e-02, -1.38888888888741095749e-03, 2.48015872894767294178e-05
_C4, _C5, _C6 = -2.75573143513906633035e-07, 2.08757232129817482790e-09, -1.13596475577881948265e-11
_S1, _S2, _S3 = -1.66666666666666324348e-01, 8.33333333332248946124e-03, -1.98412698298579493134e-04
_S4, _S5, _S6 = 2.75573137070700676789e-06, -2.50507602534068634195e-08, 1.58969099521155010221e-10
_ROOT_HALF_BITS, _MANTISSA = np.uint64(0x3FE6A09E667F3BCD), np.int64(52)
_ONE_BITS = np.int64(1023)


@njit(nogil=True, cache=True, inline="always", error_model="numpy")
def minus_log(x: float) -> float:
    """−ln x of a normal number above zero, to one unit in the last place.

    Example:
        >>> minus_log(1.0), round(minus_log(0.5), 12)
        (0.0, 0.693147180560)
    """
    bits = np.float64(x).view(np.uint64)
    # a number between √½ and √2, and the power of two that is left
    power = np.int64(bits - _ROOT_HALF_BITS) >> _MANTISSA
    f = np.uint64(bits - (np.uint64(power) << np.uint64(_MANTISSA))).view(np.float64) - 1.0
    s = f / (2.0 + f)
    z = s * s
    rest = z * (_L1 + z * (_L2 + z * (_L3 + z * (_L4 + z * (_L5 + z * (_L6 + z * _L7))))))
    half = 0.5 * f * f
    powers = float(power)
    return (half - (s * (half + rest) + powers * _LN2_LOW) - f) - powers * _LN2_HIGH


@njit(nogil=True, cache=True, inline="always", error_model="numpy")
def e_to(x: float) -> float:
    """eˣ to one unit in the last place; zero below −700, and e⁷⁰⁰ above 700.

    Example:
        >>> e_to(0.0), round(e_to(1.0), 12), e_to(-1000.0)
        (1.0, 2.718281828459, 0.0)
    """
    bounded = min(max(x, -700.0), 700.0)
    power = np.floor(bounded * 1.44269504088896338700 + 0.5)
    high, low = bounded - power * _LN2_HIGH, power * _LN2_LOW
    r = high - low
    t = r * r
    c = r - t * (_P1 + t * (_P2 + t * (_P3 + t * (_P4 + t * _P5))))
    scale = np.int64((np.int64(power) + _ONE_BITS) << _MANTISSA).view(np.float64)
    value = (1.0 - ((low - (r * c) / (2.0 - c)) - high)) * scale
    return value if x >= -700.0 else 0.0


@njit(nogil=True, cache=True, inline="always", error_model="numpy")
def cosine_of_turns(turns: float) -> float:
    """The cosine of 2πx, which has no angle to reduce: its period is one.

    Example:
        >>> cosine_of_turns(0.0), cosine_of_turns(0.25), cosine_of_turns(7.5)
        (1.0, 0.0, -1.0)
    """
    x = turns - np.floor(turns)
    quarter = np.floor(4.0 * x + 0.5)
    angle = (x - 0.25 * quarter) * 6.283185307179586
    z = angle * angle
    cosine: float = 1.0 - (0.5 * z - z * z * (_C1 + z * (_C2 + z * (_C3 + z * (_C4 + z * (_C5 + z * _C6))))))
    sine: float = angle + angle * z * (_S1 + z * (_S2 + z * (_S3 + z * (_S4 + z * (_S5 + z * _S6)))))
    if quarter == 1.0:
        return -sine
    if quarter == 2.0:
        return -cosine
    return sine if quarter == 3.0 else cosine


@njit(nogil=True, cache=True, inline="always", error_model="numpy")
def unit_exponential(start: np.uint64, counter: int) -> float:
    """The `counter`-th exponential of mean one of the stream that begins at `origin(seed)`: by inversion, one uniform each."""
    return minus_log(1.0 - uniform_from(start, counter))
