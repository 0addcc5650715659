"""Compiles the double, for the interpreter that runs this: what changed, by ninja."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
import sysconfig
from pathlib import Path

from tools.build_support import Torch, compilers_that_fit, join_sources, plan_cuda

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
FLAGS = ["-std=c++20", "-O1", "-g1", "-fPIC", "-DNDEBUG", "-Wall", "-Wextra", "-fvisibility=hidden"]
# What the machine has in its own way: devices, streams, memory, generators, and what a new kind of device tells torch.
NOT_OF_THE_SIMULATOR = {
    "autograd_threads", "block_pool", "capture", "copy", "device", "device_allocator", "generator", "guard_impl",
    "hooks", "host_allocator", "memory_stats", "segment_memory", "ops/autocast", "ops/core", "ops/preferred",
}  # fmt: skip


class MissingError(RuntimeError):
    """Something that the build needs is not there."""


def site_package(name: str) -> Path:
    spec = importlib.util.find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        raise MissingError(f"the CUDA double needs {name}, and {sys.executable} has none")
    return Path(next(iter(spec.submodule_search_locations)))


def installed_torch() -> Torch:
    """What it says of itself, without importing it."""
    text = (site_package("torch") / "version.py").read_text()
    version, cuda = (re.search(rf"^{name}\b.*= '(.+)'$", text, re.MULTILINE) for name in ("__version__", "cuda"))
    if version is None or cuda is None:
        raise MissingError(f"the CUDA double needs the CUDA build of torch, and {sys.executable} has another")
    return Torch(version[1], cuda[1])


def cuda_headers() -> list[Path]:
    """Where they are for the package itself, too."""
    plan = plan_cuda("auto", installed_torch(), needs_nvcc=False)
    if not plan.enabled:
        raise MissingError(f"the CUDA double is not built: {plan.reason}")
    return [Path(folder) for folder in plan.include_dirs]


def simulator_sources(build: Path) -> list[Path]:
    """Files that each include some of them."""
    folder = ROOT / "csrc" / "sim"
    found = [p for part in (".", "ops", "races", "timing") for p in (folder / part).glob("*.cpp")]
    ours = sorted(p for p in found if str(p.relative_to(folder).with_suffix("")) not in NOT_OF_THE_SIMULATOR)
    return join_sources(ROOT, [str(p.relative_to(ROOT)) for p in ours], build / "joined", compilers_that_fit())


class Ninja:
    """The text of a build file."""

    def __init__(self) -> None:
        self.lines = [
            "rule compile",
            "  command = g++ $flags -MD -MF $out.d -c $in -o $out",
            "  depfile = $out.d",
            "  deps = gcc",
            "rule link",
            "  command = g++ -shared -o $out $in $flags",
        ]

    def compile(self, source: Path, to: str, flags: list[str], after: str = "") -> str:
        self.lines += [f"build {to}: compile {source} {after}", f"  flags = {' '.join(flags)}"]
        return to

    def link(self, objects: list[str], to: str, flags: list[str]) -> None:
        self.lines += [f"build {to}: link {' '.join(objects)}", f"  flags = {' '.join(flags)}"]


def folder() -> Path:
    """Where it is built: one folder per interpreter and torch."""
    return ROOT / "build" / "cuda_double" / f"{sys.implementation.cache_tag}-torch{installed_torch().version}"


def write(build: Path) -> None:
    torch, cuda = site_package("torch"), cuda_headers()
    ninja = Ninja()
    runtime = [*FLAGS, *(f"-isystem{folder}" for folder in cuda)]
    objects = [ninja.compile(p, f"runtime/{p.stem}.o", runtime) for p in sorted((HERE / "runtime").glob("*.cpp"))]
    ninja.link(objects, "libcuda_double.so", ["-Wl,-soname,libcuda.so.1", "-lpthread"])

    paths = ["-I.", f"-I{HERE / 'machine'}", f"-I{HERE}", f"-I{ROOT / 'csrc'}"]
    system = [torch / "include", torch / "include/torch/csrc/api/include", *cuda, sysconfig.get_paths()["include"]]
    machine = [*FLAGS, "-DTORCH_EXTENSION_NAME=cuda_double_machine", *paths, *(f"-isystem{p}" for p in system)]
    header = f"{HERE / 'machine' / 'common.h'}"
    precompiled = ninja.compile(Path(header), "common.h.gch", [*machine, "-x", "c++-header"])
    machine += ["-include", "common.h"]  # found beside common.h.gch; g++ takes the compiled one
    machine.append("-Wno-subobject-linkage")  # gcc holds the anonymous types of a joined source for a header's
    sources = [*sorted((HERE / "machine").glob("*.cpp")), *simulator_sources(build)]
    objects = [ninja.compile(p, f"{p.parent.name}/{p.stem}.o", machine, f"| {precompiled}") for p in sources]
    libraries = [f"-L{torch / 'lib'}", "-lc10", "-ltorch_cpu", "-lc10_cuda", "-ltorch_cuda", "-ltorch_python"]
    ninja.link(objects, "cuda_double_machine.so", ["-L.", "-l:libcuda_double.so", *libraries])
    ninja.lines[-2] += " | libcuda_double.so"
    (build / "build.ninja").write_text("\n".join(ninja.lines) + "\n")
    info = build / "autoload" / "cuda_double-1.dist-info"
    info.mkdir(parents=True, exist_ok=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: cuda-double\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[torch.backends]\ncuda_double = cuda_double_plugin:load\n")


def build(jobs: int | None = None) -> Path:
    """Build what changed and return the folder.

    Raises:
        MissingError: a header, a package or a compiler is not there, or the compiler refused.
    """
    into = folder()
    into.mkdir(parents=True, exist_ok=True)
    write(into)
    command = ["ninja", "-k0", "-C", str(into), *(["-j", str(jobs)] if jobs else [])]
    try:
        done = subprocess.run(command, capture_output=True, text=True)
    except FileNotFoundError:
        raise MissingError("the CUDA double needs ninja: type `pip install ninja`") from None
    if done.returncode != 0:
        raise MissingError(f"the CUDA double was not built:\n{done.stdout[-6000:]}{done.stderr}")
    return into


if __name__ == "__main__":
    print(build())
