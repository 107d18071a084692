"""How long batches take, by size class: profiles or laws, as they are given to `--profile` and `--service`."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from windtunnel.digest import digest_bytes, digest_value
from windtunnel.errors import ConfigError, naming
from windtunnel.latency_profile import LatencyProfile

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from windtunnel.simulate.arrivals import ServiceLaw

    Floats = NDArray[np.float64]

LAW_POINTS = 16_384
"""Of how many points a law of service times is made: an exponential's variance is then right to 0.01%."""

POINTS = 4096
"""Of how many a profile's is."""


@dataclass(frozen=True)
class Service:
    """How long batches take, for each size class of requests.

    Args:
        names: of the classes, in the order of the trace's column `size`; one where all requests are alike.
        each: a measured profile or a law, one a class.

    Raises:
        ConfigError: two classes of one name, or profiles of one replica from several machines.
    """

    names: tuple[str, ...]
    each: tuple[LatencyProfile | ServiceLaw, ...]

    def __post_init__(self) -> None:
        twice = [name for at, name in enumerate(self.names) if name in self.names[:at]]
        if twice:
            raise ConfigError(
                "is the name of two size classes", value=twice[0], fix="name them: short=a.npz, long=b.npz"
            )
        machines = {each.hardware.fingerprint: each for each in self.profiles}
        if len(machines) > 1:
            told = " and ".join(each.hardware.cpu for each in machines.values())
            raise ConfigError(
                f"are of several machines ({told}), and a replica runs on one",
                fix="measure all on one, or project them",
            )

    @property
    def profiles(self) -> tuple[LatencyProfile, ...]:
        """Those that were measured or projected; none where they are laws."""
        return tuple(each for each in self.each if isinstance(each, LatencyProfile))

    @property
    def law(self) -> ServiceLaw | None:
        """The law, where it is one for all."""
        only = self.each[0]
        return None if len(self.each) > 1 or isinstance(only, LatencyProfile) else only

    def extended(self, largest: int) -> Service:
        """With a guess for batches that were never measured.

        Raises:
            ConfigError: laws, which need none.
            DataError: one size was measured, which is no line.
        """
        if not self.profiles:
            raise ConfigError(
                "goes on where a profile ends, and a law has no end", field="--extrapolate", fix="leave it out"
            )
        with naming(field="--extrapolate"):
            return replace(self, each=tuple(profile.extended(largest) for profile in self.profiles))

    @property
    def extrapolated(self) -> dict[str, int] | None:
        """From the last measured size to what the profiles were extended to, at its widest; None where all was measured."""
        return widest_guess(self.profiles)

    def table(self, largest: int, sessions: int) -> Floats:
        """Service times by size class and size of batch.

        Those of a profile are slowed by how many sessions share a machine like the measured one: a replica that serves several
        batches at once runs as many.

        Returns:
            float64 `[classes, largest + 1, points]`, seconds.

        Raises:
            DataError: batches that were never profiled.
        """
        return np.stack([_table(each, largest, sessions) for each in self.each])

    @property
    def doubts(self) -> tuple[str, ...]:
        """Why a flight on these is not sure: what was guessed, and profiles that are not valid; a sentence each."""
        return tuple(doubt for profile in self.profiles for doubt in profile.doubts)

    @property
    def would_change(self) -> tuple[str, ...]:
        """What would make it sure."""
        doubtful = (profile.verdict for profile in self.profiles if profile.verdict.outcome != "go")
        return tuple(dict.fromkeys(change for verdict in doubtful for change in verdict.would_change))

    def digest(self) -> str:
        """Of every service time."""
        told = [
            profile_digest(each) if isinstance(each, LatencyProfile) else digest_value(repr(each)) for each in self.each
        ]
        return told[0] if len(told) == 1 else digest_value([self.names, told])


def widest_guess(profiles: Sequence[LatencyProfile]) -> dict[str, int] | None:
    """From the last measured size to what profiles were extended to, at its widest; None where all was measured."""
    reaches = [profile.extrapolated for profile in profiles]
    return max((each for each in reaches if each), key=lambda each: abs(each["to"] - each["from"]), default=None)


def _table(service: LatencyProfile | ServiceLaw, largest: int, sessions: int) -> Floats:
    from windtunnel.simulate.planning.offer import cautious_table, slowdown_of

    if not isinstance(service, LatencyProfile):
        return service.table(largest, points=LAW_POINTS)
    return np.asarray(cautious_table(service, largest) * slowdown_of(service, sessions))


def profile_digest(profile: LatencyProfile) -> str:
    """The digest of every measured service time, and of where it was measured."""
    head = [
        profile.sha256, profile.hardware.fingerprint, profile.batch_sizes, profile.parallel_efficiency, profile.name,
        profile.basis, profile.band, profile.threads, profile.rounds, profile.verdict.to_dict(),
    ]  # fmt: skip
    return digest_value([head, [digest_bytes(each.tobytes()) for each in profile.samples_s]])


def read_service(profiles: Sequence[str], laws: Sequence[str]) -> Service:
    """Read how long batches take: measured profiles, or laws such as `affine(base=1ms, per_item=0.4ms)`.

    Where requests are of several sizes there is one for each, with a name: `short=a.npz` and `long=b.npz`. A profile without
    one is named after its file, a law after its place.

    Raises:
        ConfigError: neither or both given, no such law, two of one name, or profiles of several machines.
        DataError: no profile.
    """
    from windtunnel.simulate.arrivals import parse_service

    if bool(profiles) == bool(laws):
        raise ConfigError(
            "need exactly one", field="--profile and --service",
            fix="give what benchmark wrote, or exponential(mean=1ms)",
        )  # fmt: skip
    told = [_named(text) for text in profiles or laws]
    # a profile that cannot be read names its file
    loaded = tuple(LatencyProfile.load(Path(rest)) for _, rest in told) if profiles else ()
    with naming(field="--profile" if profiles else "--service"):
        if profiles:
            return Service(tuple(name or Path(rest).stem for name, rest in told), loaded)
        names = tuple(name or f"class-{at}" for at, (name, _) in enumerate(told))
        return Service(names, tuple(parse_service(rest) for _, rest in told))


def read_profiles(paths: Sequence[Path], batches: Sequence[int] | None = None) -> list[LatencyProfile]:
    """Read the profiles that a plan may choose from.

    Args:
        paths: what benchmark wrote.
        batches: sizes that are tried also where they were never measured: those are guessed then; None where they are refused.

    Raises:
        ConfigError: guesses are allowed, and no size of batch is asked for that could be one.
        DataError: no profile, or one measured size, which is no line.
    """
    profiles = [LatencyProfile.load(path) for path in paths]
    if batches is None:
        return profiles
    if not batches:
        raise ConfigError("goes beyond what was measured, and only that is tried", field="--extrapolate", fix="give --max-batch too")  # fmt: skip
    with naming(field="--max-batch"):
        return [profile.extended(max(batches)) for profile in profiles]


def _named(text: str) -> tuple[str, str]:
    """What stands before the first equals sign, where it is a name, and the rest.

    A file of that very name is that file.
    """
    match = re.fullmatch(r"([A-Za-z0-9_.-]+)=(.+)", text, re.DOTALL)
    return ("", text) if match is None or Path(text).exists() else (match[1], match[2])
