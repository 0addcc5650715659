"""Loads the compiled engine, or says why it cannot be loaded."""

from __future__ import annotations

import torch  # its libraries must be there before ours

try:
    from . import _C  # noqa: F401
except ImportError as error:
    raise ImportError(
        f"the compiled part of pamiq_storm does not load with torch {torch.__version__} ({error}). It fits only the "
        "torch and the Python it was compiled with; compile it again: "
        "`pip install --no-build-isolation --no-deps --force-reinstall .` in the clone of pamiq_storm"
    ) from error
