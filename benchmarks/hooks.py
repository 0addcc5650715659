"""Runs `bench hooks` and keeps its results beside this file."""

import sys
from pathlib import Path

from pamiq_storm.__main__ import main

RESULTS = Path(__file__).parent / "results"

if __name__ == "__main__":
    paths = ["--json", str(RESULTS / "hooks.json"), "--plot", str(RESULTS / "hooks.png")]
    sys.exit(main(["bench", "hooks", *paths, *sys.argv[1:]]))
