"""A tied process: it ends with whoever started it, however that ends."""

from __future__ import annotations

import signal
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

_TIE = "import ctypes, os, sys; ctypes.CDLL(None).prctl(1, int(sys.argv[1])); os.execv(sys.argv[2], sys.argv[2:])"
"""`prctl(PR_SET_PDEATHSIG, signal)` (Linux's `prctl(2)`), and the command in this process's place."""


def tied(command: Sequence[str], told: signal.Signals = signal.SIGTERM) -> list[str]:
    """The command as one that is told to end when the thread that started it does, also where that was killed.

    Args:
        command: of a program by its full path.
        told: how.

    Returns:
        The command; where the system is not Linux, as it was.

    Example:
        >>> tied(["/bin/true", "-x"])[-2:]
        ['/bin/true', '-x']
    """
    if sys.platform != "linux":
        return list(command)
    return [sys.executable, "-ISc", _TIE, str(int(told)), *command]
