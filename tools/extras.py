"""Prints the requirements of the named extras of pyproject.toml, one a line, for `pip install -r`."""

import sys
import tomllib
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent / "pyproject.toml"

if __name__ == "__main__":
    extras = tomllib.loads(PROJECT.read_text())["project"]["optional-dependencies"]
    print("\n".join(requirement for name in sys.argv[1:] for requirement in extras[name]))
