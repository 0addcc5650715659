"""Builds pamiq_storm._C (the engine) and pamiq_storm._sim (the simulated accelerator).

Neither lists its sources: the folder is the list. STORM_CUDA=auto|0|1 decides about csrc/cuda. Several sources are
compiled as one, since torch's headers take longer than they do; STORM_UNITY=0 compiles each alone.
"""

import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent
sys.path.insert(0, str(ROOT / "tools"))

import build_support  # noqa: E402  (lives in tools/, put on the path just above)

CUDA = build_support.plan(ROOT)  # ends the build in one sentence where it cannot succeed

from setuptools import Extension, setup  # noqa: E402  (only once torch is known to be there)
from torch.utils.cpp_extension import BuildExtension, CppExtension  # noqa: E402

ENGINE_FOLDERS = ["base", "host", "transfer", "engine", "autograd", "nn", "publish", "python"]
SIMULATOR_FOLDERS = ["sim", "sim/ops", "sim/timing", "sim/races"]
CXX_FLAGS = ["-std=c++20", "-O2", "-g1", "-Wall", "-Wextra", "-fvisibility=hidden"]
NVCC_FLAGS = ["-std=c++20", "-O2", "-lineinfo", "-Xcompiler=-Wall,-fvisibility=hidden"]


def sources(folders: list[str], suffix: str = "cpp") -> list[str]:
    found = (p for f in folders for p in (ROOT / "csrc" / f).glob(f"*.{suffix}"))
    return sorted(str(p.relative_to(ROOT)) for p in found)


def extension(name: str, files: list[str]) -> Extension:
    """An extension of ours: the headers of torch (and CUDA) are system headers, so only our own code can warn."""
    ext = CppExtension(name, files)
    headers = [*ext.include_dirs, *CUDA.include_dirs]
    ext.include_dirs = [str(ROOT / "csrc")]  # absolute: ninja runs elsewhere
    ext.extra_compile_args = {
        "cxx": CXX_FLAGS + [f"-isystem{path}" for path in headers],
        "nvcc": NVCC_FLAGS + [f"-isystem={path}" for path in headers],
    }
    ext.depends = [str(p.relative_to(ROOT)) for p in (ROOT / "csrc").rglob("*.[hi]*")]
    return ext


def engine() -> list[Extension]:
    if not sources(["python"]):
        return []  # nothing to import yet
    if not CUDA.enabled:
        return [extension("pamiq_storm._C", sources(ENGINE_FOLDERS))]
    files = sources(ENGINE_FOLDERS) + sources(["cuda"]) + sources(["cuda"], "cu")
    ext = extension("pamiq_storm._C", files)
    ext.libraries += ["c10_cuda", "torch_cuda"]
    ext.library_dirs += CUDA.library_dirs
    ext.extra_link_args += CUDA.link_args
    return [ext]


def simulator() -> list[Extension]:
    files = sources(SIMULATOR_FOLDERS)
    return [extension("pamiq_storm._sim", files)] if files else []


class Build(BuildExtension):
    """Keeps the objects of every kind of install (editable, wheel, in place) in one folder per torch and CUDA choice.

    pip's editable installs would otherwise compile everything again each time, in a temporary folder.
    """

    def build_extension(self, ext: Extension) -> None:
        folder = ROOT / "build" / build_support.objects_folder(CUDA) / ext.name
        self.build_temp = str(folder)
        jobs = int(os.environ["MAX_JOBS"])
        if os.environ.get("STORM_UNITY", "1") != "0":
            joined = build_support.join_sources(ROOT, ext.sources, folder / "joined", jobs)
            ext.sources = [str(source) for source in joined]
            # gcc holds the anonymous types of a joined source for those of a header.
            ext.extra_compile_args["cxx"].append("-Wno-subobject-linkage")
        with build_support.out_of_memory_in_one_sentence(jobs):
            super().build_extension(ext)


setup(ext_modules=engine() + simulator(), cmdclass={"build_ext": Build})
