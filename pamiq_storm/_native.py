"""Loads the compiled engine, or says why it cannot be loaded."""

from __future__ import annotations

from pathlib import Path

import torch  # its libraries must be there before ours

try:
    from . import _C  # noqa: F401
except ImportError as error:
    here = Path(__file__).parent
    if any(here.glob("_C.*.so")):
        raise ImportError(
            f"the compiled part of pamiq_storm does not load with torch {torch.__version__} ({error}). It fits only "
            "the torch and the Python it was compiled with; compile it again: "
            "`pip install --no-build-isolation --no-deps --force-reinstall .` in the clone of pamiq_storm"
        ) from error
    raise ImportError(
        f"the sources of pamiq_storm in {here} are not compiled: type `pip install --no-build-isolation -e .` "
        f"in {here.parent}, or, if pamiq_storm is installed elsewhere, leave that folder"
    ) from None
