"""Random numbers depend on the seed and on the order of calls, never on timing."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.checkpoint import checkpoint

DRAWS = {
    "randn": lambda: torch.randn(100, device="sim"),
    "rand": lambda: torch.rand(100, device="sim"),
    "normal_": lambda: torch.empty(100, device="sim").normal_(1, 2),
    "uniform_": lambda: torch.empty(100, device="sim").uniform_(-1, 1),
    "bernoulli": lambda: torch.bernoulli(torch.full((100,), 0.5, device="sim")),
    "randint": lambda: torch.randint(0, 1000, (100,), device="sim"),
    "randperm": lambda: torch.randperm(100, device="sim"),
    "dropout": lambda: F.dropout(torch.ones(100, device="sim"), 0.3),
    "multinomial": lambda: torch.multinomial(torch.ones(100, device="sim"), 50),
    "exponential_": lambda: torch.empty(100, device="sim").exponential_(),
}


@pytest.mark.parametrize("name", DRAWS)
def test_the_seed_decides(name):
    draws = []
    for seed in (3, 3, 4):
        torch.manual_seed(seed)
        draws.append(DRAWS[name]().cpu())
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])


def test_successive_draws_differ():
    assert not torch.equal(torch.rand(9, device="sim").cpu(), torch.rand(9, device="sim").cpu())


def test_the_state_can_be_saved_and_restored():
    state = torch.sim.get_rng_state()
    first = torch.randn(10, device="sim").cpu()
    torch.sim.set_rng_state(state)
    assert torch.equal(torch.randn(10, device="sim").cpu(), first)


def test_fork_rng_leaves_the_state_alone():
    torch.manual_seed(5)
    expected = torch.randn(4, device="sim").cpu()
    torch.manual_seed(5)
    with torch.random.fork_rng([0], device_type="sim"):
        torch.randn(100, device="sim")
    assert torch.equal(torch.randn(4, device="sim").cpu(), expected)


def test_generators_are_independent_of_the_default_one():
    draws = []
    for noise in (0, 5):
        generator = torch.Generator("sim").manual_seed(9)
        torch.rand(noise + 1, device="sim")
        draws.append(torch.rand(6, device="sim", generator=generator).cpu())
    assert torch.equal(*draws)


def test_random_kernels_do_not_block_the_host(sim):
    with sim.hold():
        x = torch.randn(50, device="sim")
        F.dropout(x, 0.5)
        assert not torch.accelerator.current_stream().query()


def test_dropout_keeps_the_expected_share_and_scales_it():
    out = F.dropout(torch.ones(20000, device="sim"), 0.25).cpu()
    assert set(out.unique().tolist()) == {0.0, torch.tensor(1 / 0.75).item()}
    assert abs((out == 0).float().mean().item() - 0.25) < 0.02
    assert F.dropout(torch.ones(5, device="sim"), 1.0).eq(0).all().item()


@pytest.mark.parametrize("reentrant", [False, True])
def test_checkpoint_recomputes_dropout_bit_for_bit(reentrant):
    block = nn.Sequential(nn.Linear(16, 16), nn.Dropout(0.5), nn.GELU(), nn.Linear(16, 16)).to("sim")
    x = torch.randn(8, 16, device="sim", requires_grad=True)
    results = []
    for use_checkpoint in (False, True):
        block.zero_grad()
        x.grad = None
        torch.manual_seed(11)
        out = checkpoint(block, x, use_reentrant=reentrant) if use_checkpoint else block(x)
        torch.randn(3, device="sim")  # moves the state on before backward
        out.square().sum().backward()
        results.append([out.detach().cpu(), x.grad.cpu()] + [p.grad.cpu() for p in block.parameters()])
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))
