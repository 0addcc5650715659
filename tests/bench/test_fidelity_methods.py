"""The published methods give the gradients of training without them, to the last bit, and move what they say."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from pamiq_storm import sim
from pamiq_storm.bench.fidelity.methods import METHODS, _trl_of_july_2026
from pamiq_storm.bench.fidelity.model import Shape, Transformer
from pamiq_storm.bench.offload import peers

SMALL = Shape(layers=3, width=64, heads=4, kv_heads=2, hidden=96, vocabulary=50, head_size=16)
FUSED = Shape(layers=3, width=64, heads=4, kv_heads=2, hidden=96, vocabulary=50, head_size=16, eager=False)
TOKENS = 40
OURS = [name for name in METHODS if "TRL" not in name]
"""Released code of others is measured as it is, and is not ours to test."""


def gradients(shape: Shape, name: str, device: str, steps: int = 2) -> tuple[list[torch.Tensor], int]:
    torch.manual_seed(0)
    model = Transformer(shape).to(device)
    method = METHODS[name](model)
    tokens = torch.arange(TOKENS, device=device).unsqueeze(0)
    moved = 0
    for _ in range(steps):
        model.zero_grad(set_to_none=True)
        torch.accelerator.synchronize()
        method.prepare()
        before = sim.stats().d2h_bytes
        with method.around():
            F.cross_entropy(model.head(model(tokens)).flatten(0, 1), tokens.flatten()).backward()
        torch.accelerator.synchronize()
        moved = sim.stats().d2h_bytes - before
    return [parameter.grad.cpu() for parameter in model.parameters() if parameter.grad is not None], moved


@pytest.mark.parametrize("name", OURS)
@pytest.mark.parametrize("shape", [SMALL, FUSED], ids=["eager", "fused"])
def test_gradients_are_those_of_training_without(shape: Shape, name: str, device: str) -> None:
    plain, _ = gradients(shape, "none", device)
    found, _ = gradients(shape, name, device)
    assert len(found) == len(plain) > 0
    assert all(torch.equal(a, b) for a, b in zip(found, plain, strict=True))


INPUT = TOKENS * SMALL.width * 4
MOVED = {
    "none": 0,
    "checkpoint": 0,
    "checkpoint, inputs moved": 3 * INPUT,
    "checkpoint, inputs moved but the last": 2 * INPUT,
    "checkpoint, inputs moved, host waits": 3 * INPUT,
    # Without the last layer: input, queries, values (half as wide), attention's result, gate.
    "five tensors a layer moved, pool": 2 * TOKENS * 4 * (64 + 64 + 32 + 64 + 96),
    "five tensors a layer moved, no pool": 2 * TOKENS * 4 * (64 + 64 + 32 + 64 + 96),
}


@pytest.mark.parametrize("name", MOVED)
def test_what_is_moved_is_what_the_method_names(name: str, device: str) -> None:
    if device != "sim":
        pytest.skip("only the simulator counts bytes")
    assert gradients(SMALL, name, device)[1] == MOVED[name]


def test_the_eager_model_saves_what_the_modelling_code_of_transformers_does(device: str) -> None:
    """Bytes kept for each token of a layer in half precision, counted on paper from that code."""
    model = Transformer(SMALL).to(device, torch.bfloat16)
    parameters = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    kept: dict[int, torch.Tensor] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    block, x = model.blocks[0], torch.randn(1, TOKENS, SMALL.width, device=device, dtype=torch.bfloat16)
    cosine = torch.ones(TOKENS, SMALL.head_size, device=device, dtype=torch.bfloat16)
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        out = block(x.requires_grad_(), cosine, torch.zeros_like(cosine))
    saved = sum(t.untyped_storage().nbytes() for address, t in kept.items() if address not in parameters)

    width, queries, keys, hidden = SMALL.width, 64, 32, SMALL.hidden
    norms = 2 * (4 + 2 + 2) * width  # single precision, half, and the result
    head_norms = (4 + 2) * (queries + keys)  # the result is turned at once, and not kept
    attention = 2 * (2 * queries + 2 * keys)
    feed_forward = 2 * 4 * hidden  # gate, its activation, up, their product
    paper = TOKENS * (norms + head_norms + attention + feed_forward)
    assert paper < saved < 1.1 * paper  # and a few numbers per row: roots of means, sums of exponentials
    assert out.requires_grad


def test_trl_of_july_2026_moves_less_than_the_release_that_mended_it(device: str) -> None:
    """It takes tensors at addresses that were freed in the same forward for ones already moved, and keeps them."""
    if device != "sim":
        pytest.skip("only the simulator counts bytes")
    try:
        released = peers.load("trl", device).OffloadActivations
    except peers.PeerMissing as missing:
        pytest.skip(str(missing))
    moved: list[int] = []
    for kind in (_trl_of_july_2026(device), released):
        model = Transformer(SMALL).to(device)
        context = kind(use_streams=True, min_offload_size=0)
        context.update_model_params(model)
        before = sim.stats().d2h_bytes
        with context:
            loss = model(torch.zeros(1, TOKENS, dtype=torch.long, device=device)).square().mean()
        loss.backward()
        torch.accelerator.synchronize()
        moved.append(sim.stats().d2h_bytes - before)
    assert moved[0] < moved[1]


@pytest.mark.races_on_purpose
def test_trl_1_16_on_checkpointing_races_and_gives_wrong_gradients(device: str) -> None:
    """What checkpointing recomputes from is dropped by Python, and its memory belongs to the stream of copies."""
    if device != "sim":
        pytest.skip("only the simulator has a race detector")
    try:
        peers.load("trl", device)
    except peers.PeerMissing as missing:
        pytest.skip(str(missing))
    plain, _ = gradients(SMALL, "none", device)
    sim.clear_races()
    wrong = 0
    for seed in range(4):
        with sim.fuzz(seed, "2ms"):
            found, _ = gradients(SMALL, "TRL on checkpoint", device)
        wrong += not all(torch.equal(a, b) for a, b in zip(found, plain, strict=True))
    assert {race.kind for race in sim.races()} == {"reuse"}
    assert wrong, "reported by the detector, and the numbers were right"
