"""python -m tests.cuda_double [--memory 1GiB] [--devices 1] [--d2h 2GB/s] [--h2d 2GB/s] [--no-races] COMMAND [ARG...]

Runs COMMAND, a program that imports torch, with the double in the place of the CUDA runtime. Its exit status is the
command's. Needs the CUDA build of torch, its headers and g++; no GPU, no nvcc.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from tests.cuda_double.build import HERE, MissingError, build

UNITS = {"KB": 10**3, "MB": 10**6, "GB": 10**9, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}


def size(text: str) -> int:
    for unit, factor in UNITS.items():
        if text.endswith(unit):
            return int(float(text.removesuffix(unit)) * factor)
    return int(text)


def rate(text: str) -> int:
    return size(text.removesuffix("/s"))


def arguments(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.cuda_double", description=__doc__)
    parser.add_argument("--memory", type=size, default=size("1GiB"), help="of each device")
    parser.add_argument("--devices", type=int, default=1)
    parser.add_argument("--d2h", type=rate, default=rate("2GB/s"), help="bandwidth from device to host; 0 for no limit")
    parser.add_argument("--h2d", type=rate, default=rate("2GB/s"))
    parser.add_argument("--no-races", action="store_true", help="do not look for hazards")
    parser.add_argument("command", nargs=argparse.REMAINDER)
    chosen = parser.parse_args(argv)
    if not chosen.command:
        parser.error("there is no COMMAND to run")
    return chosen


def environment(chosen: argparse.Namespace, folder: Path) -> dict[str, str]:
    env = dict(os.environ)

    def prepend(name: str, *values: str) -> None:
        env[name] = ":".join([*values, env[name]] if env.get(name) else values)

    prepend("LD_PRELOAD", str(folder / "libcuda_double.so"))
    prepend("PYTHONPATH", str(folder / "autoload"), str(HERE / "plugin"))
    env["CUDA_DOUBLE"] = str(folder)
    env["CUDA_DOUBLE_MEMORY"] = str(chosen.memory)
    env["CUDA_DOUBLE_DEVICES"] = str(chosen.devices)
    env["CUDA_DOUBLE_D2H"] = str(chosen.d2h)
    env["CUDA_DOUBLE_H2D"] = str(chosen.h2d)
    env["CUDA_DOUBLE_RACES"] = "0" if chosen.no_races else "1"
    return env


def main(argv: list[str]) -> None:
    chosen = arguments(argv)
    try:
        folder = build()
    except MissingError as error:
        raise SystemExit(str(error)) from None
    os.execvpe(chosen.command[0], chosen.command, environment(chosen, folder))


if __name__ == "__main__":
    main(sys.argv[1:])
