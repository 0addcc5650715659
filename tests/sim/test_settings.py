"""Settings: sizes, bandwidths, what may change and what may not."""

import dataclasses

import pytest
import torch

from pamiq_storm.units import format_bytes, parse_bytes


@pytest.mark.parametrize(
    ("text", "size"),
    [
        (0, 0),
        (1000, 1000),
        ("7", 7),
        ("512MiB", 512 << 20),
        ("1.5GB", 1_500_000_000),
        (" 2 gib ", 2 << 30),
        ("0.5KiB", 512),
        ("3tb", 3 * 10**12),
        ("9007199254740993B", 9007199254740993),
    ],
)
def test_sizes_are_parsed(text, size):
    assert parse_bytes(text) == size


@pytest.mark.parametrize("text", ["", "MiB", "12 XB", "-3MiB", "1e9", "1..5GB", "ten", -1])
def test_nonsense_is_not_a_size(text):
    with pytest.raises(ValueError, match="size"):
        parse_bytes(text)


@pytest.mark.parametrize("value", [1.5, None, True, [3]])
def test_only_integers_and_strings_are_sizes(value):
    with pytest.raises(TypeError, match="size"):
        parse_bytes(value)


@pytest.mark.parametrize(
    ("size", "text"),
    [(5, "5 B"), (1536, "1.50 KiB"), (512 << 20, "512.00 MiB"), (1 << 50, "1024.00 TiB")],
)
def test_sizes_are_formatted(size, text):
    assert format_bytes(size) == text


@pytest.mark.parametrize(
    "settings",
    [
        {"memory": "lots"},
        {"memory": 0},
        {"memory": 1.5},
        {"d2h": "2GB/h"},
        {"h2d": "-1GB/s"},
        {"d2h": 0},
        {"pageable": float("nan")},
        {"devices": 0},
        {"devices": "two"},
        {"devices": 2},
        {"speed": 3},
    ],
    ids=str,
)
def test_nonsense_settings_raise_value_errors(sim, settings):
    with pytest.raises(ValueError, match=next(iter(settings))):
        sim.configure(**settings)


def test_enabling_again_changes_settings_and_keeps_allocations(sim):
    x = torch.ones(5, device="sim")
    sim.enable(memory="100MiB", d2h="3GB/s", h2d=2.5e9)
    assert torch.accelerator.get_memory_info()[1] == 100 << 20
    assert x.sum().item() == 5
    with pytest.raises(ValueError, match="devices"):
        sim.enable(devices=3)


def test_configure_changes_only_what_it_names(sim):
    sim.configure(memory="2GiB")
    sim.configure(d2h="1GB/s")
    assert torch.accelerator.get_memory_info()[1] == 2 << 30


def test_unlimited_memory_reports_the_computers(sim):
    sim.configure(memory=None)
    assert torch.accelerator.get_memory_info()[1] > 1 << 30


def test_the_simulator_is_torchs_accelerator(sim):
    assert sim.is_enabled()
    assert torch.accelerator.current_accelerator() == torch.device("sim")
    assert torch.accelerator.device_count() == 1
    assert torch.sim.is_available()
    assert torch.get_device_module("sim") is torch.sim


def test_statistics_cannot_be_changed(sim):
    with pytest.raises(dataclasses.FrozenInstanceError):
        sim.stats().d2h_bytes = 1


def test_statistics_return_to_zero(sim):
    (torch.ones(3, device="sim") + 1).cpu()
    assert sim.stats().async_kernels > 0
    assert sim.stats().compute_busy_s > 0
    sim.reset_stats()
    assert sim.stats().async_kernels == sim.stats().d2h_bytes == 0
