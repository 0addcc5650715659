"""Models compute on the simulator what they compute on the CPU."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn


class Block(nn.Module):
    def __init__(self, width=32, heads=4):
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, x):
        batch, length, width = x.shape
        qkv = self.qkv(self.norm1(x)).view(batch, length, 3, self.heads, width // self.heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        attended = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.out(attended.transpose(1, 2).reshape(batch, length, width))
        return x + self.mlp(self.norm2(x))


class GPT(nn.Module):
    def __init__(self, vocabulary=64, width=32, blocks=2, length=16):
        super().__init__()
        self.tokens = nn.Embedding(vocabulary, width)
        self.places = nn.Embedding(length, width)
        self.blocks = nn.Sequential(*[Block(width) for _ in range(blocks)])
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, vocabulary)

    def forward(self, ids):
        places = torch.arange(ids.shape[1], device=ids.device)
        return self.head(self.norm(self.blocks(self.tokens(ids) + self.places(places))))


class Recurrent(nn.Module):
    def __init__(self, kind):
        super().__init__()
        self.cells = kind(8, 12, num_layers=2, batch_first=True)

    def forward(self, x):
        return self.cells(x)[0]


class RMS(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear, self.norm = nn.Linear(8, 8), nn.RMSNorm(8)

    def forward(self, x):
        return F.silu(self.norm(self.linear(x)))


def images():
    return torch.randn(4, 3, 12, 12)


def rows(width):
    return lambda: torch.randn(6, 5, width)


CASES = {
    "mlp": (
        lambda: nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.LayerNorm(32), nn.Linear(32, 4)),
        rows(16),
    ),
    "activations": (
        lambda: nn.Sequential(
            nn.Linear(8, 8),
            nn.GELU("tanh"),
            nn.SiLU(),
            nn.ELU(),
            nn.LeakyReLU(),
            nn.Softplus(),
            nn.Hardswish(),
            nn.Mish(),
            nn.Tanh(),
            nn.Sigmoid(),
            nn.Softmax(-1),
        ),
        rows(8),
    ),
    "gpt": (GPT, lambda: torch.randint(0, 64, (3, 16))),
    "encoder layer": (
        lambda: nn.TransformerEncoderLayer(16, 4, 32, dropout=0.0, batch_first=True),
        rows(16),
    ),
    "decoder layer": (
        lambda: nn.TransformerEncoderLayer(16, 2, 32, dropout=0.0, norm_first=True),
        rows(16),
    ),
    "convolutions": (
        lambda: nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1),
            nn.BatchNorm2d(8),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(8, 8, 3, stride=2, groups=2),
            nn.GroupNorm(2, 8),
            nn.ConvTranspose2d(8, 4, 3, stride=2, output_padding=1),
            nn.AvgPool2d(2),
            nn.Upsample(scale_factor=2),
            nn.AdaptiveAvgPool2d(1),
        ),
        images,
    ),
    "channels last": (
        lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 2, 1)),
        lambda: images().to(memory_format=torch.channels_last),
    ),
    "conv1d": (lambda: nn.Sequential(nn.Conv1d(5, 4, 3), nn.BatchNorm1d(4)), rows(9)),
    "rms norm": (RMS, rows(8)),
    "rnn": (lambda: Recurrent(nn.RNN), rows(8)),
    "lstm": (lambda: Recurrent(nn.LSTM), rows(8)),
    "gru": (lambda: Recurrent(nn.GRU), rows(8)),
}


def run(model, x):
    """Output, then the gradients of a loss of it by input and parameters."""
    if x.is_floating_point():
        x = x.detach().requires_grad_()
    out = model(x)
    out.square().mean().backward()
    grads = [p.grad for p in model.parameters()] + [x.grad] * x.is_floating_point()
    return [out.detach().cpu()] + [g.cpu() for g in grads]


@pytest.mark.parametrize("name", CASES)
def test_outputs_and_gradients_equal_the_cpus(name):
    make_model, make_input = CASES[name]
    model, x = make_model(), make_input()
    twin = copy.deepcopy(model).to("sim")
    for _ in range(2):  # the second time, result shapes are known beforehand
        model.zero_grad()
        twin.zero_grad()
        for ours, reference in zip(run(twin, x.to("sim")), run(model, x), strict=True):
            torch.testing.assert_close(ours, reference)


@pytest.mark.parametrize("name", ["mlp", "convolutions", "encoder layer"])
def test_evaluation_equals_the_cpus(name):
    make_model, make_input = CASES[name]
    model, x = make_model().eval(), make_input()
    twin = copy.deepcopy(model).to("sim")
    with torch.inference_mode():
        torch.testing.assert_close(twin(x.to("sim")).cpu(), model(x))


OPTIMIZERS = {
    "sgd": lambda p: torch.optim.SGD(p, lr=0.1),
    "momentum": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, weight_decay=0.01),
    "adamw": lambda p: torch.optim.AdamW(p),
    "adamw for-loop": lambda p: torch.optim.AdamW(p, foreach=False),
    "adamw fused": lambda p: torch.optim.AdamW(p, fused=True),
    "adam amsgrad": lambda p: torch.optim.Adam(p, amsgrad=True),
    "rmsprop": lambda p: torch.optim.RMSprop(p),
}


def train(model, ids, make_optimizer, steps):
    optimizer = make_optimizer(model.parameters())
    losses = []
    for _ in range(steps):
        loss = F.cross_entropy(model(ids[:, :-1]).flatten(0, 1), ids[:, 1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        losses.append(loss.item())
    return losses


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_training_follows_the_cpus(name):
    model, ids = GPT(blocks=1), torch.randint(0, 64, (4, 17))
    twin = copy.deepcopy(model).to("sim")
    ours = train(twin, ids.to("sim"), OPTIMIZERS[name], 4)
    reference = train(model, ids, OPTIMIZERS[name], 4)
    torch.testing.assert_close(ours, reference, rtol=1e-4, atol=1e-4)
    assert ours[-1] < ours[0]


def test_training_is_bit_identical_from_run_to_run():
    ids = torch.randint(0, 64, (4, 17), device="sim")
    start = GPT().to("sim")
    results = []
    for filler in (1, 3001):  # other addresses the second time
        block = torch.empty(filler, device="sim")
        model = copy.deepcopy(start)
        losses = train(model, ids, OPTIMIZERS["adamw"], 5)
        results.append((losses, [p.detach().cpu() for p in model.parameters()]))
        del block
    assert results[0][0] == results[1][0]
    assert all(torch.equal(a, b) for a, b in zip(results[0][1], results[1][1], strict=True))


def test_training_issues_its_kernels_without_waiting(sim):
    model, ids = GPT().to("sim"), torch.randint(0, 64, (4, 17), device="sim")
    train(model, ids, OPTIMIZERS["adamw"], 1)
    sim.reset_stats()
    loss = F.cross_entropy(model(ids[:, :-1]).flatten(0, 1), ids[:, 1:].flatten())
    loss.backward()
    assert sim.stats().sync_kernels == 0
    assert sim.stats().async_kernels > 50


def test_autocast_computes_linear_layers_in_low_precision():
    layer, x = nn.Linear(8, 4).to("sim"), torch.randn(2, 8, device="sim")
    with torch.autocast("sim", dtype=torch.bfloat16):
        out = layer(x)
        assert out.dtype == torch.bfloat16
        assert F.mse_loss(out, torch.zeros_like(out)).dtype == torch.float32
    out.sum().backward()
    assert layer.weight.grad.dtype == torch.float32
