"""What setup.py must know before it compiles: is there a torch, is there a CUDA toolkit, how many compilers fit.

Run as a script it prints the choice; `--jobs` prints how many compilers fit. Every refusal is one sentence that
says what to type.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

TORCH_MINIMUM = (2, 13)
INSTALL = "type `pip install torch==2.13.0 setuptools ninja` and then `pip install --no-build-isolation .`"
BYTES_PER_COMPILER = 2 << 30  # torch/extension.h takes 1.6 GB
MOST_JOINED = 8  # C++ sources compiled as one
CUDA_ARCHITECTURES = "8.0;8.6;8.9;9.0;10.0;12.0+PTX"
CUDA_HEADERS = ["cuda_runtime_api.h", "crt/host_defines.h", "cublas_v2.h", "cusparse.h", "cusolverDn.h"]


@dataclass(frozen=True)
class CudaPlan:
    """Whether csrc/cuda is compiled, why, and with what."""

    enabled: bool
    reason: str
    torch: str = ""
    home: str = ""
    include_dirs: list[str] = field(default_factory=list[str])
    library_dirs: list[str] = field(default_factory=list[str])
    link_args: list[str] = field(default_factory=list[str])


@dataclass(frozen=True)
class Torch:
    """What of the installed torch decides about the build."""

    version: str
    cuda: str | None  # such as "13.0"; None for a build without CUDA


@dataclass(frozen=True)
class Toolkit:
    home: Path
    version: str  # such as "13.0"


def require_torch() -> Torch:
    warnings.filterwarnings("ignore", message="Failed to initialize NumPy")
    try:
        import torch
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        raise SystemExit(
            f"pamiq_storm compiles against the torch you have, and there is none here: {INSTALL}."
        ) from None
    if tuple(int(part) for part in torch.__version__.split(".")[:2]) < TORCH_MINIMUM:
        raise SystemExit(f"pamiq_storm needs torch 2.13 or newer, and this one is {torch.__version__}: {INSTALL}.")
    return Torch(torch.__version__, torch.version.cuda)


def toolkit_of(nvcc: str | Path) -> Toolkit | None:
    """The toolkit behind an nvcc, which may be a wrapper script or a link in another folder: ask nvcc itself."""

    def ask(*args: str) -> str:
        done = subprocess.run([str(nvcc), *args], capture_output=True, text=True, timeout=60)
        return done.stdout + done.stderr

    try:
        shown = ask("--version")
        dry_run = ask("--dryrun", "-x", "cu", os.devnull)
    except (OSError, subprocess.TimeoutExpired):
        return None
    version = re.search(r"release (\d+\.\d+)", shown)
    top = re.search(r"^#\$ TOP=(.+)$", dry_run, re.MULTILINE)
    return Toolkit(Path(top[1].strip()).resolve(), version[1]) if version and top else None


def pip_cuda_folder(cuda: str) -> Path:
    """Where pip's packages put the parts of this CUDA: torch's own headers and libraries, perhaps an nvcc."""
    return Path(sysconfig.get_paths()["purelib"], "nvidia", f"cu{cuda.split('.')[0]}")


def find_toolkits(cuda: str) -> list[Toolkit]:
    """All toolkits in sight; the one the user named first, then PATH, then pip's, then the customary place."""
    named = [Path(os.environ[name], "bin", "nvcc") for name in ("CUDA_HOME", "CUDA_PATH") if os.environ.get(name)]
    on_path = [Path(nvcc)] if (nvcc := shutil.which("nvcc")) else []
    usual = [pip_cuda_folder(cuda) / "bin" / "nvcc", Path("/usr/local/cuda/bin/nvcc")]
    found = (toolkit_of(nvcc) for nvcc in [*named, *on_path, *usual] if nvcc.exists())
    return list({t.home: t for t in found if t}.values())


def plan_cuda(setting: str, torch: Torch, needs_nvcc: bool) -> CudaPlan:
    """Decides. With "1" a missing piece ends the build, with "auto" it is the reason given for going without."""
    if setting not in ("auto", "0", "1"):
        raise SystemExit(f"STORM_CUDA must be auto, 0 or 1, and it is {setting!r}.")
    if setting == "0":
        return CudaPlan(False, "STORM_CUDA=0", torch.version)
    chosen = _plan_with_cuda(torch, needs_nvcc)
    if setting == "1" and not chosen.enabled:
        raise SystemExit(f"STORM_CUDA=1 asks for the CUDA parts, but {chosen.reason}.")
    return chosen


def _plan_with_cuda(torch: Torch, needs_nvcc: bool) -> CudaPlan:
    def without(reason: str) -> CudaPlan:
        return CudaPlan(False, reason, torch.version)

    if torch.cuda is None:
        return without(f"torch {torch.version} is a build without CUDA: install a CUDA build of torch")
    major = torch.cuda.split(".")[0]
    cure = f"type `pip install 'cuda-toolkit[nvcc,cccl]=={torch.cuda}.*'` or set CUDA_HOME to a CUDA {major} toolkit"
    toolkits = find_toolkits(torch.cuda)
    toolkit = next((t for t in toolkits if t.version.split(".")[0] == major), None)
    if needs_nvcc and toolkit is None:
        seen = ", ".join(f"CUDA {t.version} in {t.home}" for t in toolkits) or "no nvcc"
        return without(f"torch {torch.version} needs the nvcc of CUDA {major} and there is {seen}: {cure}")
    pip_folder = pip_cuda_folder(torch.cuda)
    folders = [*([toolkit.home] if toolkit else []), pip_folder]
    includes = [str(f / "include") for f in folders if (f / "include").is_dir()]
    if missing := [h for h in CUDA_HEADERS if not any(Path(i, h).exists() for i in includes)]:
        return without(f"the CUDA {major} header {missing[0]} is not to be found: {cure}")
    libraries = [str(f / d) for f in reversed(folders) for d in ("lib", "lib64") if (f / d).is_dir()]
    # pip's libraries come without the unversioned link that -lcudart looks for.
    versioned = any(Path(d, f"libcudart.so.{major}").exists() for d in libraries)
    cudart = f"-l:libcudart.so.{major}" if versioned else "-lcudart"
    tool = f"nvcc {toolkit.version} in {toolkit.home}" if toolkit else "no nvcc, which no source needs"
    home = str(toolkit.home) if toolkit else ""
    return CudaPlan(True, f"torch {torch.version}, {tool}", torch.version, home, includes, libraries, [cudart])


def free_memory() -> int:
    """Bytes that compilers may take: what the machine has free, and no more than this container is given."""
    room = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    for path, pattern in (("/proc/meminfo", r"MemAvailable:\s+(\d+) kB"), ("/sys/fs/cgroup/memory.max", r"^(\d+)$")):
        if (found := _number_in(path, pattern)) is not None:
            room = min(room, found * (1024 if "kB" in pattern else 1))
    return room


def _number_in(path: str, pattern: str) -> int | None:
    try:
        found = re.search(pattern, Path(path).read_text(), re.MULTILINE)
    except OSError:
        return None
    return int(found[1]) if found else None


def compilers_that_fit() -> int:
    """One per core, and no more than memory holds."""
    return max(1, min(os.cpu_count() or 1, free_memory() // BYTES_PER_COMPILER))


def memory_advice(jobs: int, free: int) -> str | None:
    """What to say before `jobs` compilers start where only `free` bytes are left for them."""
    if jobs * BYTES_PER_COMPILER <= free:
        return None
    fit = free // BYTES_PER_COMPILER
    cure = f"set MAX_JOBS={fit}" if fit else "close other programs, or set STORM_UNITY=0, which takes less for longer"
    return (
        f"pamiq_storm: {jobs} compiler{'s' * (jobs > 1)} may need {jobs * BYTES_PER_COMPILER / 2**30:.0f} GiB "
        f"and {free / 2**30:.1f} GiB are free: {cure}."
    )


def killed_for_memory() -> int:
    """How many processes the kernel has ended for want of memory, here or in this container."""
    counts = (("/sys/fs/cgroup/memory.events", r"^oom_kill (\d+)$"), ("/proc/vmstat", r"^oom_kill (\d+)$"))
    return max(_number_in(path, pattern) or 0 for path, pattern in counts)


@contextlib.contextmanager
def out_of_memory_in_one_sentence(jobs: int) -> Iterator[None]:
    """A compiler that the kernel ended leaves only "Killed" behind: this says what that means."""
    before = killed_for_memory()
    try:
        yield
    except Exception:
        if killed_for_memory() == before:
            raise
        raise SystemExit(
            f"pamiq_storm: the kernel ended a compiler because memory ran out with {jobs} side by side: "
            f"type the same command with MAX_JOBS={max(1, jobs // 2)} before it"
            + (" and STORM_UNITY=0." if jobs == 1 else ".")
        ) from None


def objects_folder(cuda: CudaPlan) -> str:
    """Objects of another Python, torch or CUDA choice are never mixed."""
    return f"objects-{sys.implementation.cache_tag}-torch{cuda.torch}-{'cuda' if cuda.enabled else 'cpu'}"


def join_sources(root: Path, sources: list[str], into: Path, jobs: int) -> list[Path]:
    """Writes files that each include some C++ sources of one folder of csrc, and gives what is to be compiled then.

    At least twice as many as compilers run side by side, so that none of these waits long for the last one.
    """
    folders: dict[Path, list[Path]] = {}
    compiled = [root / source for source in sources if not source.endswith(".cpp")]
    for source in (root / source for source in sources if source.endswith(".cpp")):
        folders.setdefault(source.parent, []).append(source)
    together = max(1, min(MOST_JOINED, len(sources) // (2 * jobs)))
    into.mkdir(parents=True, exist_ok=True)
    for folder, files in folders.items():
        name = "-".join(folder.relative_to(root / "csrc").parts)
        for first in range(0, len(files), together):
            joined = into / f"{name}-{first // together}.cpp"
            text = "".join(f'#include "{source.relative_to(root / "csrc")}"\n' for source in files[first:][:together])
            if not joined.exists() or joined.read_text() != text:
                joined.write_text(text)
            compiled.append(joined)
    return compiled


def plan(root: Path) -> CudaPlan:
    """The whole decision, printed in one line, and the environment that torch's build code reads."""
    torch = require_torch()
    needs_nvcc = any((root / "csrc" / "cuda").glob("*.cu"))
    cuda = plan_cuda(os.environ.get("STORM_CUDA", "auto"), torch, needs_nvcc)
    print(f"pamiq_storm: building {'with' if cuda.enabled else 'without'} CUDA: {cuda.reason}", file=sys.stderr)
    jobs = int(os.environ.setdefault("MAX_JOBS", str(compilers_that_fit())))
    if advice := memory_advice(jobs, free_memory()):
        print(advice, file=sys.stderr)
    if cuda.enabled:
        os.environ.setdefault("TORCH_CUDA_ARCH_LIST", CUDA_ARCHITECTURES)
        os.environ["CUDA_HOME"] = cuda.home  # read once, when torch.utils.cpp_extension is imported
    return cuda


if __name__ == "__main__":
    if sys.argv[1:] == ["--jobs"]:
        print(compilers_that_fit())
        sys.exit()
    plan(Path(__file__).resolve().parent.parent)
