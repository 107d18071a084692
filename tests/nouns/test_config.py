from __future__ import annotations

import tomllib
from datetime import UTC, datetime
from pathlib import Path

import pytest

from windtunnel.config import Config, parse, read_backtest, read_config, read_toml
from windtunnel.errors import ConfigError

EXAMPLES = Path(__file__).parents[2] / "examples"

BASE = """\
name = "rides"
seed = 7

[recording]
source = "rides.parquet"
develop_until = 2013-04-01
holdout = "14d"

[recording.columns]
time = "asked"
label = "late"
label_time = "landed"

[[recording.join]]
source = "weather.parquet"
by = ["origin"]
known_time = "known"
take = ["wind"]
max_age = "6h"

[model]
path = "model.onnx"

[optimize]
metric = "roc_auc"
max_drop = 0.01

[benchmark]
batch = [1, 8, 64]
precision = "5%"
hardware = ["azure:D2s_v5"]

[simulate]
slo = "p99<=5ms"
speed = 100
hardware = "azure:D2s_v5"
replicas = [1, 2]
max_batch = [1, 8]
max_wait = ["0ms", "1ms"]
confidence = 0.99

[backtest]
max_loss = 0.01
every = "1d"
horizon = "2d"
level = 0.05
"""


def _with(old: str, new: str) -> Config:
    assert BASE.count(old) == 1
    return parse(Config, tomllib.loads(BASE.replace(old, new)), Path("windtunnel.toml"))


def test_the_example_parses() -> None:
    """The configuration that `windtunnel init` writes is one that `windtunnel run` takes."""
    config = read_config(EXAMPLES / "flights" / "windtunnel.toml")

    assert config.name == "flights"
    assert config.recording.develop_until == datetime(2013, 4, 1, tzinfo=UTC)
    assert config.recording.join[0].max_age == 6 * 3600


def test_units_and_defaults() -> None:
    """Durations are read as seconds, shares as shares of one, and what is left out has its default."""
    config = _with("seed = 7\n", "")

    assert config.seed == 1
    assert config.recording.holdout == 14 * 86400
    assert config.benchmark.precision == pytest.approx(0.05)
    assert config.simulate.max_wait == (0.0, 0.001)
    assert config.optimize.batch == (1, 32)


def test_lists_of_sizes_are_sorted_and_each_once() -> None:
    """In which order sizes are written makes no difference."""
    assert _with("batch = [1, 8, 64]", "batch = [64, 1, 8, 8]").benchmark.batch == (1, 8, 64)


@pytest.mark.parametrize(
    ("written", "instant"),
    [
        ("2013-04-01", "2013-04-01T00:00:00+00:00"),
        ("2013-04-01T06:00:00Z", "2013-04-01T06:00:00+00:00"),
        ("2013-04-01T06:00:00+02:00", "2013-04-01T06:00:00+02:00"),
        ('"2013-04-01T06:00:00"', "2013-04-01T06:00:00+00:00"),
    ],
)
def test_instants(written: str, instant: str) -> None:
    """A date is its midnight, and a time without a zone is UTC."""
    config = _with("develop_until = 2013-04-01", f"develop_until = {written}")

    assert config.recording.develop_until == datetime.fromisoformat(instant)


BAD = [
    # unknown keys, nested ones too; a misspelt key that is needed is named, and not the hole it leaves
    ("seed = 7", "sead = 7", "sead", "did you mean `seed`"),
    ("[simulate]", "[simulat]", "simulat", "did you mean `simulate`"),
    ("replicas = [1, 2]", "replica = [1, 2]", "simulate.replica", "did you mean `replicas`"),
    ('metric = "roc_auc"', 'metrik = "roc_auc"', "optimize.metrik", "did you mean `metric`"),
    ('time = "asked"', 'tyme = "asked"', "recording.columns.tyme", "did you mean `time`"),
    ('take = ["wind"]', 'takes = ["wind"]', "recording.join.0.takes", "did you mean `take`"),
    ('path = "model.onnx"', 'pathh = "model.onnx"', "model.pathh", "did you mean `path`"),
    # missing ones
    ('slo = "p99<=5ms"\n', "", "simulate.slo", "is missing; every run needs it"),
    ('take = ["wind"]\n', "", "recording.join.0.take", "is missing; every run needs it"),
    ("max_loss = 0.01\n", "", "backtest.max_loss", "is missing; every run needs it"),
    # wrong types
    ('name = "rides"', "name = 5", "name", "(=5) should be a valid string"),
    ('name = "rides"', 'name = ""', "name", "should have at least 1 character"),
    ("seed = 7", 'seed = "lucky"', "seed", "(='lucky') should be a valid integer"),
    ("seed = 7", "seed = true", "seed", "(=True) should not be true or false"),
    ("seed = 7", "seed = -1", "seed", "(=-1) should be greater than or equal to 0"),
    ("replicas = [1, 2]", "replicas = 2", "simulate.replicas", "(=2) should be a valid tuple"),
    ("replicas = [1, 2]", "replicas = []", "simulate.replicas", "should have at least 1 item"),
    ("replicas = [1, 2]", "replicas = [0]", "simulate.replicas.0", "(=0) should be greater than or equal to 1"),
    ("replicas = [1, 2]", "replicas = [1.5]", "simulate.replicas.0", "(=1.5) should be a valid integer"),
    ("max_batch = [1, 8]", "max_batch = [0, 8]", "simulate.max_batch.0", "(=0) should be greater than or equal to 1"),
    ('[model]\npath = "model.onnx"', "[[model]]\npath = 'm.onnx'", "model", "is not a section; write it as [model]"),
    # promises that nothing can keep, or that say nothing
    ("p99<=5ms", "p99<=0ms", "simulate.slo", "cannot be kept by anything: its bound is zero; write p99<=50ms"),
    ("p99<=5ms", "p99.99<=5ms", "simulate.slo", "asks for more than p99.9, which the samples of a run cannot show"),
    ("p99<=5ms", "p101<=5ms", "simulate.slo", "asks for a quantile outside 0 to 100; write p99<=50ms"),
    ("p99<=5ms", "p0<=5ms", "simulate.slo", "asks for a quantile outside 0 to 100; write p99<=50ms"),
    ("p99<=5ms", "fast please", "simulate.slo", "is not an SLO; write p99<=50ms"),
    ("p99<=5ms", "p99<=5", "simulate.slo", "is not a duration; write a number and a unit"),
    # machines that are not in the catalogue
    ('hardware = "azure:D2s_v5"', 'hardware = "azure:D2s_v6"', "simulate.hardware", "did you mean `azure:D2s_v5`"),
    ('["azure:D2s_v5"]', '["aws:c6i.2xlrge"]', "benchmark.hardware.0", "did you mean `aws:c6i.2xlarge`"),
    # models
    ('path = "model.onnx"', 'path = "m.onnx"\nfit = "m.py:fit"', "model", "exactly one of path, factory and fit; has path, fit"),
    ('path = "model.onnx"', "", "model", "exactly one of path, factory and fit; has none"),
    # batches that are never measured
    ("max_batch = [1, 8]", "max_batch = [1, 128]", None, "asks for batches of 128, but [benchmark] batch measures [1, 8, 64]"),
    ("batch = [1, 8, 64]", "batch = [8, 64]", None, "asks for batches of 1, but [benchmark] batch measures [8, 64]"),
    # numbers that are none
    ("max_drop = 0.01", "max_drop = -0.01", "optimize.max_drop", "should be greater than or equal to 0"),
    ("max_drop = 0.01", "max_drop = nan", "optimize.max_drop", "is not a tolerance"),
    ("speed = 100", "speed = 0", "simulate.speed", "should be greater than 0"),
    ("speed = 100", "speed = nan", "simulate.speed", "should be a finite number"),
    ("speed = 100", "speed = inf", "simulate.speed", "should be a finite number"),
    ("confidence = 0.99", "confidence = 1.0", "simulate.confidence", "should be less than 1"),
    ("level = 0.05", "level = 0.7", "backtest.level", "should be less than 0.5"),
    ("max_loss = 0.01", "max_loss = nan", "backtest.max_loss", "should be a finite number"),
    ('precision = "5%"', 'precision = "500%"', "benchmark.precision", "is outside 0 to 1; write 0.01 or 1%"),
    ('precision = "5%"', 'precision = "fine"', "benchmark.precision", "is not a share; write 0.01 or 1%"),
    # durations and dates
    ('holdout = "14d"', "holdout = 14", "recording.holdout", "(=14) is not a duration; write a number and a unit"),
    ('holdout = "14d"', 'holdout = "0s"', "recording.holdout", "must be above zero; write 10m, 1d"),
    ('max_age = "6h"', 'max_age = "6 parsecs"', "recording.join.0.max_age", "is not a duration; write a number and a unit"),
    ('every = "1d"', 'every = "0s"', "backtest.every", "must be above zero; write 10m, 1d"),
    ('horizon = "2d"', 'horizon = "-2d"', "backtest.horizon", "is negative; a duration is zero or more"),
    ("= 2013-04-01", '= "soon"', "recording.develop_until", "(='soon') is not a time; write 2013-04-01"),
    ("= 2013-04-01", '= "2013-02-30"', "recording.develop_until", "(='2013-02-30') is not a time; write 2013-04-01"),
    ("= 2013-04-01", "= 20130401", "recording.develop_until", "(=20130401) is not a time; write 2013-04-01"),
    ("= 2013-04-01", "= 10:00:00", "recording.develop_until", "is not a time; write 2013-04-01"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("old", "new", "field", "words"), BAD, ids=[new.replace("\n", " ")[:40] for _, new, _, _ in BAD]
)
def test_refusals(old: str, new: str, field: str | None, words: str) -> None:
    """What cannot be used is refused once, in our words, with the file, the key, the value and the way out."""
    with pytest.raises(ConfigError) as refusal:
        _with(old, new)

    message = str(refusal.value)
    where = "windtunnel.toml: " if field is None else f"windtunnel.toml: `{field}` "
    assert message.startswith(where)
    assert words in message
    assert message.count(words) == 1


def test_files_that_are_none(tmp_path: Path) -> None:
    """A missing file, a directory and what is not TOML are told apart."""
    broken, binary = tmp_path / "broken.toml", tmp_path / "binary.toml"
    broken.write_text("[recording\n")
    binary.write_bytes(b"\xff\xfe\x00")

    with pytest.raises(ConfigError, match=r"none\.toml: does not exist; write one with `windtunnel init`"):
        read_config(tmp_path / "none.toml")
    with pytest.raises(ConfigError, match=r"is a directory; give the windtunnel\.toml in it"):
        read_config(tmp_path)
    for path in (broken, binary):
        with pytest.raises(ConfigError, match=rf"{path.name}: is not TOML \("):
            read_toml(path)


LOGGED = """\
[backtest]
recording = "logged.parquet"
incumbent = "old"
candidates = ["new"]
horizon = "2d"

[backtest.columns]
time = "asked"
label = "late"
label_time = "landed"
predictions = { old = "p_old", new = "p_new" }
"""


def test_a_backtest_of_its_own(tmp_path: Path) -> None:
    """A backtest of logged predictions names its models, and one without a column is refused with the nearest."""
    path = tmp_path / "backtest.toml"
    path.write_text(LOGGED)

    assert read_backtest(path).candidates == ("new",)

    path.write_text(LOGGED.replace('["new"]', '["newer"]'))
    with pytest.raises(
        ConfigError, match=r"candidates` \(='newer'\) has no predictions.*\(did you mean `new`\?\), or a model"
    ):
        read_backtest(path)
    path.write_text(LOGGED.replace("horizon", "horizn"))
    with pytest.raises(ConfigError, match=r"`backtest\.horizn` is not a key; did you mean `horizon`"):
        read_backtest(path)
