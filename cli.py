"""The command line: parse, one call, print. Everything heavy is imported inside the commands."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from windtunnel.errors import WindtunnelError, naming

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from windtunnel.fanout import Workers
    from windtunnel.progress import Progress
    from windtunnel.report.section import Section
    from windtunnel.verbs import Road, Traffic
    from windtunnel.verdict import Verdict

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Rehearse ML inference before it meets production: optimize, benchmark, simulate, backtest, decide.",
    epilog="Exit codes: 0 go or done, 1 no-go, 2 bad input, 3 inconclusive, 4 something is not installed, 130 interrupted.",
)

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout and nothing else.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="Say nothing on stderr but errors.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of a refusal.")]
Seed = Annotated[int, typer.Option("--seed", min=0, help="The root of every stream of chance.")]
WorkerCount = Annotated[
    int, typer.Option("--workers", min=0, help="Processes: 1 stays in this one, 0 decides by the work's size.")
]
RayAddress = Annotated[str, typer.Option("--ray-address", help="Do fanned-out work on this Ray cluster.")]
Out = Annotated[Path | None, typer.Option("--out", help="The run folder; one of the same pipeline is continued.")]


TraceFile = Annotated[Path | None, typer.Option("--trace", help="Recorded arrivals, in any format that `trace` reads.")]
Arrivals = Annotated[str, typer.Option(help="Generated arrivals, such as poisson(rate=900).")]
Requests = Annotated[int | None, typer.Option(min=2, help="How many to generate: 100,000 where nothing is said.")]
TimeColumn = Annotated[str, typer.Option("--time", help="The trace's column of seconds or time stamps.")]
ProfileFile = Annotated[Path, typer.Option("--profile", help="A latency profile that benchmark wrote (.npz).")]
Scenario = Annotated[
    list[str],
    typer.Option(
        help="Worse days on which the promise must be kept too, such as 'flash-crowd(times=5), replica-loss'."
    ),
]
WorstDay = Annotated[
    list[str],
    typer.Option(
        help="Make the day worse: flash-crowd, retry-storm, thundering-herd, hot-key, slow-clients, payload-bomb, "
        "sponge-inputs, poison-request, replica-loss, cold-start-stampede; settings in brackets; several with commas or "
        "again, a+b on one day."
    ),
]
Extrapolate = Annotated[
    bool,
    typer.Option("--extrapolate", help="Guess batches that were never measured; the verdict is inconclusive then."),
]
Speed = Annotated[float, typer.Option(help="Play the trace so many times as fast.")]


def _progress(*, quiet: bool, debug: bool) -> Progress:
    from windtunnel.progress import Progress

    _Shown.debug = debug
    return Progress(quiet=quiet)


def _workers(count: int, ray_address: str) -> Workers:
    from windtunnel.fanout import Workers

    return Workers(count, ray_address)


Value = TypeVar("Value")

INTERRUPTED = 130
"""The exit code by which Typer says that Ctrl-C was pressed."""


def _read(option: str, parse: Callable[[str], Value], text: str) -> Value:
    """Read an option's text; a refusal names the option."""
    with naming(field=option):
        return parse(text)


def _durations(text: str) -> tuple[float, ...]:
    from windtunnel.quantity import parse_duration

    return tuple(sorted({parse_duration(part) for part in text.split(",")}))


class _Shown:
    """Whether tracebacks are shown; read once, when a command has failed."""

    debug = False


def _print(
    document: dict[str, Any], sections: Sequence[Section], verdict: Verdict | None, *, as_json: bool, rows: int = 12
) -> None:
    """Print a result: one JSON document, or tables for people; then leave with the verdict's exit code."""
    if as_json:
        _print_json(document)
    else:
        from windtunnel.report.terminal import print_sections

        print_sections(sections, _unsaid(verdict, sections) if verdict is not None else None, rows=rows)
    if verdict is not None:
        raise typer.Exit(verdict.exit_code)


def _print_json(document: dict[str, Any]) -> None:
    from windtunnel.digest import canonical_json

    typer.echo(canonical_json(document), nl=False)


def _unsaid(verdict: Verdict, sections: Sequence[Section]) -> Verdict:
    """The verdict without the sentences that stand in a section above it."""
    from dataclasses import replace

    said = {sentence for section in sections for sentence in section.sentences}
    return replace(
        verdict,
        reasons=tuple(each for each in verdict.reasons if each not in said),
        would_change=tuple(each for each in verdict.would_change if f"would change it: {each}" not in said),
    )


@app.command()
def demo(
    out: Out = None,
    as_json: AsJson = False,
    workers: WorkerCount = 0,
    ray_address: RayAddress = "",
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Run the main job on a real year of flights (needs the extra `demo`).

    Example: windtunnel demo --out runs/flights
    """
    config = Path(__file__).resolve().parent / "examples" / "flights" / "windtunnel.toml"
    run(config, out, as_json=as_json, seed=None, workers=workers, ray_address=ray_address, quiet=quiet, debug=debug)


@app.command()
def init(
    model: Annotated[str, typer.Argument(help="An ONNX file, module.py:factory, or module.py:fit with --fit.")],
    data: Annotated[Path, typer.Argument(help="Recorded traffic: Parquet or CSV.")],
    out: Annotated[Path, typer.Option("--out", help="The file to write.")] = Path("windtunnel.toml"),
    time: Annotated[str, typer.Option(help="The column that says when a prediction was asked.")] = "",
    label: Annotated[str, typer.Option(help="The column with what turned out true.")] = "",
    label_time: Annotated[str, typer.Option(help="The column that says when that could first be known.")] = "",
    identity: Annotated[str, typer.Option("--id", help="The column that names the request.")] = "",
    fit: Annotated[bool, typer.Option("--fit", help="MODEL is called with rows and a seed, and trains.")] = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Write a windtunnel.toml for a model and a recording.

    Example: windtunnel init model.onnx recorded.parquet
    """
    _progress(quiet=quiet, debug=debug)
    from windtunnel.init import write_config

    document = write_config(model, data, out, time=time, label=label, label_time=label_time, identity=identity, fit=fit)
    if as_json:
        _print_json(document)
    else:
        typer.echo(f"wrote {out}; look it over, then: windtunnel run {out}")


@app.command()
def run(
    config: Annotated[Path, typer.Argument(help="A windtunnel.toml.")] = Path("windtunnel.toml"),
    out: Out = None,
    as_json: AsJson = False,
    seed: Annotated[int | None, typer.Option("--seed", min=0, help="In place of the configuration's.")] = None,
    workers: WorkerCount = 0,
    ray_address: RayAddress = "",
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Run every stage whose inputs changed, and end in a decision and a report.

    Example: windtunnel run examples/flights/windtunnel.toml --out runs/flights
    """
    progress = _progress(quiet=quiet, debug=debug)
    from windtunnel import pipeline
    from windtunnel.config import read_config

    folder = out if out is not None else Path("runs") / read_config(config).name
    finished = pipeline.run(config, folder, seed=seed, workers=_workers(workers, ray_address), progress=progress)
    sections = [stage.section for stage in finished.stages.values()]
    _print(finished.to_dict(), sections, finished.verdict, as_json=as_json)


@app.command()
def optimize(
    model: Annotated[
        str, typer.Argument(help="ONNX, .pt2, .skops, LightGBM text, XGBoost JSON or UBJ, or module.py:factory.")
    ],
    data: Annotated[str, typer.Option(help="Rows to learn from and to prove on: npz, Parquet, CSV, module.py:loader.")],
    metric: Annotated[str, typer.Option(help="The measure of quality; agreement needs no labels.")] = "agreement",
    max_drop: Annotated[str, typer.Option(help="How much of it a variant may lose, such as 1% or 0.005.")] = "1%",
    label: Annotated[str, typer.Option(help="The label's column or array.")] = "",
    group: Annotated[str, typer.Option(help="The column of what makes rows alike, such as a query.")] = "",
    slices: Annotated[
        list[str] | None, typer.Option("--slice", help="A column to look into for the worst part.")
    ] = None,
    output: Annotated[str, typer.Option(help="Which output is judged; the first where not said.")] = "",
    batch: Annotated[str, typer.Option(help="Batch sizes where speed counts.")] = "1",
    size: Annotated[list[str] | None, typer.Option(help="Lengths of a free axis, such as sequence=32,128.")] = None,
    objective: Annotated[str, typer.Option(help="What is best: p50, p99, throughput, size or memory.")] = "p50",
    budget: Annotated[str, typer.Option(help="How long to look, about.")] = "5m",
    threads: Annotated[str, typer.Option(help="Numbers of threads to try; one and all cores where not said.")] = "",
    runtime: Annotated[str, typer.Option(help="Runtimes to try; ONNX Runtime and OpenVINO where not said.")] = "",
    student: Annotated[str, typer.Option(help="module.py:student, a smaller model to be taught by this one.")] = "",
    students: Annotated[bool, typer.Option(help="Derive smaller models from this one and teach them.")] = True,
    attack: Annotated[bool, typer.Option(help="Attack parent and child (needs the extra robustness).")] = False,
    depends_on: Annotated[
        list[str] | None, typer.Option(help="A file that your functions read, so that a change of it is seen.")
    ] = None,
    exhaustive: Annotated[bool, typer.Option(help="Make, prove and time everything, however hopeless.")] = False,
    allow_pickle: Annotated[
        bool, typer.Option(help="Open a pickled model, which runs whatever code is in it.")
    ] = False,
    bundle: Annotated[
        Path | None, typer.Option(help="Write the chosen variant with what it takes to serve it here.")
    ] = None,
    out: Out = None,
    seed: Seed = 1,
    workers: WorkerCount = 1,
    ray_address: RayAddress = "",
    as_json: AsJson = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Choose the fastest variant that is proven not to be worse than its parent.

    Ctrl-C ends looking and proves the best so far; again, it stops at once.

    Example: windtunnel optimize model.onnx --data holdout.npz --metric agreement --max-drop 1% --batch 1,32
    """
    progress = _progress(quiet=quiet, debug=debug)
    from windtunnel import verbs
    from windtunnel.quantity import parse_duration, parse_integers, parse_tolerance

    search = verbs.Search(
        objective, _sizes(size or []), _read("--threads", parse_integers, threads) if threads else (),
        _names(runtime) if runtime else (),
        _read("--budget", parse_duration, budget), exhaustive, student, students, attack,
    )  # fmt: skip
    done = verbs.optimize(
        model, data, metric=metric, max_drop=_read("--max-drop", parse_tolerance, max_drop), label=label, group=group,
        slices=tuple(slices or ()), output=output, batch=_read("--batch", parse_integers, batch), search=search,
        depends_on=tuple(depends_on or ()), allow_pickle=allow_pickle, bundle=bundle, out=out, seed=seed, workers=_workers(workers, ray_address), progress=progress,
    )  # fmt: skip
    verdict = done.verdict
    if done.stage.result["interrupted"]:
        _print(done.to_dict(), [done.stage.section], None, as_json=as_json)
        raise typer.Exit(INTERRUPTED)
    _print(done.to_dict(), [done.stage.section], verdict, as_json=as_json)


@app.command()
def benchmark(
    models: Annotated[
        list[str] | None,
        typer.Argument(help="ONNX files of one signature, or file.py:function; or two earlier runs to compare."),
    ] = None,
    batch: Annotated[str, typer.Option(help="Rows a call.")] = "1,8,64",
    precision: Annotated[str, typer.Option(help="Of the quantile, plus or minus.")] = "5%",
    quantile: Annotated[str, typer.Option(help="Which is to be precise: p50, p90, p99 or p999.")] = "p50",
    budget: Annotated[str, typer.Option(help="How long to time, at most.")] = "60s",
    runtime: Annotated[str, typer.Option(help="Runtimes, such as onnxruntime-cpu,openvino.")] = "onnxruntime-cpu",
    threads: Annotated[str, typer.Option(help="Intra-op threads of an instance.")] = "1",
    concurrency: Annotated[str, typer.Option(help="Instances that are busy at once.")] = "1",
    size: Annotated[list[str] | None, typer.Option(help="Lengths of a free axis, such as words=16,128.")] = None,
    data: Annotated[Path | None, typer.Option(help="Real inputs; made up from the signature without.")] = None,
    footprint: Annotated[bool, typer.Option(help="Measure memory and cold start too.")] = True,
    scaling: Annotated[bool, typer.Option(help="Fill the machine with threads and with instances too.")] = True,
    here: Annotated[str, typer.Option(help="What this machine is sold as, such as aws:m7i.large.")] = "",
    fail_if_slower: Annotated[
        str, typer.Option(help="No-go if another is slower than the first by more, such as 3%.")
    ] = "",
    cost: Annotated[bool, typer.Option("--cost", help="Price what is measured; needs --hardware and --slo.")] = False,
    hardware: Annotated[
        str, typer.Option(help="What to pay for: aws:g5.xlarge,spot(aws:g5.xlarge),aws:lambda-2048MB.")
    ] = "",
    slo: Annotated[str, typer.Option(help="The promise at which throughput is counted, such as p99<=50ms.")] = "",
    prices: Annotated[Path | None, typer.Option(help="A price table that replaces or extends the shipped one.")] = None,
    load: Annotated[float, typer.Option(help="Requests a second at which ways to pay are weighed.")] = 0.0,
    cold_share: Annotated[str, typer.Option(help="Of requests that find no function ready.")] = "0%",
    power: Annotated[float, typer.Option(help="Watts that a machine draws while it works.")] = 0.0,
    grid: Annotated[float, typer.Option(help="Grams of CO2 a kilowatt-hour.")] = 0.0,
    on_cluster: Annotated[
        bool, typer.Option("--on-cluster", help="Once on each kind of node of a Ray cluster.")
    ] = False,
    ray_address: RayAddress = "",
    target: Annotated[
        str,
        typer.Option(help="A server of the Open Inference Protocol: measured alone, or its cost beside the model's."),
    ] = "",
    model: Annotated[str, typer.Option(help="What the model is called there.")] = "",
    connections: Annotated[int, typer.Option(min=1, help="How many ask the server at once.")] = 16,
    token_file: Annotated[Path | None, typer.Option(help="Holds the token that the server wants.")] = None,
    owned: Annotated[
        bool, typer.Option("--i-own-this-target", help="The server is not on this machine, and yours to load.")
    ] = False,
    out: Out = None,
    seed: Seed = 1,
    as_json: AsJson = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Measure how long models take and what else they take, compare them, and price them.

    Example: windtunnel benchmark model.onnx --batch 1,8 --cost --hardware azure:D2s_v5 --slo 'p99<=50ms'
    """
    progress = _progress(quiet=quiet, debug=debug)
    from windtunnel import verbs
    from windtunnel.errors import ConfigError
    from windtunnel.quantity import parse_duration, parse_integers, parse_share

    settings = verbs.Settings(
        batch=_read("--batch", parse_integers, batch), precision=_read("--precision", parse_share, precision), quantile=quantile,
        budget_s=_read("--budget", parse_duration, budget), threads=_read("--threads", parse_integers, threads),
        concurrency=_read("--concurrency", parse_integers, concurrency), runtimes=_names(runtime), sizes=_sizes(size or []),
        footprint=footprint, scaling=scaling, instance=here,
    )  # fmt: skip
    if ray_address and not on_cluster:
        raise ConfigError("is a cluster's, which was not asked for", field="--ray-address", fix="add --on-cluster")
    asked = {"--hardware": hardware, "--slo": slo, "--prices": prices, "--load": load, "--power": power, "--grid": grid,
             "--cold-share": cold_share != "0%"}  # fmt: skip
    wishes = None
    if _priced(asked, cost=cost):
        wishes = verbs.Wishes(
            slo, _names(hardware), prices, load, _read("--cold-share", parse_share, cold_share), power, grid
        )
    server = verbs.Target(target, model, token_file, owned, connections) if target else None
    if server is None and not models:
        raise ConfigError("names nothing to measure", field="MODELS", fix="give a model, or --target and --model")
    if server is not None and not models:
        if wishes is not None or on_cluster or fail_if_slower:
            raise ConfigError(
                "measures a server, of whose model nothing else is known", field="--target", value=target,
                fix="give the model's file too: its profile then holds what the server costs",
            )  # fmt: skip
        done = verbs.benchmark_target(server, settings=settings, data=data, out=out, seed=seed, progress=progress)
        _print(done.to_dict(), [done.stage.section], done.verdict, as_json=as_json)
        return
    done = verbs.benchmark(
        models or [], settings=settings, data=data, cost=wishes, target=server,
        fail_if_slower=_read("--fail-if-slower", parse_share, fail_if_slower) if fail_if_slower else None,
        cluster=ray_address or "auto" if on_cluster else "", out=out, seed=seed, progress=progress,
    )  # fmt: skip
    _print(done.to_dict(), [done.stage.section], done.verdict, as_json=as_json)


def _names(text: str) -> tuple[str, ...]:
    """Names between commas; a comma within brackets is part of a name."""
    return tuple(name.strip() for name in re.split(r",(?![^()]*\))", text) if name.strip())


def _sizes(options: list[str]) -> dict[str, tuple[int, ...]]:
    """Read `axis=16,128`, once an axis."""
    from windtunnel.errors import ConfigError
    from windtunnel.quantity import parse_integers

    sizes = {}
    for option in options:
        axis, sign, lengths = option.partition("=")
        if not sign or axis in sizes:
            raise ConfigError("is not one axis and its lengths", field="--size", value=option, fix="write words=16,128")
        sizes[axis] = _read("--size", parse_integers, lengths)
    return sizes


def _priced(asked: Mapping[str, object], *, cost: bool) -> bool:
    """Whether prices are asked for; refused where the half of it is missing."""
    from windtunnel.errors import ConfigError

    given = [option for option, value in asked.items() if value]
    if not cost and given:
        raise ConfigError("is about money, which was not asked for", field=given[0], fix="add --cost")
    if cost and not {"--hardware", "--slo"} <= set(given):
        missing = next(option for option in ("--hardware", "--slo") if option not in given)
        raise ConfigError(
            "is missing", field=missing,
            fix="cost is the price of --hardware ÷ the throughput at which --slo is kept (windtunnel doctor --catalog lists)",
        )  # fmt: skip
    return cost


@app.command()
def trace(
    file: Annotated[Path, typer.Argument(help="A recording of requests, or of counts, in any format that is known.")],
    describe: Annotated[
        bool, typer.Option("--describe", help="Say what it holds: what this command does anyway.")
    ] = True,
    form: Annotated[str, typer.Option("--format", help="Its format, where its beginning does not say it.")] = "",
    time: TimeColumn = "",
    time_unit: Annotated[str, typer.Option(help="Of times that are numbers: s, ms, us or ns.")] = "",
    duration: Annotated[str, typer.Option(help="The column of how long each request took.")] = "",
    duration_unit: Annotated[str, typer.Option(help="Its unit: s, ms, us or ns.")] = "",
    stamped: Annotated[
        str, typer.Option(help="What a time marks: start, or end, from which the duration is subtracted.")
    ] = "",
    column: Annotated[
        list[str] | None,
        typer.Option(
            help="Carry a column along: tokens=prompt_tokens; size, priority, key and deadline_s mean something."
        ),
    ] = None,
    bin_length: Annotated[str, typer.Option("--bin", help="How long a bin of counts is, such as 60s.")] = "0s",
    spread: Annotated[str, typer.Option(help="How requests lie within coarse times: random, even or none.")] = "random",
    sampled: Annotated[str, typer.Option(help="The share of requests that was recorded, if not all were.")] = "100%",
    durations: Annotated[
        Path | None, typer.Option(help="Azure Functions 2019: the file of durations beside the counts.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="Write it as Parquet, for simulate, plan and the next time.")
    ] = None,
    seed: Seed = 1,
    as_json: AsJson = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Say what a recording of arrivals holds: requests, length, rates, burstiness; what was left out, and why.

    Example: windtunnel trace access.log.gz --describe
    """
    _progress(quiet=quiet, debug=debug)
    del describe  # the one thing there is to do
    from windtunnel import verbs
    from windtunnel.quantity import parse_duration, parse_share
    from windtunnel.seeds import Seeds
    from windtunnel.simulate.formats import Ask
    from windtunnel.verbs.trace import parse_columns

    ask = Ask(
        form, time, time_unit, duration, duration_unit, stamped, parse_columns(column or []),
        _read("--bin", parse_duration, bin_length), spread, _read("--sampled", parse_share, sampled), durations,
    )  # fmt: skip
    document, section = verbs.describe_trace(file, ask, Seeds(seed), out)
    _print(document, [section], None, as_json=as_json)


TUNNEL_ONLY = frozenset({
    "profile", "service", "extrapolate", "priorities", "deadline", "batcher", "router", "scaler", "least_replicas", "most_replicas",
    "cold_start", "admission", "multiplex", "proxy", "fault", "mitigate", "runs", "workers", "theory", "usd_per_hour",
})  # fmt: skip
"""What `simulate` takes that a real server settles by itself."""

ROAD_ONLY = frozenset({
    "bundle", "target", "model", "token_file", "owned", "data", "size", "slow", "duration", "most_rate", "generators", "web", "ray_address",
    "adversary", "factor",
})  # fmt: skip
"""What it takes that means nothing in the tunnel."""

AGREE_ONLY = frozenset({"load", "within", "calibrate", "road"})
"""What it takes where tunnel and road are compared."""

NOT_AGREE = frozenset(
    {
        "target",
        "model",
        "token_file",
        "owned",
        "client",
        "slow",
        "scenario",
        "slo",
        "speed",
        "most_rate",
        "web",
        "ray_address",
        "adversary",
        "factor",
    }
)
"""What a comparison does not take besides: it has its own clock, and asks once and waits."""


def _refuse(context: typer.Context, names: frozenset[str], why: str, fix: str) -> None:
    """Refuse options that were given and would do nothing."""
    from windtunnel.errors import ConfigError

    for parameter in context.command.params:
        source = context.get_parameter_source(parameter.name or "")
        if parameter.name in names and source is not None and source.name == "COMMANDLINE":
            shown = parameter.opts[-1] if parameter.param_type_name == "option" else "MODEL"
            raise ConfigError(why, field=shown, fix=fix)


@app.command()
def simulate(
    context: typer.Context,
    bundle: Annotated[
        Path | None,
        typer.Argument(
            metavar="[MODEL]", help="With --live: a run folder, a bundle or an ONNX file to serve and drive."
        ),
    ] = None,
    trace: TraceFile = None,
    arrivals: Arrivals = "",
    requests: Requests = None,
    time: TimeColumn = "",
    speed: Speed = 1.0,
    profile: Annotated[
        list[str] | None,
        typer.Option(
            help="A latency profile that benchmark wrote (.npz); for requests of several sizes short=a.npz and again."
        ),
    ] = None,
    service: Annotated[
        list[str] | None,
        typer.Option(help="Or a law, such as 'affine(base=1ms, per_item=0.4ms)'; may be repeated too."),
    ] = None,
    extrapolate: Extrapolate = False,
    sizes: Annotated[
        str, typer.Option(help="Which request is of which size: 'context_tokens: 512, 2048', or 'short=90%, long=10%'.")
    ] = "",
    keys: Annotated[str, typer.Option(help="What requests ask for, such as 'zipf(distinct=1000, exponent=1)'.")] = "",
    priorities: Annotated[
        str, typer.Option(help="Classes and their shares, the first served first: 'urgent=20%, usual=80%'.")
    ] = "",
    deadline: Annotated[
        str, typer.Option(help="After which an answer is worthless: 100ms, or 'urgent=100ms, usual=inf'.")
    ] = "",
    replicas: Annotated[int | None, typer.Option(min=0, help="Servers, a core each: 1 where nothing is said.")] = None,
    max_batch: Annotated[
        int | None, typer.Option(min=1, help="A batch leaves when so many wait: 1 where nothing is said.")
    ] = None,
    max_wait: Annotated[str, typer.Option(help="Or when the oldest has waited so long, such as 2ms.")] = "",
    batcher: Annotated[str, typer.Option(help="How batches are made, such as 'ray-serve(blocking=true)'.")] = "ideal",
    router: Annotated[
        str, typer.Option(help="Which replica gets a request: power-of-two where each has a queue of its own.")
    ] = "",
    scaler: Annotated[str, typer.Option(help="Who decides how many replicas there are, such as ray-serve.")] = "",
    least_replicas: Annotated[int | None, typer.Option(min=0, help="Never fewer, where they scale.")] = None,
    most_replicas: Annotated[int | None, typer.Option(min=1, help="Never more, where they scale.")] = None,
    cold_start: Annotated[str, typer.Option(help="How long a replica takes to start, where they scale.")] = "",
    client: Annotated[str, typer.Option(help="Such as 'timeout=1s, retries=2, backoff=50ms, jitter=1'.")] = "",
    admission: Annotated[str, typer.Option(help="Such as 'max_ongoing=5, max_queued=100'.")] = "",
    multiplex: Annotated[
        str,
        typer.Option(help="How models share replicas: 'models_per_replica=3, load=2s'; keys say which one is asked."),
    ] = "",
    proxy: Annotated[str, typer.Option(help="Such as 'workers=4, service=0.1ms'.")] = "",
    fault: Annotated[
        list[str], typer.Option(help="Such as 'crash(station=0, at=60s, back=30s)'; may be repeated.")
    ] = [],  # noqa: B006  # typer copies it
    scenario: WorstDay = [],  # noqa: B006  # typer copies it
    mitigate: Annotated[bool, typer.Option("--mitigate", help="Try what would have helped on the worst day.")] = False,
    runs: Annotated[
        int | None, typer.Option(min=1, help="How often a worst day is flown: 8 where nothing is said.")
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=0, help="Processes that fly those runs: 1, or 0 to decide by the work's size.")
    ] = None,
    slo: Annotated[str, typer.Option(help="A promise, such as p99<=50ms: answers within it are good.")] = "",
    theory: Annotated[
        bool, typer.Option("--theory", help="Tell the closed form beside it, where one applies.")
    ] = False,
    usd_per_hour: Annotated[float | None, typer.Option(min=0.0, help="What a replica costs.")] = None,
    live: Annotated[bool, typer.Option("--live", help="Drive a real server instead: MODEL, or --target.")] = False,
    agree: Annotated[
        bool, typer.Option("--agree", help="Do both: how well the tunnel tells what MODEL does on the road.")
    ] = False,
    load: Annotated[str, typer.Option(help="Share of the server's capacity at which the trace comes.")] = "50%",
    within: Annotated[str, typer.Option(help="How far the tunnel's quantiles may be off; throughput a fifth.")] = "10%",
    calibrate: Annotated[
        str, typer.Option(help="How long the road is measured, half before the trace and half after it.")
    ] = "51s",
    road: Annotated[
        Path | None,
        typer.Option(help="Where the road's stations are kept, such as model.road.npz: read, else measured."),
    ] = None,
    target: Annotated[str, typer.Option(help="A server of the Open Inference Protocol that is there.")] = "",
    model: Annotated[str, typer.Option(help="What the model is called there.")] = "",
    token_file: Annotated[Path | None, typer.Option(help="Holds the token that the server wants.")] = None,
    owned: Annotated[
        bool, typer.Option("--i-own-this-target", help="The server is not on this machine, and yours to load.")
    ] = False,
    data: Annotated[Path | None, typer.Option(help="Rows to send; made up from what the model takes without.")] = None,
    size: Annotated[
        list[str] | None, typer.Option(help="Lengths of a free axis, such as words=16,128: a size class each.")
    ] = None,
    slow: Annotated[str, typer.Option(help="Clients that send slowly, such as 'share=5%, over=2s'.")] = "",
    duration: Annotated[str, typer.Option(help="For how long to drive: 10m at most without, 4h at all.")] = "",
    most_rate: Annotated[float, typer.Option(help="Requests that may fall due in one second: up to 100000.")] = 5000.0,
    generators: Annotated[int, typer.Option(min=1, help="Processes of load.")] = 1,
    web: Annotated[bool, typer.Option("--web", help="Show the run on Locust's live page too.")] = False,
    adversary: Annotated[
        bool, typer.Option("--adversary", help="Let an adversary come too, in the middle half of the run.")
    ] = False,
    factor: Annotated[float, typer.Option(help="By which p99 may grow while the adversary is there.")] = 3.0,
    ray_address: RayAddress = "",
    out: Out = None,
    seed: Seed = 1,
    as_json: AsJson = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Fly traffic through a deployment, in the tunnel; with --live, drive it against a real server.

    Example: windtunnel simulate --arrivals 'poisson(rate=900)' --profile model.npz --replicas 2 --max-batch 8

    On the road: windtunnel simulate --live runs/flights --trace arrivals.csv --speed 10 --duration 60s

    Both: windtunnel simulate --agree runs/flights --trace arrivals.csv --load 50% --duration 120s
    """
    progress = _progress(quiet=quiet, debug=debug)
    from windtunnel import verbs
    from windtunnel.errors import ConfigError
    from windtunnel.fanout import Workers
    from windtunnel.quantity import parse_duration, parse_share
    from windtunnel.seeds import Seeds

    if live and agree:
        raise ConfigError("does what --live does, and more", field="--agree", fix="leave --live out")
    if agree:
        _refuse(context, TUNNEL_ONLY | NOT_AGREE, "has no place in a comparison of tunnel and road", "leave it out")
        asked = verbs.Road(
            bundle, replicas=replicas, max_batch=max_batch,
            max_wait_s=_read("--max-wait", parse_duration, max_wait) if max_wait else None, data=data, sizes=_sizes(size or []),
            duration_s=_read("--duration", parse_duration, duration) if duration else None, generators=generators,
        )  # fmt: skip
        wish = verbs.Wish(
            _read("--load", parse_share, load),
            _read("--within", parse_share, within),
            road,
            _read("--calibrate", parse_duration, calibrate),
        )
        traffic = verbs.read_traffic(trace, arrivals, requests, Seeds(seed), time)
        done = verbs.agree(traffic, asked, wish, seed=seed, out=out, progress=progress)
        _print(done.to_dict(), [done.stage.section], done.verdict, as_json=as_json)
        return
    _refuse(context, AGREE_ONLY, "is for a comparison of tunnel and road", "add --agree, or leave it out")
    if live:
        _refuse(context, TUNNEL_ONLY, "is for the tunnel: a real server is as it is", "leave it out, or --live")
        driven = verbs.Road(
            bundle, target, model, token_file, owned, replicas, max_batch,
            _read("--max-wait", parse_duration, max_wait) if max_wait else None, data, _sizes(size or []), client, slow,
            ", ".join(scenario), _read("--duration", parse_duration, duration) if duration else None, most_rate, generators,
            ray_address, slo, web, adversary, factor,
        )  # fmt: skip
        _drive(driven, verbs.read_traffic(
            trace, arrivals, requests, Seeds(seed), time, speed, carried=verbs.Carried(sizes, keys), classes=driven.classes,
        ), seed=seed, out=out, progress=progress, as_json=as_json, quiet=quiet)  # fmt: skip
        return
    _refuse(context, ROAD_ONLY, "is for a real server, and there is none", "add --live, or leave it out")
    serving = verbs.Serving(
        1 if replicas is None else replicas, max_batch, _read("--max-wait", parse_duration, max_wait) if max_wait else None, batcher, router, scaler,
        least_replicas, most_replicas, _read("--cold-start", parse_duration, cold_start) if cold_start else None, client,
        admission, proxy, tuple(fault), multiplex,
    )  # fmt: skip
    times = verbs.read_service(profile or [], service or [])
    traffic = verbs.read_traffic(
        trace, arrivals, requests, Seeds(seed), time, speed, carried=verbs.Carried(sizes, keys, priorities, deadline),
        classes=times.names,
    )  # fmt: skip
    done = verbs.simulate(
        traffic, times, serving, scenario=", ".join(scenario), mitigate=mitigate, runs=runs,
        workers=None if workers is None else Workers(workers), slo=slo, theory=theory, extrapolate=extrapolate,
        usd_per_hour=usd_per_hour, seed=seed, out=out, progress=progress,
    )  # fmt: skip
    _print(done.to_dict(), [done.stage.section], done.verdict, as_json=as_json)


def _drive(
    road: Road, traffic: Traffic, *, seed: int, out: Path | None, progress: Progress, as_json: bool, quiet: bool
) -> None:
    """Drive a real server, and print what became of it."""
    from windtunnel import verbs

    done = verbs.live(traffic, road, seed=seed, out=out, progress=progress, shown=not (quiet or as_json))
    stopped = done.stage.result["interrupted"]
    _print(done.to_dict(), [done.stage.section], None if stopped else done.verdict, as_json=as_json)
    if stopped:
        raise typer.Exit(INTERRUPTED)


@app.command()
def plan(
    profile: Annotated[
        list[Path],
        typer.Option(
            "--profile", help="A profile that benchmark wrote (.npz); may be repeated: one a variant and machine."
        ),
    ],
    hardware: Annotated[
        str,
        typer.Option(help="Instance types to choose from, such as azure:D2s_v5,aws:m7i.large; functions to compare."),
    ],
    slo: Annotated[str, typer.Option(help="The promise, such as p99<=50ms.")],
    trace: Annotated[
        list[Path] | None,
        typer.Option("--trace", help="Recorded arrivals; may be repeated: the promise holds on each."),
    ] = None,
    arrivals: Arrivals = "",
    requests: Requests = None,
    time: TimeColumn = "",
    speed: Speed = 1.0,
    replicas: Annotated[str, typer.Option(help="Numbers of replicas to try; what the load asks for without.")] = "",
    max_batch: Annotated[str, typer.Option(help="Batch sizes to try; those that were measured without.")] = "",
    max_wait: Annotated[str, typer.Option(help="Waits to try.")] = "0ms,1ms,5ms",
    batcher: Annotated[str, typer.Option(help="Batchers to try, such as ideal,ray-serve.")] = "ideal",
    router: Annotated[str, typer.Option(help="Routers to try, where each replica has its own queue.")] = "power-of-two",
    confidence: Annotated[str, typer.Option(help="How sure the answer is to be.")] = "99%",
    scenario: Scenario = [],  # noqa: B006  # typer copies it
    patterns: Annotated[
        str, typer.Option(help="What may be the answer: always-on,autoscaled,spot,serverless,edge, or all.")
    ] = "always-on",
    assume: Annotated[
        str, typer.Option(help="Of those: 'cold_start=60s, preemptions_per_hour=0.05, notice=120s, replacement=60s'.")
    ] = "",
    failures_per_hour: Annotated[
        float | None, typer.Option(min=0.0, help="Of every machine, lost without notice; none fails without.")
    ] = None,
    tune_batching: Annotated[
        bool, typer.Option("--tune-batching", help="Look for the best batching of the fleet, and write it for servers.")
    ] = False,
    extrapolate: Extrapolate = False,
    workers: WorkerCount = 0,
    ray_address: RayAddress = "",
    out: Out = None,
    seed: Seed = 1,
    as_json: AsJson = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Find the cheapest deployment that keeps the promise.

    Example: windtunnel plan --trace arrivals.csv --profile model.npz --hardware azure:D2s_v5 --slo 'p99<=50ms'
    """
    progress = _progress(quiet=quiet, debug=debug)
    from windtunnel import verbs
    from windtunnel.quantity import parse_integers, parse_share
    from windtunnel.seeds import Seeds

    choices = verbs.Choices(
        _names(hardware), slo,
        _read("--replicas", parse_integers, replicas) if replicas else (),
        _read("--max-batch", parse_integers, max_batch) if max_batch else (),
        _read("--max-wait", _durations, max_wait), _names(batcher), _names(router),
        _read("--confidence", parse_share, confidence), ", ".join(scenario), patterns, assume, failures_per_hour,
        tune_batching,
    )  # fmt: skip
    paths: list[Path | None] = [*(trace or [])] or [None]
    traffic = [verbs.read_traffic(path, arrivals, requests, Seeds(seed), time, speed) for path in paths]
    done = verbs.plan(
        traffic, verbs.read_profiles(profile, choices.max_batch if extrapolate else None), choices, seed=seed,
        workers=_workers(workers, ray_address), out=out, progress=progress,
    )  # fmt: skip
    _print(done.to_dict(), [done.stage.section], done.verdict, as_json=as_json)


@app.command()
def serve(
    model: Annotated[Path, typer.Argument(help="A run folder (its chosen variant), a bundle, or an ONNX file.")],
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 for one that is free.")] = 8000,
    host: Annotated[
        str, typer.Option(help="An address of this machine; others than loopback need --token-file.")
    ] = "127.0.0.1",
    token_file: Annotated[
        Path | None, typer.Option(help="Holds what requests must carry as a bearer token; mode 600.")
    ] = None,
    replicas: Annotated[int | None, typer.Option(min=1, help="Sessions; as planned without.")] = None,
    most: Annotated[
        int | None, typer.Option(min=1, help="Sessions at most, where they scale with what is asked.")
    ] = None,
    max_batch: Annotated[int | None, typer.Option(min=1, help="Requests a batch; as planned without.")] = None,
    max_wait: Annotated[str, typer.Option(help="How long a batch waits; as planned without.")] = "",
    max_ongoing: Annotated[
        int, typer.Option(min=0, help="Requests that a session takes on at once; 0: two batches, at least 16.")
    ] = 0,
    max_body: Annotated[str, typer.Option(help="The longest request that is read.")] = "64MiB",
    max_json: Annotated[
        str, typer.Option(help="The longest without binary tensors; others wait while it is read.")
    ] = "4MiB",
    nan: Annotated[str, typer.Option(help="Inputs that are NaN or infinite: refuse or allow.")] = "refuse",
    log: Annotated[
        Path | None, typer.Option(help="Write what is asked and answered here, as Parquet that backtest reads.")
    ] = None,
    log_sample: Annotated[str, typer.Option(help="The share of requests that is logged; all without.")] = "",
    log_most: Annotated[str, typer.Option(help="What the log's folder may hold; 10GB without.")] = "",
    canary: Annotated[str, typer.Option(help="Another model, and its share of the answers: RUN=5%.")] = "",
    shadow: Annotated[
        Path | None, typer.Option(help="Another model, which sees every request and answers none.")
    ] = None,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Serve a model with Ray Serve, on loopback, in the Open Inference Protocol, until interrupted.

    Example: windtunnel serve runs/flights --port 8000
    """
    progress = _progress(quiet=quiet, debug=debug)
    from windtunnel import verbs
    from windtunnel.quantity import parse_bytes, parse_duration
    from windtunnel.serving.limits import Limits
    from windtunnel.serving.server import Options

    limits = Limits(
        max_body_bytes=_read("--max-body", parse_bytes, max_body), nan=nan,
        max_json_bytes=_read("--max-json", parse_bytes, max_json),
    )  # fmt: skip
    verbs.serve(
        model, Options(port, host, token_file, limits, max_ongoing), replicas=replicas, most=most, max_batch=max_batch,
        max_wait_s=_read("--max-wait", parse_duration, max_wait) if max_wait else None,
        beside=verbs.Beside(canary, shadow, log, log_sample, log_most), progress=progress,
    )  # fmt: skip


@app.command()
def rollback(
    port: Annotated[int, typer.Option(min=1, max=65535, help="Of a running `windtunnel serve` of yours.")] = 8000,
    as_json: AsJson = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Take the canary and the shadow out of a running server; no request in flight is lost.

    Example: windtunnel rollback --port 8000
    """
    progress = _progress(quiet=quiet, debug=debug)
    from windtunnel.serving.rollback import roll_back

    done = roll_back(port)
    if as_json:
        _print_json(done.to_dict())
    progress.say(str(done))


@app.command()
def backtest(
    config: Annotated[Path, typer.Argument(help="A backtest.toml.")] = Path("backtest.toml"),
    leak_test: Annotated[bool, typer.Option("--leak-test", help="Prove that nothing was known too early.")] = False,
    workers: WorkerCount = 0,
    ray_address: RayAddress = "",
    out: Out = None,
    seed: Seed = 1,
    as_json: AsJson = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Replay recorded traffic with late labels: who would have won, and when one would have known.

    Example: windtunnel backtest backtest.toml --leak-test
    """
    progress = _progress(quiet=quiet, debug=debug)
    from windtunnel import verbs

    done = verbs.backtest(
        config, out=out, seed=seed, leak_test=leak_test, workers=_workers(workers, ray_address), progress=progress
    )
    _print(done.to_dict(), [done.stage.section], done.verdict, as_json=as_json)


@app.command()
def gate(
    run_folder: Annotated[Path, typer.Argument(metavar="RUN", help="A run folder.")],
    as_json: AsJson = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Leave with the exit code of a run's verdict, once every byte of the run is known to be intact.

    Example: windtunnel gate runs/flights
    """
    _progress(quiet=quiet, debug=debug)
    from windtunnel.gate import judge

    document, verdict = judge(run_folder)
    _print(document, [], verdict, as_json=as_json)


@app.command()
def report(
    run_folder: Annotated[Path, typer.Argument(metavar="RUN", help="A run folder.")],
    as_json: AsJson = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Write report.html of a run, one file that opens offline, and print its summary.

    Example: windtunnel report runs/flights
    """
    _progress(quiet=quiet, debug=debug)
    from windtunnel.report.terminal import print_sections
    from windtunnel.run import read_run, verdict_of
    from windtunnel.run import report as write_again

    page = write_again(run_folder)
    document, stages = read_run(run_folder)
    if as_json:
        _print_json({**document, "report": str(page)})
        return
    sections = [stage.section for stage in stages.values()]
    print_sections(sections, _unsaid(verdict_of(document), sections))
    typer.echo(f"report: {page}")


@app.command()
def verify(
    run_folder: Annotated[Path, typer.Argument(metavar="RUN", help="A run folder.")],
    as_json: AsJson = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Check every byte of a run folder against its manifests.

    Example: windtunnel verify runs/flights
    """
    _progress(quiet=quiet, debug=debug)
    from windtunnel.run_folder import verify as verify_folder

    problems = verify_folder(run_folder)
    if as_json:
        head = {"schema": "windtunnel.verify/1", "run": str(run_folder)}
        _print_json({**head, "intact": not problems, "problems": problems})
    else:
        typer.echo("\n".join(problems) if problems else f"{run_folder} is intact")
    raise typer.Exit(1 if problems else 0)


@app.command()
def doctor(
    catalog: Annotated[
        bool, typer.Option("--catalog", help="List the prices, and what is doubtful about them.")
    ] = False,
    prices: Annotated[Path | None, typer.Option(help="A price table that replaces or extends the shipped one.")] = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Show what this machine and this installation can do, and what an extra would add; or the catalogue of prices.

    Example: windtunnel doctor --catalog
    """
    _progress(quiet=quiet, debug=debug)
    from windtunnel import doctor as examination
    from windtunnel.catalogue import Catalogue
    from windtunnel.errors import ConfigError

    if prices is not None and not catalog:
        raise ConfigError("is listed with the catalogue", field="--prices", fix="add --catalog")
    if not catalog:
        found = examination.examine()
        _print(found, [examination.draw(found)], None, as_json=as_json)
        return
    shipped = Catalogue.shipped()
    listed = examination.catalog(shipped.extended(prices) if prices is not None else shipped)
    _print(listed, [examination.draw_catalog(listed)], None, as_json=as_json, rows=100_000)  # a list is asked for whole


@app.command()
def export(
    model: Annotated[str, typer.Argument(help="module.py:factory, .pt2, .skops, LightGBM text, XGBoost JSON or UBJ.")],
    out: Annotated[Path, typer.Option("--out", help="The ONNX file to write.")] = Path("model.onnx"),
    allow_pickle: Annotated[
        bool, typer.Option(help="Open a pickled model, which runs whatever code is in it.")
    ] = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Export a model to ONNX, its free axes and its numbers compared with its source.

    Example: windtunnel export model.py:factory --out model.onnx
    """
    progress = _progress(quiet=quiet, debug=debug)
    from windtunnel import verbs

    document = verbs.export(model, out, allow_pickle=allow_pickle, progress=progress)
    if as_json:
        _print_json(document)
        return
    off = document["largest_difference"]
    typer.echo(f"wrote {out}: {document['bytes']:,} bytes, off by at most {off:.2g} from its source")


def main() -> None:
    """Run the command line; turn every refusal into its exit code and a message without a traceback."""
    try:
        app()
    except WindtunnelError as error:
        _fail(error)
    except KeyboardInterrupt:  # while a command was still being read
        _interrupted()
        raise SystemExit(INTERRUPTED) from None
    except SystemExit as leaving:
        if leaving.code == INTERRUPTED:
            _interrupted()
        raise


def _interrupted() -> None:
    sys.stderr.write("interrupted; what was finished is kept\n")


def _fail(error: WindtunnelError) -> None:
    if _Shown.debug:
        import traceback

        traceback.print_exc()
    sys.stderr.write(f"windtunnel: {error}\n")
    raise SystemExit(error.exit_code) from error


if __name__ == "__main__":
    main()
