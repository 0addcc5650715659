"""The demo's input and model."""

from pathlib import Path

import pytest
import torch

from pamiq_storm.demo.gpt import ByteGPT, GPTSizes
from pamiq_storm.demo.text import batches, standard_library


def test_the_text_is_python_and_the_same_each_time() -> None:
    first, second = standard_library(100_000), standard_library(100_000)
    assert torch.equal(first.data, second.data)
    assert len(first.data) == 100_000
    assert b"import " in bytes(first.data.tolist())


def test_too_few_sources_are_an_error_with_numbers(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_bytes(b"x = 1\n")
    with pytest.raises(FileNotFoundError, match="has 6 bytes of Python sources, 100 are needed"):
        standard_library(100, tmp_path)


def test_targets_are_the_next_bytes_and_seeds_decide() -> None:
    text = standard_library(10_000)
    inputs, targets = batches(text, 3, 16, 2, seed=1)[0]
    assert inputs.shape == targets.shape == (3, 16)
    assert torch.equal(inputs[:, 1:], targets[:, :-1])
    assert torch.equal(batches(text, 3, 16, 2, seed=1)[0][0], inputs)
    assert not torch.equal(batches(text, 3, 16, 2, seed=2)[0][0], inputs)


def test_the_model_sees_no_later_byte() -> None:
    torch.manual_seed(0)
    model = ByteGPT(GPTSizes(context=8, layers=2, width=16, heads=2)).double()
    tokens = torch.randint(256, (1, 8))
    changed = tokens.clone()
    changed[0, 5] = (changed[0, 5] + 1) % 256
    before, after = model(tokens), model(changed)
    assert torch.equal(before[0, :5], after[0, :5])
    assert not torch.equal(before[0, 5:], after[0, 5:])
