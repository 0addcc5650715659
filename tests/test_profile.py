"""Hardware profiles: each number of the shipped ones has a source and a sane unit; broken files say what is wrong."""

from __future__ import annotations

import dataclasses
import tomllib
from pathlib import Path

import pytest

from pamiq_storm.profile import NUMBERS, Profile, ProfileError, load_profile, profiles

SHIPPED = ("a100-pcie", "gh200", "h100-pcie", "rtx3090", "rtx4090")

# What no device of these years leaves: a number outside was written in a wrong unit.
BOUNDS = {
    "memory_bytes": (8 << 30, 256 << 30),
    "half_flops": (30e12, 3000e12),
    "tf32_flops": (10e12, 1500e12),
    "single_flops": (5e12, 200e12),
    "double_flops": (0.2e12, 100e12),
    "matmul_efficiency": (0.5, 1.0),
    "convolution_efficiency": (0.3, 1.0),
    "attention_efficiency": (0.2, 1.0),
    "attention_backward_efficiency": (0.2, 1.0),
    "memory_bytes_per_s": (300e9, 10e12),
    "memory_efficiency": (0.6, 1.0),
    "kernel_floor_s": (1e-6, 10e-6),
    "d2h_bytes_per_s": (5e9, 500e9),
    "h2d_bytes_per_s": (5e9, 500e9),
    "pageable_bytes_per_s": (1e9, 200e9),
    "copy_latency_s": (1e-6, 50e-6),
    "launch_s": (1e-6, 30e-6),
    "api_s": (0.1e-6, 10e-6),
    "pin_s": (1e-6, 10e-3),
    "pin_bytes_per_s": (0.5e9, 100e9),
    "unpin_s": (1e-6, 50e-3),
    "device_malloc_s": (1e-6, 10e-3),
    "device_free_s": (1e-6, 10e-3),
    "hook_s": (1e-6, 200e-6),
    "host_memory_bytes": (0, 1 << 42),
}


def test_the_shipped_profiles_are_these() -> None:
    assert profiles() == sorted(SHIPPED)


@pytest.mark.parametrize("name", SHIPPED)
def test_every_number_has_a_source_and_a_sane_unit(name: str) -> None:
    profile = load_profile(name)
    assert profile.name == name
    assert profile.description
    assert BOUNDS.keys() == set(NUMBERS) == profile.sources.keys()
    for number, (low, high) in BOUNDS.items():
        assert low <= getattr(profile, number) <= high, number
        assert len(profile.sources[number]) >= 12, number
    assert profile.attention_backward_efficiency <= profile.attention_efficiency
    assert profile.pageable_bytes_per_s < min(profile.d2h_bytes_per_s, profile.h2d_bytes_per_s)


def test_replace_changes_numbers_and_their_sources_only() -> None:
    profile = load_profile("rtx4090")
    changed = profile.replace(hook_s=1e-6, memory_bytes=1 << 30)
    assert (changed.hook_s, changed.memory_bytes) == (1e-6, 1 << 30)
    assert changed.sources["hook_s"] == "set by the caller, in place of 3e-05"
    same = set(NUMBERS) - {"hook_s", "memory_bytes"}
    assert all(getattr(changed, n) == getattr(profile, n) for n in same)
    assert all(changed.sources[n] == profile.sources[n] for n in same)
    assert profile == load_profile("rtx4090")


def test_replace_refuses_what_it_does_not_know() -> None:
    with pytest.raises(ProfileError, match=r"'rtx4090' has no number link_speed; known: memory_bytes, half_flops"):
        load_profile("rtx4090").replace(link_speed=1.0)


@pytest.mark.parametrize("value", [0, -1.0, float("nan"), float("inf"), True, "fast", None])
def test_a_number_that_makes_no_sense_is_refused_by_name(value: object) -> None:
    with pytest.raises(ProfileError, match=r"'rtx4090': d2h_bytes_per_s is"):
        load_profile("rtx4090").replace(d2h_bytes_per_s=value)  # pyright: ignore[reportArgumentType]


def test_bytes_are_whole_and_only_host_memory_may_be_zero() -> None:
    profile = load_profile("rtx4090")
    with pytest.raises(ProfileError, match=r"memory_bytes is 1500000000\.0, not a whole number of bytes"):
        profile.replace(memory_bytes=1.5e9)
    assert profile.replace(host_memory_bytes=0).host_memory_bytes == 0


def test_scaled_changes_the_link_and_the_matrix_products_only() -> None:
    profile = load_profile("h100-pcie")
    scaled = profile.scaled(link=0.8, matmul=1.2)
    by: dict[str, float] = dict.fromkeys(("d2h_bytes_per_s", "h2d_bytes_per_s", "pageable_bytes_per_s"), 0.8)
    by |= dict.fromkeys(("matmul_efficiency", "convolution_efficiency"), 1.2)
    for number in NUMBERS:
        assert getattr(scaled, number) == pytest.approx(getattr(profile, number) * by.get(number, 1.0)), number
    assert profile.scaled() == profile
    with pytest.raises(ProfileError, match="d2h_bytes_per_s is -5"):
        profile.scaled(link=-1)


def test_it_is_frozen_and_can_be_a_key() -> None:
    profile = load_profile("gh200")
    with pytest.raises(dataclasses.FrozenInstanceError):
        profile.launch_s = 0.0  # pyright: ignore[reportAttributeAccessIssue]
    with pytest.raises(TypeError):
        profile.sources["launch_s"] = "none"  # pyright: ignore[reportIndexIssue]
    assert {profile: 1}[load_profile("gh200")] == 1


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    profile = load_profile("rtx3090").replace(d2h_bytes_per_s=1 / 3 * 1e11)
    tricky = dataclasses.replace(profile, description='a "quoted"\\name, two\nlines, é')
    tricky.write(tmp_path / "own.toml")
    assert load_profile(tmp_path / "own.toml") == tricky
    assert load_profile(str(tmp_path / "own.toml")) == tricky


def test_an_unknown_name_lists_those_there_are(tmp_path: Path) -> None:
    with pytest.raises(ProfileError, match=f"no profile 'rtx5090'; there are {', '.join(SHIPPED)}"):
        load_profile("rtx5090")
    with pytest.raises(FileNotFoundError):
        load_profile(tmp_path / "none.toml")


def _without(text: str, number: str) -> str:
    head, _, tail = text.partition(f"\n[numbers.{number}]\n")
    return head + tail.partition("\n\n")[2]


BROKEN = {
    "lacks the number of api_s, hook_s": lambda t: _without(_without(t, "api_s"), "hook_s"),
    "has an unknown number: warp_s": lambda t: t + '\n[numbers.warp_s]\nvalue = 1.0\nsource = "nowhere"\n',
    "launch_s is 'soon', not a number": lambda t: t.replace("value = 5e-06", 'value = "soon"'),
    "launch_s has no source": lambda t: _without(t, "launch_s") + '\n[numbers.launch_s]\nvalue = 5e-06\nsource = " "\n',
    "launch_s needs a value and a source": lambda t: _without(t, "launch_s") + "\n[numbers.launch_s]\nvalue = 5e-06\n",
    "unknown speed beside name": lambda t: "speed = 1\n" + t,
    "description is missing": lambda t: t.replace("description", "# "),
    r"the tables \[numbers": lambda t: t.partition("\n[")[0],
    "Expected '=' after a key": lambda t: t + "\nnot toml",
}


@pytest.mark.parametrize("message", BROKEN)
def test_a_broken_file_is_one_clear_message_with_its_path(message: str, tmp_path: Path) -> None:
    good = tmp_path / "good.toml"
    load_profile("rtx4090").write(good)
    broken = tmp_path / "broken.toml"
    broken.write_text(BROKEN[message](good.read_text()))
    with pytest.raises(ProfileError, match=message) as caught:
        load_profile(broken)
    assert str(caught.value).startswith(f"{broken}: ")
    assert "\n" not in str(caught.value)


def test_the_files_are_shipped() -> None:
    project = Path(__file__).parents[1] / "pyproject.toml"
    patterns = tomllib.loads(project.read_text())["tool"]["setuptools"]["package-data"]["*"]
    assert "profiles/*.toml" in patterns
    assert all(field.name in NUMBERS for field in dataclasses.fields(Profile)[2:-1])
