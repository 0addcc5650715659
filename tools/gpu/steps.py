"""What `make gpu` runs, in this order: what says most comes first, since time may run out.

The dry run has the same steps in small sizes on the double of CUDA's runtime. What the double cannot do is left out by
name.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path

from tools.gpu import sanitizer
from tools.gpu.machine import Machine
from tools.gpu.runner import Step

WORKLOADS = {"W1": 75, "W2:8192": 85, "W4": 70, "W3": 65, "unet": 70, "W2:2048": 70, "W2:32768": 240}
"""What `bench offload` compares, and the seconds that it takes with all arms but the compiled ones."""
EAGER = ("checkpoint", "save_on_cpu", "torchtune", "trl", "storm")
COMPILED = ("compile@1", "compile@0.7", "compile@0.5", "compile@0.3", "compile@0.1")
COMPILING_S = 150
FIRST = 3
"""Workloads measured before the predictions and the rest."""

NO_GPU = {"CUDA_VISIBLE_DEVICES": ""}
ON_DOUBLE = "the double has no GPU"
MEMCHECK_S, RACECHECK_S = 120, 75
"""No further test is begun then: under these tools each takes many times its time."""


@dataclass(frozen=True)
class Place:
    """Where a run happens."""

    root: Path
    folder: Path
    """Logs, results, state; and `site`, the packages that were missing."""
    dry: bool
    wheels: Path | None

    @property
    def site(self) -> Path:
        return self.folder / "site"

    @property
    def prefix(self) -> tuple[str, ...]:
        """What comes before a command that is to see a device."""
        return (sys.executable, "-m", "tests.cuda_double") if self.dry else ()

    @property
    def env(self) -> dict[str, str]:
        """Of every step."""
        path = [str(self.site), str(self.root), *filter(None, [os.environ.get("PYTHONPATH")])]
        programs = [str(self.site / "bin"), str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]
        found = {
            "PYTHONPATH": os.pathsep.join(path),
            "PATH": os.pathsep.join(programs),  # ninja may be in either, and this Python may not have been activated
            "PYTHONUNBUFFERED": "1",
        }
        toolkits = sorted((self.site / "nvidia").glob("cu*/bin/nvcc"))
        if toolkits and not os.environ.get("CUDA_HOME"):
            found["CUDA_HOME"] = str(toolkits[-1].parents[1])
        return found


class _Maker:
    """Makes steps that share a place and a machine."""

    def __init__(self, place: Place, machine: Machine) -> None:
        self._place, self._machine = place, machine
        self._dry, self._folder = place.dry, place.folder

    def all(self) -> list[Step]:
        workloads = [*self._offload()]
        first = [self._packages(), self._build(), self._suite(), *self._sanitizers(), self._calibrate(), self._demo()]
        quick = [self._hooks(), self._kernels(), *workloads[:FIRST], self._predict(), self._publish()]
        return [*first, *quick, self._simulator(), *workloads[FIRST:], *self._compiled()]

    def _step(
        self,
        name: str,
        command: tuple[str, ...],
        expected_s: float,
        limit_s: float,
        needs: tuple[str, ...] = ("build",),
        env: dict[str, str] | None = None,
        writes: tuple[str, ...] = (),
        device: bool = True,
    ) -> Step:
        before = self._place.prefix if device else ()
        return Step(
            name,
            (*before, sys.executable, *command),
            20 if self._dry else expected_s,
            limit_s,
            needs,
            {**self._place.env, **(env or {})},
            tuple(self._folder / path for path in writes),
        )

    def _module(self, command: str, name: str, expected_s: float, limit_s: float, *options: str, **others: str) -> Step:
        """A command of the package that writes JSON and a figure of that name."""
        results = f"{name}.json", f"{name}.png"
        paths = "--json", str(self._folder / results[0]), "--plot", str(self._folder / results[1])
        quick = ("--quick",) if self._dry else ()
        words = ("-m", "pamiq_storm", *command.split(), *quick, *paths, *options)
        return self._step(others.get("says", name), words, expected_s, limit_s, writes=results)

    def _packages(self) -> Step:
        how = ("--only-look",) if self._dry else ("--into", str(self._place.site))
        wheels = ("--wheels", str(self._place.wheels)) if self._place.wheels else ()
        words = ("-m", "tools.gpu.packages", *how, *wheels)
        return self._step("packages", words, 20, 300, needs=(), device=False)

    def _build(self) -> Step:
        words = ("setup.py", "build_ext", "--inplace")
        env = {"STORM_CUDA": "1"}
        return self._step("build", words, 90, 900, needs=("packages",), env=env, device=False)

    def _pytest(self, xml: str, *options: str) -> tuple[str, ...]:
        return ("-m", "pytest", "-q", "-p", "no:cacheprovider", f"--junitxml={self._folder / xml}", *options)

    def _workers(self) -> tuple[str, ...]:
        count = 2 if self._dry else max(2, min(8, self._machine.cores // 2))
        return ("-n", str(count), "--dist", "worksteal")

    def _suite(self) -> Step:
        tests = ("tests/engine/test_activation.py", "tests/engine/test_errors.py") if self._dry else ("tests",)
        words = self._pytest("suite.xml", *self._workers(), *tests)
        return self._step("suite", words, 150, 600, env={"STORM_REQUIRE_CUDA": "1"}, writes=("suite.xml",))

    def _simulator(self) -> Step:
        """What tests the simulator itself, or with its means: in processes that see no GPU."""
        tests = ("tests/sim/test_streams.py",) if self._dry else ("tests",)
        words = self._pytest("simulator.xml", *self._workers(), *tests)
        env = {"STORM_REQUIRE_CUDA": "simulator", **NO_GPU}
        return self._step("suite on the simulator", words, 120, 480, env=env, writes=("simulator.xml",), device=False)

    def _sanitizers(self) -> list[Step]:
        return [self._sanitizer("memcheck", MEMCHECK_S), self._sanitizer("racecheck", RACECHECK_S)]

    def _sanitizer(self, tool: str, bound_s: int) -> Step:
        if self._dry:
            return Step(f"compute-sanitizer {tool}", (), 0, 0, left_out=ON_DOUBLE)
        program = sanitizer.find(self._machine.cuda, [self._place.site])
        env = {"STORM_REQUIRE_CUDA": "1", "STORM_SUITE_SECONDS": str(bound_s)}
        words = self._pytest(f"{tool}.xml", "--timeout", "0", "tests/engine")
        step = self._step(f"compute-sanitizer {tool}", words, bound_s + 30, 2 * bound_s + 60, env=env)
        options = ("--tool", tool, "--target-processes", "all", "--report-api-errors", "no", "--error-exitcode", "9")
        return Step(
            step.name,
            (str(program), *options, *step.command),
            step.expected_s,
            step.limit_s,
            step.needs,
            step.env,
            (self._folder / f"{tool}.xml",),
            missing="" if program else sanitizer.cure(self._machine.cuda),
        )

    def _calibrate(self) -> Step:
        words = ("-m", "pamiq_storm", "calibrate", "--device", "cuda", "--out", str(self._folder / "profile.toml"))
        return self._step("calibrate", words, 30, 180, writes=("profile.toml",))

    def _demo(self) -> Step:
        quick = ("--quick",) if self._dry else ()
        words = ("-m", "pamiq_storm", "demo", "--device", "cuda", *quick, "--out", str(self._folder / "demo"))
        return self._step("demo", words, 70, 300, writes=("demo/results.json",))

    def _hooks(self) -> Step:
        return self._module("bench hooks", "hooks", 60, 240, "--device", "cuda")

    def _kernels(self) -> Step:
        quick = ("--quick",) if self._dry else ()
        files = str(self._folder / "profile.toml"), str(self._folder / "kernels.json")
        words = ("-m", "tools.gpu.kernels", *files, *quick)
        return self._step("kernels", words, 20, 120, ("build", "calibrate"), writes=("kernels.json",))

    def _publish(self) -> Step:
        quick = ("--quick",) if self._dry else ()
        words = ("benchmarks/publish.py", "--device", "cuda", "--device-only", *quick, "--out", str(self._folder))
        return self._step("publish", words, 100, 300, writes=("publish_cuda.json", "publish_cuda.png"))

    def _offload(self) -> list[Step]:
        names = ["W1"] if self._dry else list(WORKLOADS)
        return [self._workload(name, EAGER, "", WORKLOADS[name]) for name in names]

    def _compiled(self) -> list[Step]:
        if self._dry:
            return [Step("offload, compiled", (), 0, 0, left_out="the double runs no code that torch.compile makes")]
        return [self._workload(name, COMPILED, ", compiled", COMPILING_S) for name in WORKLOADS]

    def _workload(self, name: str, arms: tuple[str, ...], kind: str, expected_s: float) -> Step:
        rounds = () if self._dry else ("--rounds", "1")
        options = ("--device", "cuda", *rounds, "--workload", name, "--arms", *arms)
        file = f"offload_{name.replace(':', '_')}{'_compiled' if kind else ''}"
        says = f"offload {name}{kind}"
        return self._module("bench offload", file, expected_s, 3 * expected_s + 60, *options, says=says)

    def _predict(self) -> Step:
        words = ["-m", "pamiq_storm", "bench", "offload", "--device", "sim"]
        words += ["--profile", str(self._folder / "profile.toml"), "--json", str(self._folder / "predicted.json")]
        if self._dry:
            words += ["--quick", "--workload", "W1", "--arms", *EAGER]
        needs = ("build", "calibrate")
        return self._step("predict", tuple(words), 120, 480, needs, NO_GPU, ("predicted.json",), device=False)


def steps(place: Place, machine: Machine) -> list[Step]:
    """All of them."""
    return _Maker(place, machine).all()
