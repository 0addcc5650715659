"""Writes pamiq_storm/*.pyi from the built extensions; with --check, says whether they are what it would write."""

import importlib.util
import subprocess
import sys
import tempfile
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent.parent / "pamiq_storm"


# torch first, as its libraries must be loaded before ours; a process of its own, as _sim renames a device for good.
GENERATE = "import torch, pybind11_stubgen; pybind11_stubgen.main()"


def generated(name: str, folder: Path) -> str:
    command = [sys.executable, "-c", GENERATE, f"pamiq_storm.{name}", "-o", str(folder), "--ignore-all-errors"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=PACKAGE.parent)
    if done.returncode:
        raise SystemExit(f"pybind11-stubgen failed on pamiq_storm.{name}:\n{done.stderr}")
    return (folder / "pamiq_storm" / f"{name}.pyi").read_text()


def main(check: bool) -> str | None:
    stale: list[str] = []
    for name in ("_C", "_sim"):
        if importlib.util.find_spec(f"pamiq_storm.{name}") is None:
            continue
        with tempfile.TemporaryDirectory() as folder:
            text = generated(name, Path(folder))
        stub = PACKAGE / f"{name}.pyi"
        if not stub.exists() or stub.read_text() != text:
            stale.append(stub.name)
            if not check:
                stub.write_text(text)
    if check and stale:
        return f"{', '.join(stale)} in pamiq_storm/ differ from the built extensions: type `make stubs`."
    return None


if __name__ == "__main__":
    sys.exit(main("--check" in sys.argv[1:]))
