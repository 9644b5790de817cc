"""`python -m bench [--compare REF] [NAME ...]`: run the measurements and print each figure as it comes."""

from __future__ import annotations

import argparse
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator

import msgspec

from bench import (
    alike,
    dispatch,
    library,
    links,
    neighbours,
    output,
    records,
    scale,
    slave,
    slowlink,
    stacks,
    tasks,
    transfer,
)
from bench.checkout import CheckoutFailed
from bench.cleanup import STOPPING
from bench.compare import TRIALS, Comparison, compare
from bench.figures import QUICK, Figure, Report, Settings, machine_of_now
from bench.lab import LabFailed, NoLab
from bench.tree import TreeFailed

MEASUREMENTS: dict[str, Callable[[Settings], Iterator[Figure]]] = {
    "dispatch": dispatch.measure,
    "library": library.measure,
    "tasks": tasks.measure,
    "slave": slave.measure,
    "scale": scale.measure,
    "output": output.measure,
    "alike": alike.measure,
    "records": records.measure,
    "stacks": stacks.measure,
    "transfer": transfer.measure,
    "neighbours": neighbours.measure,
    "links": links.measure,
    "slowlink": slowlink.measure,
}


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench", description="The benchmarks of docs/benchmarks.md.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(MEASUREMENTS)}; none: all")
    parser.add_argument(
        "--compare", metavar="REF",
        help=f"measure this git revision and this checkout in turns ({', '.join(TRIALS)}); status 1 if any is worse",
    )  # fmt: skip
    parser.add_argument("--quick", action="store_true", help="small and few: only to see that everything runs")
    parser.add_argument("--json", metavar="FILE", help="also write the figures to this file")
    parser.add_argument("--markdown", metavar="FILE", help="also write them here, as in docs/benchmarks.md")
    for field, help in (
        ("runs", "repetitions of each measurement"),
        ("racks", "rack masters of the tree"),
        ("rack_size", "nodes of a rack, with its master"),
        ("payload_mb", "size of the file of `transfer`"),
        ("transfer_nodes", "nodes that `transfer` sends it to"),
        ("output_mb", "output of each node of `output`"),
        ("output_nodes", "nodes of `output`"),
        ("lab_mib", "size of the file of `links`"),
        ("lab_mbit", "rate of each link of `links`, in Mbit/s"),
        ("spawn_jobs", "jobs of each kind in each round of `spawn`"),
        ("tasks", "tasks of each list of `tasks`"),
    ):
        parser.add_argument(f"--{field.replace('_', '-')}", type=_at_least_one, metavar="N", help=help)
    parser.add_argument("--lab-hosts", type=_numbers, metavar="N[,N...]", help="numbers of hosts of `links`")
    parser.add_argument("--scale-nodes", type=_numbers, metavar="N[,N...]", help="sizes of the trees of `scale`")
    parser.add_argument("--clush-hosts", type=_numbers, metavar="N[,N...]", help="those for which clush copies too")
    options = parser.parse_args(arguments)
    known = TRIALS if options.compare is not None else MEASUREMENTS
    unknown = [name for name in options.names if name not in known]
    if unknown:
        what = "comparison" if options.compare is not None else "measurement"
        parser.error(f"there is no {what} {unknown[0]!r}; there are {', '.join(known)}")
    for path in (options.json, options.markdown):
        try:
            if path:
                open(path, "ab").close()  # checked now, because a measurement takes long
        except OSError as error:
            parser.error(f"{path} cannot be written: {error.strerror}")
    names = options.names or list(known)
    report: Report | Comparison
    if options.compare is None:
        report = run(names, _settings(options))
    else:
        try:
            report = compare(options.compare, names, _settings(options), QUICK.runs if options.quick else options.runs)
        except CheckoutFailed as error:
            parser.error(str(error))
    _write(options, report)
    return 1 if report.failed or (isinstance(report, Comparison) and report.worse) else 0


def run(names: list[str], settings: Settings) -> Report:
    """Measure.  A measurement that is impossible here, or fails, is named and left out."""
    machine = machine_of_now()
    figures: list[Figure] = []
    missing: list[str] = []
    failed: list[str] = []
    print(machine.shown)
    for name in names:
        print(f"\n[{name}]")
        try:
            for figure in MEASUREMENTS[name](settings):
                figures.append(figure)
                print(figure.shown(), flush=True)
        except NoLab as error:
            missing.append(f"{name}: {error}")
            print(f"not measured: {error}", flush=True)
        except (LabFailed, TreeFailed, OSError, subprocess.CalledProcessError) as error:
            failed.append(f"{name}: {error}")
            print(f"failed: {error}", flush=True)
    return Report(
        **msgspec.structs.asdict(machine), figures=tuple(figures), missing=tuple(missing), failed=tuple(failed)
    )


def _write(options: argparse.Namespace, report: Report | Comparison) -> None:
    if options.json:
        with open(options.json, "wb") as file:
            file.write(report.as_json())
    if options.markdown:
        with open(options.markdown, "w") as table:
            table.write(report.as_markdown())


def _settings(options: argparse.Namespace) -> Settings:
    base = QUICK if options.quick else Settings()
    chosen = {name: getattr(options, name) for name in Settings.__struct_fields__}
    values = {name: getattr(base, name) if value is None else value for name, value in chosen.items()}
    return Settings(**values)


def _at_least_one(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is not at least 1")
    return value


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(_at_least_one(word) for word in text.split(","))


def _end(number: int, _: object) -> None:
    """Exit so that trees, hosts and copies are removed; a second ^C or SIGTERM does not interrupt that."""
    for again in STOPPING:
        signal.signal(again, signal.SIG_IGN)
    sys.exit(128 + number)


if __name__ == "__main__":
    for number in STOPPING:
        signal.signal(number, _end)
    sys.exit(main(sys.argv[1:]))
