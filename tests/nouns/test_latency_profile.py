from __future__ import annotations

import json
import zipfile
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from windtunnel.errors import DataError
from windtunnel.hardware import Hardware
from windtunnel.latency_profile import LatencyProfile
from windtunnel.verdict import Verdict

if TYPE_CHECKING:
    from pathlib import Path


def _profile(batch_sizes: tuple[int, ...] = (1, 4, 16), seed: int = 1) -> LatencyProfile:
    rng = np.random.default_rng(seed)
    return LatencyProfile(
        variant="int8",
        sha256="ab" * 32,
        hardware=Hardware("Xeon", "x86_64", ("AVX2",), 2.0, 2**33),
        runtime="onnxruntime 1.32.0 CPUExecutionProvider",
        threads=1,
        basis="measured",
        batch_sizes=batch_sizes,
        samples_s=tuple((1e-3 + 1e-4 * size) * rng.lognormal(0.0, 0.1, size=200 + size) for size in batch_sizes),
        parallel_efficiency=0.9,
        verdict=Verdict("go", ("steady",), (), {"cv": 0.1}),
    )


def test_round_trip(tmp_path: Path) -> None:
    """A profile comes back from its file as it was, to the last bit of its samples."""
    profile = _profile()
    profile.save(tmp_path / "p.npz")
    back = LatencyProfile.load(tmp_path / "p.npz")

    for name in ("variant", "sha256", "hardware", "runtime", "threads", "basis", "batch_sizes", "verdict"):
        assert getattr(profile, name) == getattr(back, name)
    assert profile.parallel_efficiency == back.parallel_efficiency
    assert [s.tolist() for s in profile.samples_s] == [s.tolist() for s in back.samples_s]


def test_same_bytes(tmp_path: Path) -> None:
    """The same profile is written as the same bytes, whenever and wherever; another one is not."""
    (tmp_path / "elsewhere").mkdir()
    paths = [tmp_path / "a.npz", tmp_path / "elsewhere" / "b.npz", tmp_path / "c.npz"]
    for path, seed in zip(paths, (1, 1, 2), strict=True):
        _profile(seed=seed).save(path)

    assert paths[0].read_bytes() == paths[1].read_bytes() != paths[2].read_bytes()
    with zipfile.ZipFile(paths[0]) as archive:
        # no clock: the archive's own entries carry zip's first date
        assert {(1980, 1, 1, 0, 0, 0)} == {each.date_time for each in archive.infolist()}


def test_readable_by_numpy(tmp_path: Path) -> None:
    """The samples can be read without windtunnel."""
    _profile().save(tmp_path / "p.npz")
    with np.load(tmp_path / "p.npz") as archive:
        assert archive["batch_4"].shape == (204,)


def test_truncated_anywhere(tmp_path: Path) -> None:
    """A file that was cut off at any place is refused by name."""
    _profile((1,)).save(tmp_path / "whole.npz")
    data, path = (tmp_path / "whole.npz").read_bytes(), tmp_path / "cut.npz"
    for length in range(0, len(data), 41):
        path.write_bytes(data[:length])
        with pytest.raises(DataError, match=r"cut\.npz: is not a latency profile"):
            LatencyProfile.load(path)


def test_damaged_anywhere(tmp_path: Path) -> None:
    """A file with one wrong byte is refused, or carries the samples that were saved; nothing else comes out of it."""
    profile = _profile((1,))
    profile.save(tmp_path / "whole.npz")
    data, path = (tmp_path / "whole.npz").read_bytes(), tmp_path / "hurt.npz"
    refused = 0
    for place in range(0, len(data), 3):
        path.write_bytes(data[:place] + bytes([data[place] ^ 0x55]) + data[place + 1 :])
        try:
            back = LatencyProfile.load(path)
        except DataError:
            refused += 1
        else:
            assert profile.samples_s[0].tolist() == back.samples_s[0].tolist()

    assert refused > 0.9 * len(data) / 3


def _without(head: dict[str, Any], key: str) -> dict[str, Any]:
    return {each: value for each, value in head.items() if each != key}


@pytest.mark.parametrize(
    "change",
    [lambda h: h | {"format": "windtunnel.latency-profile/9"}, lambda h: _without(h, "format"),
     lambda h: _without(h, "variant"), lambda h: h | {"hardware": {}}, lambda h: h | {"verdict": 3}, lambda _h: [],
     lambda h: h | {"batch_sizes": [1, 2]}],
)  # fmt: skip
def test_another_kind_of_archive(tmp_path: Path, change: Any) -> None:
    """An archive that is no profile, or one of another release, is refused with the way out."""
    _profile((1,)).save(tmp_path / "whole.npz")
    with zipfile.ZipFile(tmp_path / "whole.npz") as whole:
        head, samples = json.loads(whole.read("profile.json")), whole.read("batch_1.npy")
    with zipfile.ZipFile(tmp_path / "other.npz", "w") as other:
        other.writestr("profile.json", json.dumps(change(head)))
        other.writestr("batch_1.npy", samples)

    with pytest.raises(DataError, match=r"other\.npz: is not a latency profile .*windtunnel benchmark --out"):
        LatencyProfile.load(tmp_path / "other.npz")


def test_no_file(tmp_path: Path) -> None:
    """A profile that is not there is refused with the command that makes one."""
    with pytest.raises(DataError, match="windtunnel benchmark --out"):
        LatencyProfile.load(tmp_path / "none.npz")


@pytest.mark.parametrize("bad", [[], [0.0], [-1e-3], [1e-3, float("nan")], [float("inf")]])
def test_impossible_samples(bad: list[float]) -> None:
    """A batch that was never measured, or took no time or forever, is refused by its size."""
    good = _profile()

    with pytest.raises(DataError, match=r"`batch 4`.*measure it again"):
        replace(good, samples_s=(good.samples_s[0], np.array(bad), good.samples_s[2]))


@pytest.mark.parametrize("sizes", [(), (4, 1, 16), (1, 1, 16), (0, 1, 16), (-4, 1, 16)])
def test_impossible_batch_sizes(sizes: tuple[int, ...]) -> None:
    """Batch sizes are whole numbers above zero, sorted, each once."""
    with pytest.raises(DataError, match="batch_sizes"):
        replace(_profile(), batch_sizes=sizes)


def test_table_at_measured_sizes() -> None:
    """At a measured size the table holds that size's own quantiles; row 0 is empty."""
    profile = _profile()
    table = profile.service_table(16, points=64)

    assert table.shape == (17, 64)
    assert not table[0].any()
    for size, samples in zip(profile.batch_sizes, profile.samples_s, strict=True):
        assert np.allclose(np.quantile(samples, (np.arange(64) + 0.5) / 64), table[size])


@given(st.integers(0, 1000), st.integers(1, 16), st.floats(0.1, 10.0))
def test_table_between_measured_sizes(seed: int, max_batch: int, scale: float) -> None:
    """Each row rises with the quantile, and lies between its measured neighbours; scale stretches all of it."""
    profile = _profile(seed=seed)
    table = profile.service_table(max_batch, points=32, scale=scale)
    whole = profile.service_table(16, points=32) * scale

    assert np.all(np.diff(table[1:], axis=1) >= -1e-15)
    assert np.allclose(whole[: max_batch + 1], table, rtol=1e-12)
    for low, high in ((1, 4), (4, 16)):
        ends = np.sort(whole[[low, high]], axis=0)
        inside = whole[low : high + 1]
        assert np.all((inside >= ends[0] * (1 - 1e-12)) & (inside <= ends[1] * (1 + 1e-12)))


def test_table_grows_with_the_batch() -> None:
    """Where every quantile of a larger batch is longer, it is so at the sizes between them too."""
    base = np.random.default_rng(1).lognormal(-7.0, 0.1, size=300)
    profile = replace(_profile(), samples_s=(base, base * 2, base * 5))

    assert np.all(np.diff(profile.service_table(16)[1:], axis=0) > 0.0)


def test_table_refuses_to_invent() -> None:
    """Outside the measured sizes there is no table, and the message says which there are."""
    with pytest.raises(DataError, match=r"\(=17\).*\[1, 4, 16\].*--batch"):
        _profile().service_table(17)
    with pytest.raises(DataError, match=r"\[4, 16\]"):
        _profile((4, 16)).service_table(8)


def test_extension_goes_on_along_a_line() -> None:
    """Times that are a line in the batch stay one beyond it, at every quantile; what was measured is as it was."""
    base = np.random.default_rng(1).lognormal(-7.0, 0.1, size=300)
    profile = replace(_profile(), samples_s=(base, base * 2.5, base * 8.5))
    extended = profile.extended(64)
    table, measured = extended.service_table(64, points=99), profile.service_table(16, points=99)

    assert np.array_equal(table[:17], measured)
    assert table[64] == pytest.approx(table[1] * 32.5, rel=1e-9)
    assert table[40] == pytest.approx(table[1] * 20.5, rel=1e-9)
    assert extended.extrapolated == {"from": 16, "to": 64}
    assert extended.verdict.outcome == "inconclusive"
    assert extended.quantile_s(64, 0.5) is None
    assert profile.extended(16) is profile


def test_extension_below_and_of_what_falls() -> None:
    """A smaller batch takes as long as the smallest that was measured; quantiles that fall with the batch stay level."""
    faster = replace(_profile((4, 16)), samples_s=(np.full(200, 0.002), np.full(200, 0.001)))
    table = faster.extended(32).service_table(32, points=3)

    assert set(table[1].tolist()) == {0.002}
    assert table[32].tolist() == pytest.approx([0.001] * 3)
    assert "below 4" in faster.extended(32).verdict.reasons[0]
    assert _profile((4, 16)).extended(8).extrapolated == {"from": 4, "to": 1}


def test_extension_needs_a_line(tmp_path: Path) -> None:
    """One measured size says nothing of larger ones; a guess is kept as one, and a refusal stays a refusal."""
    with pytest.raises(DataError, match=r"\(=8\) was never profiled .* is no line to go on along; measure two sizes"):
        _profile((1,)).extended(8)
    guessed = replace(_profile(), verdict=Verdict("no-go", ("throttled",))).extended(32)
    guessed.save(tmp_path / "p.npz")
    back = LatencyProfile.load(tmp_path / "p.npz")

    assert back.guessed == (32,)
    assert (back.verdict.outcome, back.verdict.reasons[-1]) == ("no-go", "throttled")


def test_no_higher_quantile_than_is_carried() -> None:
    """Where bursts leave p90 without an interval, p99 is not told either, however its own samples fall."""
    bursts = np.tile(np.r_[np.full(80, 1e-3), np.full(20, 2e-3)], 100)
    bursts = np.sort(bursts.reshape(20, 500), axis=0).ravel() * np.random.default_rng(1).uniform(0.999, 1.001, 10_000)
    profile = replace(_profile((1,)), samples_s=(bursts,), batch_sizes=(1,))
    told = profile.quantiles_s(1, (0.5, 0.9, 0.99))

    known = [each is not None for each in told]
    assert known == sorted(known, reverse=True)
    assert told[0] is None or told[0] == profile.quantile_s(1, 0.5)
