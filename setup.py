"""Builds pamiq_storm._C (the engine) and pamiq_storm._sim (the simulated accelerator)."""

from pathlib import Path

from setuptools import setup
from torch.utils.cpp_extension import BuildExtension, CppExtension

ENGINE_FOLDERS = ["base", "host", "transfer", "engine", "autograd", "nn", "python"]
FLAGS = ["-std=c++20", "-O2", "-g1", "-Wall", "-Wextra", "-Wno-unused-parameter"]


def sources(folders: list[str]) -> list[str]:
    return sorted(str(p) for f in folders for p in Path("csrc", f).glob("*.cpp"))


setup(
    ext_modules=[
        CppExtension("pamiq_storm._C", sources(ENGINE_FOLDERS), include_dirs=[str(Path("csrc").resolve())], extra_compile_args=FLAGS),
        CppExtension("pamiq_storm._sim", sources(["sim"]), include_dirs=[str(Path("csrc").resolve())], extra_compile_args=FLAGS),
    ],
    cmdclass={"build_ext": BuildExtension},
)
