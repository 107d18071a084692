"""`windtunnel simulate`: the commands that must work as written, and what a promise and a doubtful profile do to the verdict."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import polars as pl
import pytest

from windtunnel.latency_profile import LatencyProfile
from windtunnel.seeds import Seeds
from windtunnel.simulate.planning.offer import slowdown_of
from windtunnel.verbs import Carried, Serving, read_service, read_traffic
from windtunnel.verdict import Verdict

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cli.conftest import Command

KEYS = {
    "requests", "completed", "shed", "timed_out", "failed", "seconds_simulated", "wall_s", "throughput_per_s", "mean_batch",
    "utilization", "usd", "latency", "wait",
}  # fmt: skip
SPREAD = {f"{name}_s{end}" for name in ("mean", "p50", "p90", "p99", "p999") for end in ("", "_low", "_high")}

LAWS = ("--service", "short=deterministic(mean=1ms)", "--service", "long=deterministic(mean=9ms)")


def test_a_recording_and_a_profile(windtunnel: Command) -> None:
    """A trace through replicas behind one queue: every figure has its name, and its interval."""
    ran = windtunnel(
        "simulate", "--trace", "arrivals.csv", "--profile", "profile.npz", "--replicas", 4, "--max-batch", 8, "--max-wait", "2ms",
        "--batcher", "ideal", "--seed", 1, "--usd-per-hour", 0.1, "--json",
    )  # fmt: skip

    assert ran.code == 0
    assert set(ran.document) >= KEYS
    assert set(ran.document["latency"]) & set(ran.document["wait"]) >= SPREAD
    assert ran.document["usd"] == pytest.approx(4 * 0.1 * ran.document["seconds_simulated"] / 3600.0)


def test_more_arrivals_than_are_held(windtunnel: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    """Generated arrivals that are too many to hold stream through, and give what a trace of them gives."""
    asked = (
        "simulate", "--arrivals", "poisson(rate=900)", "--requests", 50_000, "--service", "affine(base=1ms, per_item=0.4ms)",
        "--replicas", 1, "--max-batch", 8, "--max-wait", "2ms", "--json",
    )  # fmt: skip
    held = windtunnel(*asked, "--out", "held").document
    monkeypatch.setattr("windtunnel.verbs.traffic.HELD", 1000)
    streamed = windtunnel(*asked, "--out", "streamed").document

    assert {key: held[key] for key in KEYS - {"wall_s"}} == {key: streamed[key] for key in KEYS - {"wall_s"}}


def test_theory_beside_it(windtunnel: Command) -> None:
    """M/M/1 at 0.8 waits 4 ms in the mean, and the simulated interval holds it; with a cap there is no closed form."""
    asked = (
        "simulate", "--arrivals", "poisson(rate=800)", "--requests", 400_000, "--service", "exponential(mean=1ms)", "--theory", "--json",
    )  # fmt: skip
    ran = windtunnel(*asked).document
    capped = windtunnel(*asked, "--admission", "max_waiting=50, max_queued=0").document

    assert ran["theory"]["wait_mean_s"] == pytest.approx(0.004)
    assert ran["wait"]["mean_s_low"] <= 0.004 <= ran["wait"]["mean_s_high"]
    assert "caps" in capped["theory"]["reason"]


def test_theory_with_priorities(windtunnel: Command) -> None:
    """Cobham's mean wait of each class, in the shares in which they came, lies in its simulated interval."""
    ran = windtunnel(
        "simulate", "--arrivals", "poisson(rate=700)", "--requests", 200_000, "--service", "exponential(mean=1ms)", "--priorities",
        "urgent=20%, usual=80%", "--theory", "--json",
    ).document  # fmt: skip

    assert ran["theory"]["name"] == "M/G/1 with priorities"
    for known, flown in zip(ran["theory"]["by_priority"], ran["by_priority"], strict=True):
        assert known["name"] == flown["name"]
        assert flown["wait"]["mean_s_low"] <= known["wait_mean_s"] <= flown["wait"]["mean_s_high"]
    # who goes first changes who waits, not how long all wait together
    assert ran["theory"]["wait_mean_s"] == pytest.approx(0.7 / 0.3 * 0.001)


def test_theory_with_sizes(windtunnel: Command) -> None:
    """Requests of two sizes wait as in M/G/1 with the mixture's second moment (Pollaczek and Khinchine)."""
    ran = windtunnel(
        "simulate", "--arrivals", "poisson(rate=300)", "--requests", 100_000, *LAWS, "--sizes", "short=90%, long=10%", "--theory",
        "--json",
    ).document  # fmt: skip
    long = ran["by_size"][1]["requests"] / 100_000
    mean_s, second = 0.001 + 0.008 * long, 1e-6 + (81e-6 - 1e-6) * long

    assert ran["theory"]["name"] == "M/G/1"
    assert ran["theory"]["wait_mean_s"] == pytest.approx(300 * second / 2 / (1 - 300 * mean_s))
    assert ran["wait"]["mean_s_low"] <= ran["theory"]["wait_mean_s"] <= ran["wait"]["mean_s_high"]


def test_theory_of_a_closed_loop(windtunnel: Command) -> None:
    """Users who wait for their answers: the machine-repairman's mean wait is in the simulated interval."""
    ran = windtunnel(
        "simulate", "--arrivals", "closed-loop(users=20, think=25ms)", "--requests", 100_000, "--service", "exponential(mean=1ms)",
        "--theory", "--json",
    ).document  # fmt: skip

    assert ran["theory"]["name"] == "M/M/1//20"
    assert ran["wait"]["mean_s_low"] <= ran["theory"]["wait_mean_s"] <= ran["wait"]["mean_s_high"]


def test_no_theory_is_a_sentence(windtunnel: Command) -> None:
    """Where nothing is known in closed form, people read why."""
    ran = windtunnel("simulate", "--trace", "arrivals.csv", "--profile", "profile.npz", "--theory")

    assert "No closed form stands beside it: measured service times follow no law." in " ".join(ran.out.split())


def test_a_promise_that_is_not_sure(windtunnel: Command) -> None:
    """A promise at the very edge is neither kept nor broken surely: no verdict, and what would change that."""
    asked = (
        "simulate", "--arrivals", "poisson(rate=700)", "--requests", 50_000, "--service", "exponential(mean=1ms)", "--json", "--slo",
    )  # fmt: skip
    # in M/M/1 99% are answered within ln(100) / (μ − λ)
    edge = windtunnel(*asked, "p99<=15.35ms", "--out", "edge")
    loose = windtunnel(*asked, "p99<=20ms", "--out", "loose")

    assert (edge.code, loose.code) == (3, 0)
    assert edge.document["in_time_low"] < 0.99 < edge.document["in_time_high"]
    assert "not surely" in edge.document["reasons"][-1]
    assert "more requests" in edge.document["would_change"][0]
    assert loose.document["in_time_low"] >= 0.99


def test_people_are_told_what_it_costs(windtunnel: Command) -> None:
    """The price of the replicas, their hours, and what a million answers cost."""
    ran = windtunnel(
        "simulate", "--arrivals", "poisson(rate=1000)", "--requests", 50_000, "--service", "deterministic(mean=1ms)",
        "--replicas", 2, "--usd-per-hour", 3.6, "--json",
    )  # fmt: skip
    usd = ran.document["usd"]

    assert f"${usd * 20:.3g} a million answers" in ran.document["reasons"][-1]


@pytest.mark.parametrize(("slo", "code", "told"), [("p99<=1s", 0, "kept"), ("p99<=1us", 1, "broken")])
def test_a_promise(home: Path, windtunnel: Command, slo: str, code: int, told: str) -> None:
    """A promise that is broken in the run is a no-go; how many answers are in time is told, and when in a timeline."""
    ran = windtunnel(
        "simulate", "--trace", "arrivals.csv", "--profile", "profile.npz", "--slo", slo, "--out", "flown", "--json"
    )
    over_time = pl.read_parquet(home / "flown" / "simulate" / "timeline.parquet")

    assert ran.code == code
    assert told in ran.document["reasons"][-1]
    assert ran.document["in_time"] == over_time["good"].sum() / 2000
    assert over_time["arrived"].sum() == 2000


def test_a_flight_is_no_surer_than_its_profile(home: Path, windtunnel: Command) -> None:
    """On a profile that is not valid nothing is go."""
    profile = LatencyProfile.load(home / "profile.npz")
    replace(profile, verdict=Verdict("inconclusive", ("it was too short.",))).save(home / "short.npz")
    ran = windtunnel("simulate", "--trace", "arrivals.csv", "--profile", "short.npz", "--json")

    assert (ran.code, ran.document["verdict"]) == (3, "inconclusive")
    assert "not valid: it was too short." in ran.document["reasons"][-1]


GUESS = ("simulate", "--trace", "arrivals.csv", "--profile", "profile.npz", "--max-batch", 32)


def test_a_guess_is_never_sure(windtunnel: Command) -> None:
    """Batches that were never measured are refused, or guessed by consent: then nothing is go, and it says from where to where."""
    refused = windtunnel(*GUESS)
    guessed = windtunnel(*GUESS, "--extrapolate", "--json", "--out", "guessed")

    assert refused.code == 2
    assert "`--max-batch` (=32) was never profiled" in refused.err
    assert "--extrapolate" in refused.err
    assert (guessed.code, guessed.document["verdict"]) == (3, "inconclusive")
    assert guessed.document["extrapolated"] == {"from": 8, "to": 32}
    assert any("batches above 8 were never measured" in each for each in guessed.document["reasons"])
    assert windtunnel(*GUESS[:-2], "--extrapolate", "--json", "--out", "all").document["extrapolated"] is None


def test_requests_of_several_sizes(home: Path, windtunnel: Command) -> None:
    """A batch of one takes the time of its size; the figures come by size, in the order of the service times."""
    rows = "".join(f"{at / 10},{tokens}\n" for at, tokens in enumerate([5, 512, 513, 9000] * 50))
    (home / "sized.csv").write_text("time,tokens\n" + rows)
    document = windtunnel("simulate", "--trace", "sized.csv", *LAWS, "--sizes", "tokens: 512", "--json").document
    short, long = document["by_size"]

    assert [(each["name"], each["requests"]) for each in (short, long)] == [("short", 100), ("long", 100)]
    assert (short["latency"]["p99_s"], long["latency"]["p99_s"]) == pytest.approx((0.001, 0.009), rel=0.01)


def test_classes_of_generated_requests(windtunnel: Command) -> None:
    """Shares of sizes, and priorities: who is served first waits less, in the same run."""
    document = windtunnel(
        "simulate", "--arrivals", "poisson(rate=300)", "--requests", 20_000, *LAWS, "--sizes", "long=20%, short=80%",
        "--priorities", "urgent=30%, usual=70%", "--json",
    ).document  # fmt: skip
    urgent, usual = document["by_priority"]

    assert sum(each["requests"] for each in document["by_size"]) == urgent["requests"] + usual["requests"] == 20_000
    assert (urgent["name"], usual["name"]) == ("urgent", "usual")
    assert urgent["wait"]["mean_s"] < 0.7 * usual["wait"]["mean_s"]


def test_deadlines(windtunnel: Command) -> None:
    """Requests past their deadline are dropped where the system heeds it, and no others."""
    asked = (
        "simulate", "--arrivals", "poisson(rate=950)", "--requests", 5000, "--service", "exponential(mean=1ms)",
        "--priorities", "a=50%, b=50%", "--deadline", "a=inf, b=5ms", "--admission", "drops_late=true", "--json",
    )  # fmt: skip
    patient, hurried = windtunnel(*asked).document["by_priority"]

    assert patient["timed_out"] == 0 < hurried["timed_out"]
    assert hurried["wait"]["max_s"] <= 0.005 * 1.002


def test_overload_names_what_it_takes(windtunnel: Command) -> None:
    """Twice what a replica serves: no-go, with the drift, and the replicas that the load needs at least."""
    ran = windtunnel(
        "simulate",
        "--arrivals",
        "poisson(rate=2000)",
        "--requests",
        5000,
        "--service",
        "deterministic(mean=1ms)",
        "--json",
    )

    assert ran.code == 1
    assert ran.document["drift_per_s"] == pytest.approx(1000.0, rel=0.1)
    assert "attempts had still to be served" in ran.document["reasons"][1]
    assert "at least 3 replicas" in ran.document["would_change"][0]


def test_replicas_are_told(home: Path, windtunnel: Command) -> None:
    """Mean and peak of replicas that scale, and their course in the timeline; those of a fixed fleet are its number."""
    asked = ("simulate", "--trace", "arrivals.csv", "--profile", "profile.npz", "--json")
    fixed = windtunnel(*asked, "--replicas", 3).document
    knative = ("--scaler", "knative(concurrency=1)", "--most-replicas", 8, "--usd-per-hour", 1, "--out", "scaled")
    scaled = windtunnel(*asked, *knative).document
    over_time = pl.read_parquet(home / "scaled" / "simulate" / "timeline.parquet")

    assert (fixed["replicas_mean"], fixed["replicas_peak"]) == (3.0, 3)
    assert 1.0 <= scaled["replicas_mean"] <= scaled["replicas_peak"] <= 8
    assert over_time["replicas"].max() <= scaled["replicas_peak"] + 1e-9
    assert over_time["usd"].sum() == pytest.approx(scaled["usd"])


def test_a_bound_below_every_service(windtunnel: Command) -> None:
    """A promise that nothing here can keep says what the bound must be above."""
    ran = windtunnel("simulate", "--trace", "arrivals.csv", "--profile", "profile.npz", "--slo", "p50<=1us", "--json")

    assert ran.code == 1
    assert ran.document["would_change"][0].startswith("a bound above ")


HERE = "simulate --trace arrivals.csv --profile profile.npz"
MADE = "simulate --arrivals poisson(rate=9) --service exponential(mean=1ms)"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (f"{HERE} --requests 5", "`--requests` (=5) is how many are generated"),
        (f"{MADE} --time at", "`--time` (='at') is a column of a trace"),
        (
            f"{HERE} --sizes a=1",
            "`--sizes` (='a=1') tells requests of several sizes apart, and there are service times for one",
        ),
        (f"{HERE} --profile long=profile.npz", "`--sizes` is missing: there are service times for several sizes"),
        (
            f"{HERE} --profile a=profile.npz --profile a=profile.npz",
            "`--profile` (='a') is the name of two size classes",
        ),
        (f"{HERE} --profile long=profile.npz --sizes tokens:1,2", "makes 3 classes, and there are service times for 2"),
        (f"{HERE} --profile long=profile.npz --sizes tokens:1", "`--sizes` (='tokens') is not a column of the trace"),
        (
            f"{HERE} --max-wait 2ms",
            "`--max-wait` (='2 ms') waits for company, and batches are of one; give --max-batch too",
        ),
        (f"{HERE} --batcher cork --max-wait 2ms", "`--max-wait` (='2 ms') means nothing to --batcher cork"),
        (f"{HERE} --batcher ray-serve(max_batch=4) --max-batch 8", "`--max-batch` (=8) is overruled by --batcher"),
        (
            f"{HERE} --least-replicas 2",
            "`--least-replicas` is for replicas that scale, and these do not; give --scaler",
        ),
        (f"{HERE} --most-replicas 2", "`--most-replicas` is for replicas that scale"),
        (f"{HERE} --cold-start 2s", "`--cold-start` is for replicas that scale"),
        (f"{HERE} --scaler hpa", "`--scaler` has no choice: there are 1 replicas at least and at most"),
        (f"{HERE} --replicas 0", "`--replicas` (=0) serves nothing"),
        (f"{HERE} --admission max_queued=5", "`--admission (max_queued)` counts those whom no replica accepts"),
        (f"{HERE} --admission drops_abandoned=true", "`--admission (drops_abandoned)` drops what clients gave up"),
        (f"{HERE} --admission drops_late=true", "`--admission (drops_late)` drops what is past its deadline"),
        (f"{HERE} --keys zipf(distinct=9)", "`--keys` is heeded by nobody: any replica serves any key"),
        (
            f"{HERE} --replicas 2 --router consistent-hash",
            "`--router consistent-hash` goes by the key of a request, and none has one",
        ),
        (f"{HERE} --deadline 5ms", "`--deadline` is heeded by nobody"),
        (f"{HERE} --client retries=2", "`--client (retries)` asks again after a timeout, a refusal or a failure"),
        (f"{HERE} --client timeout=1s,jitter=1", "`--client (jitter)` is for clients that ask again"),
        (
            f"{HERE} --client timeout=1s,retries=1,budget_ratio=0.1",
            "`--client (budget_ratio)` fills a bucket that has no bottom",
        ),
        (f"{HERE} --client timeout=1s,hedge=1s", "`--client (hedge)` comes after the attempt was given up"),
        (f"{HERE} --fault proxy-stall(at=1s,lasts=1s)", "stalls a proxy, and there is none"),
        (f"{HERE} --fault crash(station=0,at=9h)", "strikes after the last request"),
        (f"{MADE} --client timeout=-1s", "`--client (timeout)` (='-1s') is negative; a duration is zero or more"),
        (f"{MADE} --fault crash(station=1,at=1s)", "is no station; they are numbered from 0 to 0"),
        (f"{MADE} --extrapolate", "`--extrapolate` goes on where a profile ends, and a law has no end"),
    ],
)
def test_what_would_do_nothing_is_refused(windtunnel: Command, words: str, message: str) -> None:
    """An option that changes nothing is refused with what it lacks, and nothing is written."""
    ran = windtunnel(*words.split(" "))

    assert ran.code == 2
    assert message in ran.err
    assert "Traceback" not in ran.err


def test_a_router_gives_each_replica_its_queue(windtunnel: Command) -> None:
    """With the ideal batcher one queue is best; a router that is named splits it, and requests wait longer."""
    asked = (
        "simulate", "--arrivals", "poisson(rate=1700)", "--requests", 20_000, "--service", "exponential(mean=1ms)", "--replicas", 2,
    )  # fmt: skip
    shared, split = (windtunnel(*asked, *more, "--json").document for more in ((), ("--router", "random")))

    assert split["wait"]["mean_s"] > 1.3 * shared["wait"]["mean_s"]


def test_most_replicas_need_not_be_said(windtunnel: Command) -> None:
    """A scaler without a bound above keeps to the replicas that were asked for, as slow as so many are together."""
    asked = ("simulate", "--trace", "arrivals.csv", "--profile", "profile.npz", "--replicas", 2, "--json")
    free, bound = (windtunnel(*asked, "--scaler", "ray-serve", *more) for more in ((), ("--most-replicas", 2)))

    assert free.document["latency"] == bound.document["latency"]
    assert windtunnel(*asked, "--scaler", "bogus").err.startswith("windtunnel: `--scaler`")


def test_sessions_of_one_replica_share_its_machine(home: Path) -> None:
    """A replica that serves two batches at once runs two sessions, which slow each other as two replicas do; `plan` says the same."""
    profile = LatencyProfile.load(home / "profile.npz")
    shared = replace(profile, parallel_efficiency=0.5, hardware=replace(profile.hardware, cores=4.0))
    shared.save(home / "shared.npz")
    service = read_service([str(home / "shared.npz")], [])
    one, two = (Serving(batcher=f"triton(instances={each})").build(service) for each in (1, 2))

    assert slowdown_of(shared, 2) > 1.0
    assert two.table == pytest.approx(one.table * slowdown_of(shared, 2))


def test_names_of_priorities_are_part_of_the_question() -> None:
    """The same classes under other names are another question: a result that is kept tells them by their names."""

    def digest(names: str) -> str:
        carried = Carried(priorities=names)
        return read_traffic(None, "poisson(rate=9)", 100, Seeds(1), carried=carried).digest()

    assert digest("urgent=20%, usual=80%") == digest("urgent=20%, usual=80%")
    assert digest("urgent=20%, usual=80%") != digest("gold=20%, usual=80%")


def test_text_is_not_cut(home: Path, windtunnel: Command) -> None:
    """One word among the figures makes places in the alphabet of all of them, where 10 comes before 9: they are not cut."""
    (home / "words.csv").write_text("time,tokens\n1,9\n2,10\n3,n/a\n4,200\n")
    ran = windtunnel("simulate", "--trace", "words.csv", *LAWS, "--sizes", "tokens:100")

    assert ran.code == 2
    assert "words.csv: `tokens` holds text, and only figures can be cut" in ran.err


def test_laws_without_a_name_can_be_named(windtunnel: Command) -> None:
    """The second law is of `class-1`, which shares can name."""
    laws = ("--service", "deterministic(mean=1ms)", "--service", "deterministic(mean=9ms)")
    asked = ("simulate", "--arrivals", "poisson(rate=9)", "--requests", 100, *laws, "--json")
    ran = windtunnel(*asked, "--sizes", "class-0=50%, class-1=50%")

    assert [each["name"] for each in ran.document["by_size"]] == ["class-0", "class-1"]
