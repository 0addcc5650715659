"""Imports the installed package, GPU or not, and says what of it was built; fails if the CUDA parts are missing."""

import importlib.util
import sys
from pathlib import Path

import torch

import pamiq_storm


def main() -> str | None:
    print(f"Python {sys.version.split()[0]}, torch {torch.__version__}, CUDA {torch.version.cuda},", end=" ")
    print("a GPU" if torch.cuda.is_available() else "no GPU")
    print(f"pamiq_storm from {Path(pamiq_storm.__file__ or '').parent}")
    links_cuda = False
    for name in ("pamiq_storm._C", "pamiq_storm._sim"):
        spec = importlib.util.find_spec(name)
        if spec is None or spec.origin is None:
            return f"{name} was not built"
        importlib.import_module(name) if name.endswith("_C") else None  # loading _sim renames a device: not here
        links = b"libc10_cuda.so" in Path(spec.origin).read_bytes()
        links_cuda |= links
        print(f"{name}: {Path(spec.origin).stat().st_size >> 10} KiB, {'with' if links else 'without'} CUDA")
    return None if links_cuda else "no extension was built with CUDA"


if __name__ == "__main__":
    sys.exit(main())
