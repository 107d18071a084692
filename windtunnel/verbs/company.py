"""Who stands beside a served model, as `windtunnel serve` spells it: a canary, a shadow, a prediction log."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from typing import TYPE_CHECKING

from windtunnel.errors import ConfigError, naming
from windtunnel.quantity import parse_bytes, parse_share

if TYPE_CHECKING:
    from pathlib import Path

    from windtunnel.serving.company import Company
    from windtunnel.serving.prediction_log import LogSettings
    from windtunnel.variant import Variant


@dataclass(frozen=True)
class Beside:
    """What was said of it; empty where nothing was.

    Args:
        canary: `RUN=5%`, a model and its share of the keys.
        shadow: a model that sees every request.
        log: the folder of the prediction log.
        log_sample: the share of requests that is logged.
        log_most: what the folder may hold.
    """

    canary: str = ""
    shadow: Path | None = None
    log: Path | None = None
    log_sample: str = ""
    log_most: str = ""

    def build(self, primary: Variant) -> Company | None:
        """The company of a model; None where it is alone.

        Raises:
            ConfigError: what cannot be read, or would do nothing.
            ModelError: a model that cannot stand beside it.
        """
        from windtunnel.run import open_variant
        from windtunnel.serving.company import Company
        from windtunnel.serving.split import read_canary

        run, share = read_canary(self.canary) if self.canary else ("", 0.0)
        company = Company(
            primary,
            open_variant(run) if run else None,
            share,
            open_variant(self.shadow) if self.shadow is not None else None,
            self._log(),
        )
        return None if company.is_alone else company

    def _log(self) -> LogSettings | None:
        from windtunnel.serving.prediction_log import LogSettings

        if self.log is None:
            for option, said in (("--log-sample", self.log_sample), ("--log-most", self.log_most)):
                if said:
                    raise ConfigError(
                        "is for a log, and there is none", field=option, value=said, fix="give --log DIR too"
                    )
            return None
        with naming(field="--log-sample"):
            share = parse_share(self.log_sample or "100%")
        with naming(field="--log-most"):
            most = parse_bytes(self.log_most or "10GB")
        settings = LogSettings(self.log.resolve(), share, most)
        try:
            with tempfile.TemporaryFile(dir=_made(settings.folder)):
                return settings
        except OSError as error:
            raise ConfigError(
                f"cannot be written to ({error.strerror})",
                field="--log",
                value=str(self.log),
                fix="give a folder of yours",
            ) from error


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder
