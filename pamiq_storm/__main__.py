"""`python -m pamiq_storm {demo,info,bench,calibrate}`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

INTERRUPTED = 130
"""What a shell reports for a command that Ctrl-C ended."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit status."""
    options = _parser().parse_args(arguments)
    try:
        return options.command(options)
    except KeyboardInterrupt:
        print("interrupted: nothing was written", file=sys.stderr)
        return INTERRUPTED
    except (RuntimeError, OSError) as error:
        if options.debug:
            raise
        print(f"error: {error}", file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    from pamiq_storm.bench.registry import SUITES

    parser = argparse.ArgumentParser(
        prog="python -m pamiq_storm", description="Train what does not fit, and measure it."
    )
    parser.add_argument("--debug", action="store_true", help="show where an error came from")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    demo = commands.add_parser("demo", help="train a model that does not fit, with and without STORM")
    demo.add_argument("--out", type=Path, default=Path("demo"), help="folder for results.json and memory.png")
    demo.add_argument("--seed", type=int, default=0, help="of weights and batches")
    demo.set_defaults(command=_demo)

    info = commands.add_parser("info", help="versions, devices and what was built")
    info.set_defaults(command=_info)

    bench = commands.add_parser("bench", help="run a benchmark suite")
    bench.add_argument("suite", choices=sorted(SUITES))
    bench.add_argument("--json", type=Path, metavar="PATH", help="write the results there")
    bench.add_argument("--plot", type=Path, metavar="PATH", help="draw them there, as PNG")
    parts = bench.add_argument_group("parts of suite offload; all of them if left out")
    parts.add_argument("--workload", metavar="NAME", help="such as W1 or W2:8192")
    parts.add_argument("--profile", metavar="NAME", help="simulated hardware, such as rtx4090 or a .toml file")
    parts.add_argument("--arms", metavar="NAME", nargs="+", help="ways to train, such as trl storm")
    parts.add_argument("--sensitivity", action="store_true", help="again with rates a fifth lower and higher")
    bench.set_defaults(command=_bench)

    measure = commands.add_parser("calibrate", help="write the hardware profile of the device at hand")
    measure.add_argument("--out", type=Path, metavar="FILE", help="write it there, as TOML")
    measure.set_defaults(command=_calibrate)

    for command in (demo, bench, measure):
        command.add_argument(
            "--device", default="auto", choices=["auto", "cuda", "sim"], help="auto: CUDA if it is there"
        )
    for command in (demo, bench):
        command.add_argument("--quick", action="store_true", help="tiny sizes: shows that it runs, times mean nothing")
    return parser


def _demo(options: argparse.Namespace) -> int:
    from pamiq_storm import demo
    from pamiq_storm.bench.console import Console

    return demo.run(options.out, options.device, options.quick, options.seed, Console())


def _bench(options: argparse.Namespace) -> int:
    from pamiq_storm.atomic import write_atomically
    from pamiq_storm.bench.console import Console
    from pamiq_storm.bench.plot import plot
    from pamiq_storm.bench.registry import SUITES

    names = ("workload", "profile", "arms", "sensitivity")
    parts = {name: getattr(options, name) for name in names if getattr(options, name)}
    if options.suite == "offload":
        from pamiq_storm.bench import offload

        chosen = offload.Selection(**{"sensitivity": False, **parts})
        results = offload.run(options.device, options.quick, Console(), chosen)
    elif parts:
        raise RuntimeError(f"--{', --'.join(parts)}: only suite offload has parts to choose from")
    else:
        results = SUITES[options.suite](options.device, options.quick, Console())
    if options.json:
        results.write(options.json)
    if options.plot:
        write_atomically(options.plot, plot(results))
    return 0


def _calibrate(options: argparse.Namespace) -> int:
    from pamiq_storm.bench.console import Console
    from pamiq_storm.calibrate import run

    if options.out and options.out.suffix != ".toml":
        raise RuntimeError(f"--out {options.out}: the name of a profile's file ends in .toml")
    return run(options.device, options.out, Console())


def _info(_options: argparse.Namespace) -> int:
    from pamiq_storm.info import report

    for name, value in report().items():
        print(f"{name + ':':<13}{value}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
