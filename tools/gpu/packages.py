"""The Python packages that a run needs besides torch: looked for, and what is missing put into a folder of its own.

`python -m tools.gpu.packages --into FOLDER [--wheels WHEELS]` installs; with WHEELS no index is asked.
`python -m tools.gpu.packages --fill WHEELS [PIP OPTION...]` fills that folder, on a machine that has an index. The
Python there may be another one: `--python 3.12` says which the wheels are for. `--toolkit 13.0` adds nvcc and the
sanitizer.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tomllib
from collections.abc import Sequence
from importlib.metadata import distributions
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2] / "pyproject.toml"
BUILD = ("setuptools>=77", "ninja", "numpy")
CORE = "pamiq-core==0.6.0"
"""The original that ours is compared with; its syntax is that of Python 3.12."""
TOOLKIT = "cuda-toolkit[nvcc,cccl,sanitizer]"
PLATFORMS = [f"manylinux_2_{minor}_x86_64" for minor in (28, 27, 26, 25, 24, 17)] + ["manylinux2014_x86_64"]


def wanted(python: tuple[int, int]) -> list[str]:
    """Requirements that are installed with what they need; none of them needs torch."""
    extras = _extras()
    psutil = [one for one in extras["peers"] if one.startswith("psutil")]
    core = [CORE] if python >= (3, 12) else []
    return [*BUILD, *extras["test"], *extras["demo"], *psutil, *core]


def bare() -> list[str]:
    """Those that are installed alone: one file of each is used, and the rest of them needs gigabytes."""
    return [one for one in _extras()["peers"] if not one.startswith("psutil")]


def missing(requirements: Sequence[str], path: Sequence[str]) -> list[str]:
    """Those that no distribution on `path` meets."""
    there = {_canonical(found.metadata["Name"]): found.version for found in distributions(path=list(path))}
    return [one for one in requirements if not _met(one, there)]


def install(into: Path, wheels: Path | None) -> str:
    """Installs what is missing into the folder; returns why it could not, in one sentence, or nothing."""
    path = [str(into), *sys.path]
    for requirements, options in ((wanted(sys.version_info[:2]), []), (bare(), ["--no-deps"])):
        lacking = missing(requirements, path)
        if lacking and (why := _pip(lacking, into, wheels, options)):
            return why
    if wheels and any(wheels.glob("cuda_toolkit-*.whl")) and not _has_nvcc():
        return _pip([TOOLKIT], into, wheels, [])
    return ""


def _has_nvcc() -> bool:
    import torch

    from tools import build_support

    return bool(build_support.find_toolkits(torch.version.cuda or "13"))


def fill(wheels: Path, python: str, toolkit: str, options: Sequence[str]) -> int:
    """Downloads all of it; what the machine with the GPU has already is not used then."""
    version = tuple(int(part) for part in python.split(".")) if python else sys.version_info[:2]
    foreign = ["--only-binary=:all:", *([f"--python-version={python}"] if python else [])]
    if python:
        foreign += [f"--platform={name}" for name in PLATFORMS]
    kinds = [(wanted((version[0], version[1])), []), (bare(), ["--no-deps"])]
    if toolkit:
        kinds.append(([f"{TOOLKIT}=={toolkit}.*"], []))
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "download", f"--dest={wheels}"]
    for requirements, alone in kinds:
        if status := subprocess.run([*command, *foreign, *alone, *options, *requirements]).returncode:
            return status
    return 0


def _pip(requirements: Sequence[str], into: Path, wheels: Path | None, options: Sequence[str]) -> str:
    source = ["--no-index", f"--find-links={wheels}"] if wheels else []
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--quiet", f"--target={into}"]
    command += ["--upgrade", *source, *options, *requirements]
    done = subprocess.run(command, capture_output=True, text=True)
    print(done.stdout + done.stderr)
    if done.returncode == 0:
        return ""
    named = re.search(r"No matching distribution found for (\S+)", done.stderr)
    what = f"the wheel of {named[1]}" if named else f"a wheel of {', '.join(requirements)}"
    where = f"in {wheels}" if wheels else "to be had from a package index"
    return (
        f"{what} is not {where}: type `make gpu-wheels WHEELS=folder` on a machine with an index, bring the folder "
        "here, and type `make gpu WHEELS=folder`."
    )


def _met(requirement: str, there: dict[str, str]) -> bool:
    from pip._vendor.packaging.requirements import Requirement  # packaging itself may be missing

    parsed = Requirement(requirement)
    found = there.get(_canonical(parsed.name))
    return found is not None and parsed.specifier.contains(found, prereleases=True)


def _canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _extras() -> dict[str, list[str]]:
    return tomllib.loads(PROJECT.read_text())["project"]["optional-dependencies"]


def main(arguments: Sequence[str] | None = None) -> int | str:
    """Returns the exit status, or what is to be said with status 1."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--into", type=Path)
    parser.add_argument("--wheels", type=Path)
    parser.add_argument("--fill", type=Path)
    parser.add_argument("--python", default="", metavar="X.Y")
    parser.add_argument("--toolkit", default="", metavar="X.Y")
    parser.add_argument("--only-look", action="store_true", help="say what is missing and install nothing")
    options, others = parser.parse_known_args(arguments)
    if options.fill:
        return fill(options.fill, options.python, options.toolkit, others)
    if options.only_look:
        lacking = missing([*wanted(sys.version_info[:2]), *bare()], sys.path)
        print(f"missing, and not measured: {', '.join(lacking)}" if lacking else "all packages are there")
        return 0
    return install(options.into, options.wheels) or 0


if __name__ == "__main__":
    sys.exit(main())
