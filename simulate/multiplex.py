"""Multiplex: several models share the replicas, and are loaded where they are not at hand."""

from __future__ import annotations

from dataclasses import dataclass

from windtunnel.errors import ConfigError

from .population import Law, check_law

MOST_MODELS = 1_000_000
"""Keys of models lie below this: a station keeps a number for each."""


@dataclass(frozen=True)
class Multiplex:
    """Every station holds a few models at most; the trace's column `key` says which one a request is for.

    What Ray Serve does behind `@serve.multiplexed(max_num_models_per_replica=3)`: a closed batch is cut by model, in the order
    in which models first appear in it, and holds its permit until all of its parts are served (`batching.py`:
    `_split_batch_by_model_id`, `_process_sub_batches`). A part whose model is at hand is served, and the model counts as
    used last; else the part waits for the station's one lock, under which the least recently used model makes room and
    the wanted one is loaded (`multiplex.py`: `load_model`). Who gets the lock and finds that another part has loaded the model
    goes on without a load. Ray starts all parts at once; here they are served one after the other by the executor that has
    the batch, as happens where the handler blocks and as the device would.

    Source: Ray 2.60.0, `serve/multiplex.py` and `serve/batching.py`.

    Args:
        models_per_replica: models a station holds at once.
        load_s: what loading one takes, on average; unloading takes nothing.
        law: of what loads take, `constant` or `exponential`.

    Raises:
        ConfigError: no model, a negative time, or another law.

    Example:
        >>> Multiplex(load_s=2.0).models_per_replica
        3
    """

    models_per_replica: int = 3
    load_s: float = 1.0
    law: Law = "constant"

    def __post_init__(self) -> None:
        if self.models_per_replica < 1:
            raise ConfigError("must be at least 1", field="models_per_replica", value=self.models_per_replica)
        if not 0.0 <= self.load_s < float("inf"):
            raise ConfigError("must be zero or more", field="load_s", value=self.load_s)
        check_law(self.law)
