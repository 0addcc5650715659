"""Part 5 of the demo can tell a right version from a torn one, and says so."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn

from pamiq_storm.demo.live import Ledger, Live, fingerprint, printable
from pamiq_storm.demo.report import live_correctness

LIVE = Live(
    losses=(5.0, 4.0, 3.0, 2.0), training_s=1.0, error=None, alone_ms=(1.0,), beside_ms=(1.0,), sync_ms=(1.0,),
    versions=5, served=(0, 1, 1, 4), unknown=0, misdated=0, peak_allocated_bytes=10, first_line="a", last_line="b",
)  # fmt: skip


def versions() -> list[nn.Linear]:
    return [nn.Linear(3, 3) for _ in range(2)]


def test_equal_parameters_have_equal_fingerprints() -> None:
    first, second = versions()
    assert fingerprint(first) != fingerprint(second)
    second.load_state_dict(first.state_dict())
    assert fingerprint(first) == fingerprint(second)


def test_versions_are_known_by_their_bits() -> None:
    ledger = Ledger()
    for module in (first := versions()):
        ledger.publish(module)
    ledger.see(first[0], 0, 0)
    ledger.see(first[1], 0, 1)
    assert (ledger.served, ledger.unknown, ledger.misdated) == ([0, 1], 0, 0)


def test_a_mix_of_two_versions_is_torn() -> None:
    ledger = Ledger()
    first, second = versions()
    ledger.publish(first)
    ledger.publish(second)
    second.bias = first.bias
    ledger.see(second, 0, 1)
    assert (ledger.served, ledger.unknown) == ([], 1)


def test_a_parameter_that_is_half_new_is_torn() -> None:
    ledger = Ledger()
    first, second = versions()
    ledger.publish(first)
    ledger.publish(second)
    with torch.no_grad():
        second.weight[0] = first.weight[0]
    ledger.see(second, 0, 1)
    assert ledger.unknown == 1


def test_an_old_version_under_a_new_number_is_misdated() -> None:
    ledger = Ledger()
    first, second = versions()
    ledger.publish(first)
    ledger.publish(second)
    ledger.see(first, 1, 1)
    assert ledger.misdated == 1


def failed(live: Live) -> list[str]:
    return [check.name for check in live_correctness(live, limit_bytes=10) if not check.held]


def test_a_right_run_passes() -> None:
    assert failed(LIVE) == []


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"error": "out of memory"}, "out of memory"),
        ({"losses": (2.0, 3.0, 4.0, 5.0)}, "loss"),
        ({"losses": ()}, "loss"),
        ({"served": (0, 0)}, "versions served"),
        ({"served": (0, 2, 1)}, "went back"),
        ({"unknown": 1}, "torn"),
        ({"misdated": 1}, "torn"),
        ({"peak_allocated_bytes": 11}, "peak"),
    ],
)
def test_each_check_can_fail(change: dict[str, Any], words: str) -> None:
    (name,) = failed(replace(LIVE, **change))
    assert words in name


def test_text_becomes_one_printable_line() -> None:
    assert printable(b"def \n\x00\xff x") == "def ··· x"
