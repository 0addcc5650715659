"""Runs `bench offload` again and again in fresh processes and says whether every run wrote the same.

Options beyond `--times` go to the benchmark: `--workload W1 --profile rtx4090` makes it short.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

CHANGES = ("date", "commit")
"""What may differ from run to run."""


def run(arguments: list[str]) -> int:
    """Returns 1 if two runs differ."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=10)
    options, others = parser.parse_known_args(arguments)
    first = _once(others)
    for number in range(2, options.times + 1):
        if _once(others) != first:
            print(f"run {number} differs from the first")
            return 1
        print(f"run {number}: the same", flush=True)
    print(f"{options.times} runs, {len(first['rows'])} rows each: all the same")
    return 0


def _once(others: list[str]) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "r.json"
        command = [sys.executable, "-m", "pamiq_storm", "bench", "offload", "--device", "sim", "--json", str(path)]
        subprocess.run([*command, *others], check=True, stdout=subprocess.DEVNULL)
        found = json.loads(path.read_text())
    return {key: value for key, value in found.items() if key not in CHANGES}


if __name__ == "__main__":
    sys.exit(run(sys.argv[1:]))
