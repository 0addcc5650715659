"""Operations give the CPU's results; those that cannot work say so by name."""

import io
import pickle

import pytest
import torch
import torch.nn.functional as F


def matrix():
    return torch.randn(6, 8)


# Each takes the device's version of a random 6 x 8 matrix and of ids 0..5.
OPERATIONS = {
    "arithmetic": lambda x, i: (x + x * 2 - x / 3) ** 2 % 1.5,
    "scalar left": lambda x, i: 1 - 2 / (x.abs() + 1),
    "in place": lambda x, i: x.clone().mul_(2).add_(x).sub_(1).div_(3).clamp_(-1, 1),
    "comparisons": lambda x, i: (x > 0) & (x <= 1) | (x == 0) ^ x.ne(1),
    "where": lambda x, i: torch.where(x > 0, x, -x),
    "masked fill": lambda x, i: x.masked_fill(x > 0.5, float("-inf")),
    "masked select": lambda x, i: x[x > 0],
    "nonzero": lambda x, i: (x > 0).nonzero(),
    "unique": lambda x, i: torch.unique(x.round()),
    "index": lambda x, i: x[i, i % 4],
    "index by host": lambda x, i: x[i.cpu()],
    "index put": lambda x, i: x.clone().index_put_((i, i), x[:, 0], accumulate=True),
    "slice assignment": lambda x, i: x.clone().__setitem__((slice(1, 3), 2), 7.0),
    "gather": lambda x, i: x.gather(1, i[:, None] % 8),
    "scatter add": lambda x, i: torch.zeros_like(x).scatter_add_(1, i[:, None] % 8, x[:, :1]),
    "index select": lambda x, i: x.index_select(0, i),
    "index add": lambda x, i: x.clone().index_add_(0, i, x),
    "take along": lambda x, i: torch.take_along_dim(x, x.argsort(1), 1),
    "cat": lambda x, i: torch.cat([x, x[:2]], 0),
    "stack": lambda x, i: torch.stack([x, x + 1], 1),
    "split": lambda x, i: x.split([2, 4])[1] + x.chunk(2, 1)[0][2:].repeat(1, 2),
    "unbind": lambda x, i: sum(x.unbind(1)),
    "views": lambda x, i: x.view(2, 3, 8).transpose(0, 2).reshape(-1, 6).unsqueeze(0).expand(3, -1, -1),
    "unfold": lambda x, i: x.unfold(1, 3, 2),
    "roll and flip": lambda x, i: x.roll(2, 1).flip(0),
    "pad": lambda x, i: F.pad(x, (1, 2), value=3.0),
    "tril": lambda x, i: x.tril() + x.triu(1),
    "reductions": lambda x, i: torch.stack([x.sum(), x.mean(), x.std(), x.var(), x.norm(), x.amax()]),
    "reductions by row": lambda x, i: x.sum(1) + x.mean(1) + x.prod(1) + x.logsumexp(1) + x.norm(dim=1),
    "extremes": lambda x, i: x.max(1).values + x.min(1).values + x.argmax(1) + x.argmin(1),
    "any all": lambda x, i: torch.stack([(x > 0).any(), (x > 9).all()]),
    "cumsum": lambda x, i: x.cumsum(1) + x.cumprod(0),
    "sort": lambda x, i: x.sort(1, descending=True).values,
    "topk": lambda x, i: x.topk(3, 1).indices,
    "matrix products": lambda x, i: x @ x.T @ x + torch.einsum("ij,kj->ik", x, x) @ x,
    "batched product": lambda x, i: torch.bmm(x.view(2, 3, 8), x.view(2, 8, 3)),
    "baddbmm": lambda x, i: torch.baddbmm(x.view(2, 3, 8)[..., :3], x.view(2, 3, 8), x.view(2, 8, 3)),
    "matrix by vector": lambda x, i: x.mv(x[0]) + x @ x[1] + x[0].dot(x[1]),
    "outer": lambda x, i: torch.outer(x[0], x[1]),
    "softmax": lambda x, i: x.softmax(1) + x.log_softmax(0),
    "transcendental": lambda x, i: x.exp() + x.sin() + x.tanh() + x.abs().log1p() + x.erf() + x.abs().rsqrt(),
    "rounding": lambda x, i: x.floor() + x.ceil() + x.round() + x.trunc() + x.sign(),
    "casts": lambda x, i: x.half().float() + x.to(torch.bfloat16).double() + x.int().to(torch.float64),
    "one hot": lambda x, i: F.one_hot(i, 6),
    "embedding bag": lambda x, i: F.embedding_bag(i[None], x, mode="mean"),
    "cross entropy": lambda x, i: F.cross_entropy(x, i, label_smoothing=0.1, ignore_index=2),
    "nll": lambda x, i: F.nll_loss(x.log_softmax(1), i, reduction="none"),
    "mse": lambda x, i: F.mse_loss(x, x + 1) + F.l1_loss(x, x * 2) + F.smooth_l1_loss(x, x * 2),
    "bce": lambda x, i: F.binary_cross_entropy_with_logits(x, (x > 0).float()),
    "kl": lambda x, i: F.kl_div(x.log_softmax(1), x.softmax(1), reduction="batchmean"),
    "cosine": lambda x, i: F.cosine_similarity(x, x.flip(0)),
    "cdist": lambda x, i: torch.cdist(x, x + 1),
    "interpolate": lambda x, i: F.interpolate(x[None, None], scale_factor=2, mode="bilinear"),
    "lerp": lambda x, i: torch.lerp(x, x + 1, 0.3) + torch.addcmul(x, x, x, value=2),
    "linspace": lambda x, i: torch.linspace(0, 1, 5, device=x.device) + torch.arange(5, device=x.device),
    "eye": lambda x, i: torch.eye(6, device=x.device) @ x + torch.full((8,), 2.0, device=x.device),
    "out": lambda x, i: torch.add(x, 1, out=torch.empty(0, device=x.device)),
    "sized out": lambda x, i: torch.mul(x, 3, out=torch.empty(6, 8, device=x.device)),
    "solve": lambda x, i: torch.linalg.solve(x @ x.T + torch.eye(6, device=x.device), x),
    "complex": lambda x, i: torch.view_as_real(torch.fft.rfft(x)).abs(),
    "conjugate": lambda x, i: torch.view_as_real(torch.complex(x, x).conj() * 1),
    "bincount": lambda x, i: torch.bincount(i, minlength=9),
    "repeat interleave": lambda x, i: x.repeat_interleave(i % 3, 0),
    "empty": lambda x, i: x[:0].sum(0) + x[:0].relu().numel(),
    "foreach": lambda x, i: torch.stack(torch._foreach_add([x, x * 2], 1.0)),
}


@pytest.mark.parametrize("name", OPERATIONS)
def test_operation_equals_the_cpus(name):
    x, i = matrix(), torch.randperm(6)
    expected = OPERATIONS[name](x, i)
    for _ in range(2):
        result = OPERATIONS[name](x.to("sim"), i.to("sim"))
        if expected is None:
            continue
        assert result.device.type == "sim"
        torch.testing.assert_close(result.cpu(), expected)


def test_results_go_where_the_operation_writes():
    x = torch.zeros(4, 4, device="sim")
    x[1:3, 1:3] = 5
    x.t()[0].fill_(2)
    assert x.sum().item() == 5 * 4 + 2 * 4


def test_scalars_and_truth_reach_the_host():
    x = torch.arange(4, device="sim")
    assert x.sum().item() == 6
    assert bool(x[1] == 1)
    assert torch.equal(x, x.clone())
    assert x.tolist() == [0, 1, 2, 3]
    assert "device='sim:0'" in repr(x)


def test_zero_dimensional_host_tensors_are_taken_by_value(sim):
    scalar = torch.tensor(3.0)
    x = torch.ones(4, device="sim")
    with sim.hold():
        y = x * scalar
        scalar.fill_(100)
    assert y.cpu().eq(3).all()


def test_mixing_devices_is_refused_by_name():
    with pytest.raises(RuntimeError, match=r"same device|expects all tensors on sim:0"):
        torch.mm(torch.ones(2, 2, device="sim"), torch.ones(2, 2))
    with pytest.raises(RuntimeError, match=r"same device|expects all tensors on sim:0"):
        torch.ones(2, device="sim") + torch.ones(2)


def test_an_unsupported_operation_is_named():
    with pytest.raises(NotImplementedError, match="sim: aten::_fused_dropout is not supported"):
        torch._fused_dropout(torch.ones(3, device="sim"), 0.5)


def test_sparse_tensors_are_refused():
    with pytest.raises((NotImplementedError, RuntimeError), match="sim"):
        torch.ones(2, 2, device="sim").to_sparse().add(1)


def test_a_wrong_call_raises_what_the_cpu_raises():
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        torch.mm(torch.ones(2, 3, device="sim"), torch.ones(2, 3, device="sim"))
    with pytest.raises(RuntimeError, match="must match"):
        torch.ones(2, device="sim") + torch.ones(3, device="sim")


def test_tensors_survive_saving_and_loading():
    module = torch.nn.Linear(3, 2).to("sim")
    file = io.BytesIO()
    torch.save({"state": module.state_dict(), "x": torch.arange(5, device="sim")}, file)
    for map_location, kind in ((None, "sim"), ("cpu", "cpu"), ("sim", "sim")):
        file.seek(0)
        loaded = torch.load(file, map_location=map_location)
        assert loaded["x"].device.type == kind
        assert torch.equal(loaded["state"]["weight"].cpu(), module.weight.detach().cpu())
    assert torch.equal(pickle.loads(pickle.dumps(loaded["x"])).cpu(), torch.arange(5))


def test_modules_move_by_name_and_back():
    module = torch.nn.Linear(3, 2).sim()
    assert module.weight.is_sim
    assert module.cpu().weight.device.type == "cpu"
    assert torch.ones(2).sim().device == torch.device("sim:0")


def test_graph_capture_is_refused_by_name():
    with pytest.raises(RuntimeError, match="Graph is not supported on device type: sim"):
        torch.accelerator.Graph()
