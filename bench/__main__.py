"""`python -m bench [NAME ...]`: run the measurements and print each figure as it comes."""

from __future__ import annotations

import argparse
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator

import msgspec

from bench import dispatch, links, neighbours, output, slave, slowlink, transfer
from bench.figures import QUICK, Figure, Report, Settings, report_of_now
from bench.lab import LabFailed, NoLab
from bench.tree import TreeFailed

MEASUREMENTS: dict[str, Callable[[Settings], Iterator[Figure]]] = {
    "dispatch": dispatch.measure,
    "slave": slave.measure,
    "output": output.measure,
    "transfer": transfer.measure,
    "neighbours": neighbours.measure,
    "links": links.measure,
    "slowlink": slowlink.measure,
}


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench", description="The benchmarks of docs/benchmarks.md.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(MEASUREMENTS)}; none: all")
    parser.add_argument("--quick", action="store_true", help="small and few: whether all runs, not how fast")
    parser.add_argument("--json", metavar="FILE", help="write the figures there too")
    parser.add_argument("--markdown", metavar="FILE", help="and there, as the table of docs/benchmarks.md")
    for field, help in (
        ("runs", "repetitions of each measurement"),
        ("racks", "rack masters of the tree"),
        ("rack_size", "nodes of a rack, its master among them"),
        ("payload_mb", "size of the file of `transfer`"),
        ("transfer_nodes", "nodes that `transfer` sends it to"),
        ("output_mb", "what each node of `output` says"),
        ("output_nodes", "nodes of `output`"),
        ("lab_mib", "size of the file of `links`"),
        ("lab_mbit", "rate of each link of `links`, in Mbit/s"),
    ):
        parser.add_argument(f"--{field.replace('_', '-')}", type=_at_least_one, metavar="N", help=help)
    parser.add_argument("--lab-hosts", type=_numbers, metavar="N[,N...]", help="numbers of hosts of `links`")
    parser.add_argument("--clush-hosts", type=_numbers, metavar="N[,N...]", help="those at which clush copies too")
    options = parser.parse_args(arguments)
    unknown = [name for name in options.names if name not in MEASUREMENTS]
    if unknown:
        parser.error(f"there is no measurement {unknown[0]!r}; there are {', '.join(MEASUREMENTS)}")
    report = run(options.names or list(MEASUREMENTS), _settings(options))
    if options.json:
        with open(options.json, "wb") as file:
            file.write(report.as_json())
    if options.markdown:
        with open(options.markdown, "w") as table:
            table.write(report.as_markdown())
    return 1 if report.failed else 0


def run(names: list[str], settings: Settings) -> Report:
    """Measure; what cannot be measured here, or fails, is said and left out."""
    report = report_of_now()
    figures: list[Figure] = []
    missing: list[str] = []
    failed: list[str] = []
    print(f"{report.processors} processors, load {report.load:.2f}, kernel {report.kernel}, Python {report.python}")
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
    return msgspec.structs.replace(report, figures=tuple(figures), missing=tuple(missing), failed=tuple(failed))


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


if __name__ == "__main__":
    # Trees and hosts are taken down on the way out, also when a timeout(1) ends us.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    sys.exit(main(sys.argv[1:]))
