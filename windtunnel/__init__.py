"""windtunnel: where a model flies before it meets production.

    import windtunnel

    session = windtunnel.load("runs/flights")       # the variant that the run chose
    answers = session.run({"distance": …})

Every verb of the command line is a function of the same name and defaults: `windtunnel.optimize.optimize`,
`windtunnel.benchmarks.benchmark`, `windtunnel.simulate.simulate`, `windtunnel.simulate.plan`,
`windtunnel.backtest.backtest`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from windtunnel.session import Session

__version__ = "0.1.0"

__all__ = ["__version__", "load"]


def load(path: str | Path, *, threads: int = 0) -> Session:
    """Open a model: the chosen variant of a run folder, a bundle, or a bare ONNX file.

    Args:
        path: a run folder, its `optimize` folder, a bundle, or an `.onnx` file.
        threads: intra-op threads of the session; where 0, as many as the variant was chosen with, and one for a bare file.

    Returns:
        A `Session` with `run(dict[str, ndarray]) -> dict[str, ndarray]` and `signature`.

    Raises:
        ModelError: neither of these, or not a whole model.
        RunFolderError: a run folder that has not chosen a variant yet.
    """
    from windtunnel.run import load as load_path

    return load_path(path, threads=threads)
