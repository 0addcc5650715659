"""`calibrate` as a user starts it, on the simulator: its file loads, and says what the simulator was set to."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from pamiq_storm.profile import NUMBERS, Profile, load_profile


def calibrate(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pamiq_storm", "calibrate", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=100)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[subprocess.CompletedProcess[str], Profile]:
    path = tmp_path_factory.mktemp("calibrate") / "own-device.toml"
    done = calibrate("--device", "sim", "--out", str(path))
    assert done.returncode == 0, done.stderr
    return done, load_profile(path)


def test_it_writes_a_profile_that_loads_and_tells_every_number(
    run: tuple[subprocess.CompletedProcess[str], Profile],
) -> None:
    done, profile = run
    assert profile.name == "own-device"
    told = {line.split()[0] for line in done.stdout.splitlines() if line}
    assert told >= set(NUMBERS)
    assert done.stderr == ""


def test_each_source_says_what_was_measured_where(
    run: tuple[subprocess.CompletedProcess[str], Profile],
) -> None:
    _, profile = run
    for number in NUMBERS:
        start = "assumed: " if number == "host_memory_bytes" else "measured on simulated, one CPU core, torch "
        assert profile.sources[number].startswith(start), number
        assert number == "host_memory_bytes" or " by calibrate on 20" in profile.sources[number]


def test_it_finds_the_rate_the_link_was_set_to(run: tuple[subprocess.CompletedProcess[str], Profile]) -> None:
    _, profile = run
    for rate in (profile.d2h_bytes_per_s, profile.h2d_bytes_per_s, profile.pageable_bytes_per_s):
        # How long a copy takes depends on what else this computer does; one that starts late may be timed short.
        assert 2e9 / 10 < rate < 2e9 * 2


def test_a_file_of_another_kind_is_refused_before_anything_is_measured(tmp_path: Path) -> None:
    done = calibrate("--device", "sim", "--out", str(tmp_path / "profile.json"))
    assert done.returncode == 1
    assert done.stderr.strip().endswith("the name of a profile's file ends in .toml")
    assert done.stdout == ""


ROUND_TRIP = """
import sys, torch
from pathlib import Path
from pamiq_storm import sim
sim.enable(memory="ghost", clock="virtual", profile=sys.argv[1])
from pamiq_storm.calibrate import calibrate
calibrate(torch.device("sim", 0), sys.argv[1], "the virtual clock").write(Path(sys.argv[2]))
"""


@pytest.mark.parametrize("name", ["rtx4090", "h100-pcie", "gh200"])
def test_under_the_virtual_clock_it_gives_back_the_profile(name: str, tmp_path: Path) -> None:
    """A test of both: what the clock charges is what the profile says, and calibrate sees what is charged."""
    command = [sys.executable, "-c", ROUND_TRIP, name, str(tmp_path / "found.toml")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    found, true = load_profile(tmp_path / "found.toml"), load_profile(name)
    for peak in ("half_flops", "tf32_flops", "single_flops", "double_flops"):
        assert getattr(found, peak) == pytest.approx(getattr(true, peak) * true.matmul_efficiency, rel=0.02), peak
    for kind in ("convolution", "attention", "attention_backward"):
        reached = getattr(found, f"{kind}_efficiency") * found.half_flops
        assert reached == pytest.approx(getattr(true, f"{kind}_efficiency") * true.half_flops, rel=0.02), kind
    reached = true.memory_bytes_per_s * true.memory_efficiency
    assert found.memory_bytes_per_s * found.memory_efficiency == pytest.approx(reached, rel=0.02)
    assert found.memory_bytes == true.memory_bytes
    rates = ("d2h_bytes_per_s", "h2d_bytes_per_s", "pageable_bytes_per_s", "pin_bytes_per_s")
    times = ("kernel_floor_s", "copy_latency_s", "launch_s", "api_s", "pin_s", "unpin_s")
    for number in (*rates, *times, "device_malloc_s", "device_free_s"):
        assert getattr(found, number) == pytest.approx(getattr(true, number), rel=0.02), number
