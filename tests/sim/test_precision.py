"""All types of numbers, mixed precision and the scaling of losses, against the CPU."""

import pytest
import torch
from torch import nn

NUMBERS = [
    torch.bool,
    torch.uint8,
    torch.int8,
    torch.int16,
    torch.int32,
    torch.int64,
    torch.float16,
    torch.bfloat16,
    torch.float32,
    torch.float64,
    torch.complex64,
    torch.complex128,
]
EIGHT_BITS = [torch.float8_e4m3fn, torch.float8_e5m2, torch.float8_e4m3fnuz, torch.float8_e5m2fnuz]


def sample(dtype):
    values = torch.arange(-6, 6).reshape(3, 4)
    if dtype.is_complex:
        return torch.complex(values.double(), values.double() / 3).to(dtype)
    return (values % 2 == 0) if dtype == torch.bool else values.to(dtype)


@pytest.mark.parametrize("pin", [True, False], ids=["pinned", "pageable"])
@pytest.mark.parametrize("dtype", [*NUMBERS, *EIGHT_BITS], ids=str)
def test_every_type_survives_the_round_trip(dtype, pin):
    host = sample(dtype)
    device = (host.pin_memory() if pin else host).to("sim", non_blocking=True)
    back = torch.empty_like(host, pin_memory=pin).copy_(device, non_blocking=True)
    torch.accelerator.synchronize()
    assert device.dtype == back.dtype == dtype
    assert torch.equal(back.view(torch.uint8), host.view(torch.uint8))
    assert torch.equal(device.t().cpu().contiguous().view(torch.uint8), host.t().contiguous().view(torch.uint8))


@pytest.mark.parametrize("dtype", NUMBERS, ids=str)
def test_every_type_computes_as_on_the_cpu(dtype):
    host = sample(dtype)
    device = host.to("sim")

    def compute(x):
        results = [
            x == x.flip(0),
            x.clone().fill_(1),
            torch.cat([x, x]),
            torch.where(x == x, x, x),
            x.to(torch.complex128),
        ]
        if dtype == torch.bool:
            return [*results, x & ~x, x | x, x.any(), x.all(), x.sum()]
        results += [x + x, x * x, -x if dtype != torch.uint8 else x, x.sum(), x.cumsum(1), x.abs()]
        if dtype.is_floating_point or dtype.is_complex:
            results += [x @ x.t(), x / 3, x.exp(), x.mean()]
        if dtype.is_complex:
            results += [x.conj() * x, x.real + x.imag, x.conj().resolve_conj(), x.angle(), torch.view_as_real(x)]
        return results

    for ours, expected in zip(compute(device), compute(host), strict=True):
        assert ours.dtype == expected.dtype
        assert torch.equal(ours.cpu(), expected)


@pytest.mark.parametrize("dtype", EIGHT_BITS, ids=str)
def test_eight_bit_floats_are_converted_as_on_the_cpu(dtype):
    wide = torch.randn(50)
    assert torch.equal(wide.to("sim").to(dtype).cpu().view(torch.uint8), wide.to(dtype).view(torch.uint8))
    narrow = wide.to(dtype)
    assert torch.equal(narrow.to("sim").float().cpu(), narrow.float())
    assert narrow.to("sim").clone().cpu().view(torch.uint8).equal(narrow.view(torch.uint8))


def network():
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(16, 32), nn.GELU(), nn.LayerNorm(32), nn.Linear(32, 4))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_autocast_lowers_what_cuda_lowers(dtype):
    model, x = network().to("sim"), torch.randn(8, 16, device="sim")
    with torch.autocast("sim", dtype=dtype):
        assert model[0](x).dtype == dtype
        assert (model[0](x) @ torch.randn(32, 2, device="sim")).dtype == dtype
        assert model[0](x).softmax(1).dtype == torch.float32
        assert nn.functional.mse_loss(model(x), torch.zeros(8, 4, device="sim")).dtype == torch.float32
        half = torch.randn(3, 4, device="sim", dtype=dtype)
        for result in (half.sum(), half.sum(1), half.cumsum(1), half.log_softmax(1), half.prod(), half.norm()):
            assert result.dtype == torch.float32
        assert half.norm(dim=1).dtype == torch.float32
        assert torch.addcmul(half.float(), half, half).dtype == torch.float32
        with torch.autocast("sim", enabled=False):
            assert model[0](x).dtype == torch.float32
    loss = model(x).float().square().mean()
    loss.backward()
    assert all(p.grad.dtype == torch.float32 and p.grad.isfinite().all() for p in model.parameters())


def test_autocast_refuses_what_cuda_refuses():
    probability = torch.full((3,), 0.5, device="sim")
    with torch.autocast("sim", dtype=torch.float16), pytest.raises(RuntimeError, match="with_logits"):
        nn.functional.binary_cross_entropy(probability, probability)
    assert nn.functional.binary_cross_entropy(probability, probability).item() > 0


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_training_under_autocast_with_a_scaler_follows_full_precision(dtype):
    def losses(mixed):
        model = network().to("sim")
        optimizer = torch.optim.AdamW(model.parameters(), 1e-2)
        scaler = torch.amp.GradScaler("sim", enabled=mixed, init_scale=2.0**10)
        torch.manual_seed(2)
        x, target = torch.randn(32, 16).to("sim"), torch.randn(32, 4).to("sim")
        out = []
        for _ in range(10):
            optimizer.zero_grad()
            with torch.autocast("sim", dtype=dtype, enabled=mixed):
                loss = nn.functional.mse_loss(model(x), target)
            scaler.scale(loss).backward()
            scaler.unscale_(optimizer)
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            scaler.step(optimizer)
            scaler.update()
            out.append(loss.item())
        return torch.tensor(out)

    full, mixed = losses(False), losses(True)
    assert mixed[-1] < mixed[0]
    assert torch.allclose(full, mixed, rtol=0.05)


def test_a_scaler_skips_a_step_with_infinite_gradients():
    weight = torch.ones(4, device="sim", requires_grad=True)
    optimizer = torch.optim.SGD([weight], 1.0)
    scaler = torch.amp.GradScaler("sim", init_scale=4.0)
    scaler.scale((weight * float("inf")).sum()).backward()
    scaler.step(optimizer)
    scaler.update()
    assert scaler.get_scale() == 2.0
    assert weight.eq(1).all().item()
    optimizer.zero_grad()
    scaler.scale(weight.sum()).backward()
    scaler.step(optimizer)
    scaler.update()
    assert weight.eq(0).all().item()


def test_the_state_of_a_scaler_is_saved_and_loaded():
    scaler = torch.amp.GradScaler("sim", init_scale=64.0)
    scaler.scale(torch.ones(1, device="sim"))
    other = torch.amp.GradScaler("sim")
    other.load_state_dict(scaler.state_dict())
    assert other.scale(torch.ones(1, device="sim")).item() == 64
