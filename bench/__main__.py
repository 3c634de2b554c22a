"""The command line: ``python -m bench COMMAND``, or ``ris-bench COMMAND``; ``--help`` lists the commands.

Long because it is a list: each command's options once, and the few lines that hand them on.
"""

import argparse
import os
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from bench.streams import lasting_streams
from ris_core.errors import RisError

REGRESSION, BAD_INPUT, INTERRUPTED = 1, 2, 130
RANDOM_TILE = "random"
Command = Callable[[argparse.Namespace], int]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Returns:
        0, 1 if a cell failed or a gate did, 2 if the input is at fault (the message is on stderr), 130 after Ctrl-C.
    """
    options = _parser().parse_args(arguments)
    # libgomp reads this when torch is imported. Its threads spin for milliseconds at each barrier by default: with one
    # busy neighbour on two cores, that made training three times as slow as one thread; this costs a sixth when alone.
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")
    if sys.stderr is None or not sys.stderr.isatty():  # under tox or in a log: tqdm reads this when it is imported
        os.environ.setdefault("TQDM_MININTERVAL", "10")
    command: Command = options.command
    with lasting_streams():
        try:
            _treat_termination_as_interrupt()
            return command(options)
        except RisError as error:
            print(error, file=sys.stderr)
            return BAD_INPUT
        except (MemoryError, OSError) as error:
            if (lack := _lack(error)) is None:
                raise
            print(lack, file=sys.stderr)
            return BAD_INPUT
        except KeyboardInterrupt:
            print("interrupted", file=sys.stderr)
            return INTERRUPTED


def _treat_termination_as_interrupt() -> None:
    def interrupt(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    for number in (signal.SIGTERM, signal.SIGHUP):  # the second when its terminal is closed
        if signal.getsignal(number) is signal.SIG_IGN:  # `nohup`
            continue
        try:
            signal.signal(number, interrupt)
        except ValueError:  # not the main thread: whoever started us handles signals
            return


def _lack(error: MemoryError | OSError) -> str | None:
    """What the machine lacks, where an error says that and no more; None for any other error."""
    from ris_core.artifacts import LACKS, disk_error

    if isinstance(error, MemoryError):
        return f"memory is too small ({error or 'nothing left'}). Close other programs, or ask for less at once."
    return str(disk_error(Path(error.filename or "a file"), error)) if error.errno in LACKS else None


def _of_runs(command: Command) -> Command:
    """The command, which calls it bad input when the run folders that it is given do not hold what runs leave."""

    def checked(options: argparse.Namespace) -> int:
        from bench.results import refusing_damage

        given = vars(options)
        folders = [given[name] for name in ("base", "run") if name in given] or given["runs"]
        with refusing_damage(*folders):
            return command(options)

    return checked


# Commands import what they need when they run: torch alone takes seconds, and `--help` needs none of it.


def _run(options: argparse.Namespace) -> int:
    from bench.comparing.repeat import repeat_suite
    from bench.running.run_suite import RunOptions, run_suite

    chosen = RunOptions(
        suite=options.suite,
        overrides=tuple(options.set),
        resume=options.resume,
        keyword=options.k,
        stop_at_failure=options.x,
        cache=options.cache,
        reports=options.reports,
        run_id=options.run_id,
        cluster=options.cluster,
    )
    return run_suite(chosen) if options.repeat is None else repeat_suite(chosen, options.repeat)


def _train(options: argparse.Namespace) -> int:
    from bench.checkpoints import CheckpointOrder, make_checkpoints

    chosen = CheckpointOrder(
        suite=options.suite,
        backbones=tuple(options.backbones),
        overrides=tuple(options.set),
        cache=options.cache,
        device=options.device,
        cluster=options.cluster,
    )
    for path in make_checkpoints(chosen):
        print(path)
    return 0


def _plan(options: argparse.Namespace) -> int:
    if options.against is not None:
        return _compare_plan(options)
    from bench.planning.forecast import forecast_suite
    from bench.planning.page import forecast_page, write_forecast
    from bench.suites.suite_file import find_suite, read_suite

    suite = read_suite(find_suite(options.suite), options.set)
    found = forecast_suite(suite, options.cache, lambda what: print(f"measuring: {what}", file=sys.stderr, flush=True))
    if options.csv is not None:
        write_forecast(found, options.csv, options.workers)
    print(forecast_page(suite, found, options.cache, options.workers))
    return 0


def _compare_plan(options: argparse.Namespace) -> int:
    from bench.planning.against import compare_forecast, comparison_table, read_forecast, write_comparison
    from bench.results import read_run

    table = compare_forecast(read_forecast(Path(options.suite)), options.against)
    if options.out is None:
        print(comparison_table(table))
    else:
        print(write_comparison(table, read_run(options.against), options.out))
    return 0


def _list(options: argparse.Namespace) -> int:
    from bench.suites.cells import expand_cells
    from bench.suites.suite_file import find_suite, read_suite

    for cell in expand_cells(read_suite(find_suite(options.suite), options.set)):
        print(cell.id)
    return 0


def _report(options: argparse.Namespace) -> int:
    from bench.running.run_suite import make_report

    print(make_report(options.run))
    return 0


def _figure(options: argparse.Namespace) -> int:
    from bench.draw_figure import ALL, draw_all, draw_figure
    from bench.figures.thesis import FigureOptions
    from bench.finished.finished_run import FinishedRun

    given = {key: getattr(options, key) for key in ("backbone", "engine", "k", "ranks", "mass", "published", "regions")}
    run = FinishedRun.open(options.run, options.cache)
    given["tile"] = tuple(run.random_tile() if tile == RANDOM_TILE else tile for tile in options.tile)
    chosen = FigureOptions(**{key: value for key, value in given.items() if value is not None})
    if options.name == ALL:
        files, reasons = draw_all(run, chosen, options.out)
    else:
        files, reasons = draw_figure(run, options.name, chosen, options.out), []
    print(*files, *reasons, sep="\n")
    return 0


def _publish(options: argparse.Namespace) -> int:
    from bench.publish import publish_run

    print(publish_run(options.run, options.target))
    return 0


def _export(options: argparse.Namespace) -> int:
    from bench.trec_export import export_run

    print(export_run(options.run, options.target))
    return 0


def _score(options: argparse.Namespace) -> int:
    from bench.judging.trec_score import score_page, score_runs, write_scores

    scored = score_runs(options.qrels, options.runs, options.k or [10])
    if options.csv is not None:
        write_scores(scored, options.csv)
    print(score_page(scored), end="")
    return 0


def _pool(options: argparse.Namespace) -> int:
    from bench.pool_runs import PoolOptions, pool_runs

    print(pool_runs(PoolOptions(tuple(options.runs), options.out, options.judge, options.depth)), end="")
    return 0


def _ground_truth(options: argparse.Namespace) -> int:
    from bench.judging.labelled_truth import TruthRules, write_labelled_truth

    rules = TruthRules(options.per_class, options.seed, options.pairs, options.boxes)
    print(write_labelled_truth(options.folder, rules, options.out))
    return 0


def _compare(options: argparse.Namespace) -> int:
    from bench.comparing.compare import compare_runs
    from bench.comparing.gate import gate_runs, parse_thresholds

    if not options.gate and not options.threshold:
        print(compare_runs(options.base, options.run, scores_only=options.scores_only), end="")
        return 0
    thresholds = parse_thresholds(options.threshold)
    gate = gate_runs(options.base, options.run, thresholds, scores_only=options.scores_only)
    print(gate.markdown(), end="")
    return 0 if gate.is_passed else REGRESSION


def _rank(options: argparse.Namespace) -> int:
    from bench.comparing.rank_runs import rank_runs

    print(rank_runs(options.runs, options.out, options.recall), end="")
    return 0


def _inspect(options: argparse.Namespace) -> int:
    from ris_core.tiling.rasters import describe_raster, write_thumbnail

    print(describe_raster(options.raster, options.tile_px, progress=True))
    if options.thumbnail is not None:
        write_thumbnail(options.raster, options.thumbnail)
        print(f"thumbnail: {options.thumbnail}")
    return 0


def _doctor(options: argparse.Namespace) -> int:
    from bench.doctor import examine

    print(examine(options.cache))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("ris-bench", description="Reverse image search over aerial imagery, measured.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    cache = Path(os.environ.get("RIS_CACHE", ".ris_cache"))

    run = commands.add_parser("run", help="measure a suite and write its report")
    _add_suite(run)
    run.add_argument("-k", default="", metavar="EXPRESSION", help="only cells whose id matches, as in pytest")
    run.add_argument("-x", action="store_true", help="stop at the first cell that fails")
    run.add_argument("--resume", nargs="?", const="", metavar="RUN", help="go on with the last run, or with RUN")
    run.add_argument("--cache", type=Path, default=cache, metavar="DIR", help="artifacts (default: %(default)s)")
    run.add_argument("--reports", type=Path, default=Path("reports"), metavar="DIR", help="runs (default: %(default)s)")
    run.add_argument("--run-id", metavar="ID", help="name of the new run (default: date and time)")
    run.add_argument(
        "--cluster",
        metavar="WHO",
        help="who cuts, extracts and finds exact neighbours: local, local:N or tcp://host:port",
    )
    run.add_argument("--repeat", type=int, metavar="N", help="A/A test: measure N runs and gate each by the one before")
    run.set_defaults(command=_run)

    train = commands.add_parser("train", help="train a suite's backbones into the cache, also under torchrun")
    _add_suite(train)
    train.add_argument("backbones", nargs="*", metavar="BACKBONE", help="which (default: all that have a recipe)")
    train.add_argument("--cache", type=Path, default=cache, metavar="DIR", help="artifacts (default: %(default)s)")
    train.add_argument("--device", default="auto", metavar="NAME", help="auto, cpu or cuda (default: %(default)s)")
    train.add_argument("--cluster", metavar="WHO", help="who cuts the tiles: local, local:N or tcp://host:port")
    train.set_defaults(command=_train)

    plan = commands.add_parser("plan", help="say what a run of a suite will cost, from a minute of measuring")
    _add_suite(plan)
    plan.add_argument("--cache", type=Path, default=cache, metavar="DIR", help="artifacts (default: %(default)s)")
    plan.add_argument(
        "--workers",
        type=_count,
        default=1,
        metavar="N",
        help="workers that share tiles, features and truth (default: 1)",
    )
    plan.add_argument("--csv", type=Path, metavar="FILE", help="write the table")
    plan.add_argument("--against", type=Path, metavar="RUN", help="SUITE is such a table: hold a run against it")
    plan.add_argument("--out", type=Path, metavar="DIR", help="with --against: folder for the comparison")
    plan.set_defaults(command=_plan)

    cells = commands.add_parser("list", help="print the ids of a suite's cells")
    _add_suite(cells)
    cells.set_defaults(command=_list)

    report = commands.add_parser("report", help="draw a run's tables, figures and page anew")
    report.add_argument("run", type=Path, metavar="RUN", help="folder of the run")
    report.set_defaults(command=_of_runs(_report))

    figure = commands.add_parser("figure", help="draw one of the thesis' figures from a finished run, or all")
    _add_figure(figure)
    figure.set_defaults(command=_of_runs(_figure))

    publish = commands.add_parser("publish", help="copy a run's report, without pictures and paths, to be kept by git")
    publish.add_argument("run", type=Path, metavar="RUN", help="folder of the run")
    publish.add_argument("target", type=Path, metavar="TARGET", help="folder to make, such as reports/reference/mine")
    publish.set_defaults(command=_of_runs(_publish))

    export = commands.add_parser("export", help="write a run's judgments and answers as TREC files")
    export.add_argument("run", type=Path, metavar="RUN", help="folder of the run")
    export.add_argument("target", type=Path, metavar="TARGET", help="folder for judgments.qrels and *.run")
    export.set_defaults(command=_of_runs(_export))

    score = commands.add_parser("score", help="score TREC run files of any system against a qrels file")
    score.add_argument("qrels", type=Path, metavar="QRELS", help="judgments")
    score.add_argument("runs", type=Path, nargs="+", metavar="RUN", help="answers of one system")
    score.add_argument("--k", type=int, action="append", metavar="K", help="depth, may be repeated (default: 10)")
    score.add_argument("--csv", type=Path, metavar="FILE", help="write the score of each topic")
    score.set_defaults(command=_score)

    pool = commands.add_parser("pool", help="ask people to judge what runs found, and score the runs by that")
    pool.add_argument("runs", type=Path, nargs="+", metavar="RUN", help="folder of a run; all of the same tiles")
    pool.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder of judgments, sheets and tables")
    pool.add_argument("--judge", default="judge", metavar="NAME", help="who is asked (default: %(default)s)")
    pool.add_argument("--depth", type=int, metavar="N", help="answers pooled of each list (default: all that count)")
    pool.set_defaults(command=_of_runs(_pool))

    truth = commands.add_parser("ground-truth", help="make the ground truth of a folder of images from its classes")
    truth.add_argument(
        "folder", type=Path, metavar="FOLDER", help="images with one subfolder a class, or a zip of them"
    )
    truth.add_argument("--out", type=Path, required=True, metavar="JSON", help="file to write, such as gnd.json")
    truth.add_argument("--per-class", type=int, default=5, metavar="N", help="queries of each (default: %(default)s)")
    truth.add_argument("--seed", type=int, default=0, help="of the queries' draw (default: %(default)s)")
    truth.add_argument("--pairs", type=Path, metavar="CSV", help="query,image,label that go before the classes")
    truth.add_argument("--boxes", type=Path, metavar="CSV", help="query,x1,y1,x2,y2 in pixels")
    truth.set_defaults(command=_ground_truth)

    compare = commands.add_parser("compare", help="compare two runs; times only of one machine")
    compare.add_argument("base", type=Path, metavar="BASE", help="folder of the earlier run")
    compare.add_argument("run", type=Path, metavar="RUN", help="folder of the run")
    compare.add_argument("--scores-only", action="store_true", help="leave times out: any two machines will do")
    compare.add_argument("--gate", action="store_true", help="end with status 1 if a cell became worse")
    compare.add_argument(
        "--threshold",
        action="append",
        default=[],
        metavar="METRIC=LOSS",
        help="gate, and let a metric lose so much, such as time=0.2",
    )
    compare.set_defaults(command=_of_runs(_compare))

    rank = commands.add_parser("rank", help="rank engines over the data sets of runs from one machine")
    rank.add_argument("runs", type=Path, nargs="+", metavar="RUN", help="folder of a run")
    rank.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for table and figure")
    rank.add_argument("--recall", type=_fraction, default=0.9, metavar="R", help="least recall (default: %(default)s)")
    rank.set_defaults(command=_of_runs(_rank))

    inspect = commands.add_parser("inspect", help="facts of a raster")
    inspect.add_argument("raster", type=Path, metavar="RASTER")
    inspect.add_argument("--tile-px", type=int, default=512, metavar="N", help="side of a tile (default: %(default)s)")
    inspect.add_argument("--thumbnail", type=Path, metavar="PNG", help="write a small picture of it")
    inspect.set_defaults(command=_inspect)

    doctor = commands.add_parser("doctor", help="what works on this machine, and why the rest does not")
    doctor.add_argument("--cache", type=Path, default=cache, metavar="DIR", help=argparse.SUPPRESS)
    doctor.set_defaults(command=_doctor)
    return parser


def _add_figure(parser: argparse.ArgumentParser) -> None:
    names = "losses, queries, neighbours, nearest, matches, selected, false_positives, attention, region_query or all"
    parser.add_argument("run", type=Path, metavar="RUN", help="folder of the run")
    parser.add_argument("name", metavar="NAME", help=names)
    parser.add_argument(
        "--tile", type=_tile, action="append", default=[], metavar="ID", help="tile to show, or random; may be repeated"
    )
    parser.add_argument("--backbone", metavar="B", help="backbone of the run (default: the most precise that learned)")
    parser.add_argument("--engine", metavar="E", help="engine, or one of its settings (default: exact)")
    parser.add_argument(
        "--k",
        type=int,
        metavar="N",
        help="neighbours of a query (49, nearest: 4, matches: 10), or false positives (12)",
    )
    parser.add_argument("--ranks", type=_numbers, metavar="R,...", help="selected: ranks to show (1,2,3,5,10,15,20)")
    parser.add_argument("--mass", type=float, metavar="M", help="attention: share that a mask keeps (0.6)")
    parser.add_argument("--published", action="store_true", help="losses: the thesis' whole curves beside")
    parser.add_argument(
        "--regions", metavar="NAME", help="region_query: a table of regions (default: the most precise)"
    )
    parser.add_argument("--cache", type=Path, metavar="DIR", help="artifacts, where they are no longer where they were")
    parser.add_argument(
        "--out", type=Path, metavar="FILE", help="PNG, SVG or PDF by its ending; for all a folder (default: in the run)"
    )


def _tile(text: str) -> int | str:
    if text != RANDOM_TILE and not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text} is neither the id of a tile nor {RANDOM_TILE!r}")
    return text if text == RANDOM_TILE else int(text)


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no number from 1")
    return int(text)


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(","))


def _fraction(text: str) -> float:
    value = float(text)
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{text} is not in [0, 1]")
    return value


def _add_suite(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("suite", metavar="SUITE", help="a suite file, or the name of one in suites/, such as demo")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="override a key of the suite")


if __name__ == "__main__":
    sys.exit(main())
