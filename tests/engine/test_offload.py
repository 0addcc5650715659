"""What `with offload(model)` promises."""

from __future__ import annotations

import gc
import threading

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from pamiq_storm import OffloadConfig, offload

from .models import MODELS, build, identical, loss_of, train


def fetched_gradients(model: nn.Module, loss: Tensor, **kwargs: bool) -> list[Tensor]:
    return [g.detach().cpu() for g in torch.autograd.grad(loss, list(model.parameters()), **kwargs)]


@pytest.mark.parametrize("name", MODELS)
def test_losses_and_gradients_are_the_same_bit_for_bit(name: str, device: str, config: OffloadConfig) -> None:
    contexts = []

    def around(model: nn.Module) -> offload:
        contexts.append(offload(model, config))
        return contexts[-1]

    plain, stormed = train(name, device, steps=5), train(name, device, around, steps=5)
    assert identical(plain[0], stormed[0])
    assert identical(plain[1], stormed[1])
    assert contexts[0].stats().offloaded_bytes > 0


def test_a_context_made_anew_for_each_step_shares_one_engine(device: str, config: OffloadConfig) -> None:
    model, batch = build("mlp", device)
    systems = set()
    for _ in range(3):
        with offload(model, config) as storm:
            loss = loss_of(model(batch))
        loss.backward()
        torch.accelerator.synchronize()  # what the step before took is free again
        systems.add(id(storm.system))
    assert len(systems) == 1
    assert storm.stats().pool_misses == 0


def test_peak_device_memory_falls(device: str, config: OffloadConfig) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(*(layer for _ in range(12) for layer in (nn.Linear(64, 64), nn.Tanh()))).to(device)
    batch = torch.randn(2048, 64).to(device)

    def peak(context: object) -> int:
        for p in model.parameters():
            p.grad = None
        torch.accelerator.synchronize()
        torch.accelerator.reset_peak_memory_stats()
        with context:  # type: ignore[attr-defined]
            loss = loss_of(model(batch))
        loss.backward()
        torch.accelerator.synchronize()
        return torch.accelerator.max_memory_allocated()

    plain = peak(torch.enable_grad())
    bounds = OffloadConfig(
        min_bytes="64KiB", window_bytes="1MiB", prefetch_bytes="1MiB", keep_last_bytes="512KiB", slab_bytes="16MiB"
    )
    storm = offload(model, bounds)
    peak(storm)
    assert peak(storm) < 0.6 * plain


def test_parameters_and_buffers_stay_by_storage(device: str, config: OffloadConfig) -> None:
    model = nn.Linear(64, 64, bias=False).to(device)
    model.register_buffer("table", torch.randn(64, 64).to(device))
    x = torch.randn(1, 64).to(device).requires_grad_()
    with offload(model, config) as storm:
        # linear saves a transposed view of its weight, mm saves the buffer
        loss = (model(x) @ model.table).sum()
    loss.backward()
    assert storm.stats().offloaded_tensors == 0
    assert storm.stats().kept_parameter_tensors >= 2


def test_small_tensors_stay(device: str) -> None:
    model, batch = build("mlp", device)
    with offload(model, OffloadConfig(min_bytes="1MiB")) as storm:
        loss_of(model(batch)).backward()
    assert storm.stats().offloaded_tensors == 0
    assert storm.stats().kept_small_tensors > 0


def test_the_last_of_forward_stay_from_the_second_step_on(device: str, config: OffloadConfig) -> None:
    model, batch = build("mlp", device)
    storm = offload(model, config)
    kept = []
    for _ in range(3):
        with storm:
            loss = loss_of(model(batch))
        loss.backward()
        kept.append(storm.stats().kept_last_tensors)
    print(kept)
    assert kept == [0, 2, 4]  # 16 KiB hold one activation of 64 x 64 floats, which two operations saved


def test_bytes_saved_twice_move_once(device: str, config: OffloadConfig) -> None:
    x = torch.randn(64, 64).to(device).requires_grad_()
    with offload(None, config, device=device) as storm:
        y = x * 1.0
        loss = (y.sin() + y.cos() + y.t().exp().t()).sum()
    (gradient,) = torch.autograd.grad(loss, x)
    y = x.detach()
    expected = torch.autograd.grad((x.sin() + x.cos() + x.exp()).sum(), x)[0]
    assert torch.equal(gradient.cpu(), expected.cpu()), y.shape
    stats = storm.stats()
    assert stats.offloaded_tensors == 2  # y, and exp's own output
    assert stats.shared_tensors == 1


def test_strides_dtypes_and_views_come_back(device: str, config: OffloadConfig) -> None:
    captured: list[Tensor] = []

    class Keep(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x: Tensor, *tensors: Tensor) -> Tensor:  # type: ignore[override]
            ctx.save_for_backward(*tensors)
            return x.clone()

        @staticmethod
        def backward(ctx, grad: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
            captured.extend(ctx.saved_tensors)
            return (grad, *([None] * len(ctx.saved_tensors)))

    torch.manual_seed(0)
    base = torch.randn(64, 48).to(device)
    tensors = [
        base.t(),
        base[3:40:2, 5:],
        base.unsqueeze(0).expand(5, 64, 48),
        (base > 0),
        base.to(torch.bfloat16),
        base.to(torch.float64),
        (base * 10).to(torch.int32),
        base.to(torch.complex64),
        torch.empty(0, 7).to(device),
        torch.tensor(1.5).to(device),
    ]
    expected = [(t.cpu(), t.stride(), t.dtype) for t in tensors]
    x = torch.randn(1).to(device).requires_grad_()
    with offload(None, config, device=device) as storm:
        y = Keep.apply(x, *tensors)
    del tensors, base
    y.backward()
    assert storm.stats().offloaded_tensors >= 5
    for tensor, (values, stride, dtype) in zip(captured, expected, strict=True):
        assert tensor.dtype == dtype
        assert tensor.stride() == stride
        assert torch.equal(tensor.cpu(), values)


@pytest.mark.parametrize("size", [8, 256], ids=["kept", "offloaded"])
def test_a_change_in_place_after_saving_is_torchs_own_error(size: int, device: str, config: OffloadConfig) -> None:
    x = torch.randn(size, size).to(device).requires_grad_()

    def broken(context: object) -> str:
        with context:  # type: ignore[attr-defined]
            y = x * 1.0
            loss = (y * y).sum()
            with torch.no_grad():
                y.add_(1.0)
        with pytest.raises(RuntimeError) as error:
            loss.backward()
        return str(error.value)

    plain = broken(torch.enable_grad())
    ours = broken(offload(None, config, device=device))
    sentence = "one of the variables needed for gradient computation has been modified by an inplace operation"
    assert sentence in plain
    assert sentence in ours
    assert "version 1; expected version 0" in ours


def test_retain_graph_gives_the_same_gradients_again(device: str, config: OffloadConfig) -> None:
    model, batch = build("attention", device)
    with offload(model, config):
        loss = loss_of(model(batch))
    first = fetched_gradients(model, loss, retain_graph=True)
    second = fetched_gradients(model, loss, retain_graph=True)
    third = fetched_gradients(model, loss)
    assert identical(first, second)
    assert identical(second, third)


@pytest.mark.parametrize("inside", [True, False], ids=["backward inside", "backward outside"])
def test_double_backward(inside: bool, device: str, config: OffloadConfig) -> None:
    def second_order(context: object) -> list[Tensor]:
        model, batch = build("mlp", device)
        with context:  # type: ignore[attr-defined]
            loss = loss_of(model(batch))
            if inside:
                grads = torch.autograd.grad(loss, list(model.parameters()), create_graph=True)
        if not inside:
            grads = torch.autograd.grad(loss, list(model.parameters()), create_graph=True)
        return fetched_gradients(model, sum((g**2).sum() for g in grads))

    plain = second_order(torch.enable_grad())
    assert identical(plain, second_order(offload(None, config, device=device)))


@pytest.mark.parametrize("reentrant", [True, False])
@pytest.mark.parametrize("where", ["inside", "around"])
def test_checkpoint_and_offload_compose(reentrant: bool, where: str, device: str, config: OffloadConfig) -> None:
    def run(storm: offload | None) -> list[Tensor]:
        model, batch = build("mlp", device)
        batch.requires_grad_()
        context = storm if storm is not None else torch.enable_grad()

        def body(x: Tensor) -> Tensor:
            if where == "inside":
                with context:
                    return model(x)
            return model(x)

        if where == "around":
            with context:
                loss = loss_of(checkpoint(body, batch * 1.0, use_reentrant=reentrant))
        else:
            loss = loss_of(checkpoint(body, batch * 1.0, use_reentrant=reentrant))
        loss.backward()
        return [p.grad.cpu() for p in model.parameters()]

    assert identical(run(None), run(offload(None, config, device=device)))


def test_the_innermost_of_ours_and_the_users_hooks_answers(device: str, config: OffloadConfig) -> None:
    x = torch.randn(64, 64).to(device).requires_grad_()
    seen: list[str] = []

    def pack(t: Tensor) -> Tensor:
        seen.append("pack")
        return t.detach()

    storm = offload(None, config, device=device)
    with storm:
        y = (x * 1.0).sin()
        ours = storm.stats().offloaded_tensors
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
            y = y.sin()
        assert storm.stats().offloaded_tensors == ours
        assert seen == ["pack"]
        y = y.sin()
        assert storm.stats().offloaded_tensors == ours + 1
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t), storm:
        y = y.sin()
    assert seen == ["pack"]
    expected = x.detach().clone().requires_grad_()
    expected.sin().sin().sin().sin().sum().backward()
    y.sum().backward()
    assert torch.equal(x.grad.cpu(), expected.grad.cpu())


def test_contexts_nest(device: str, config: OffloadConfig) -> None:
    model, batch = build("mlp", device)
    outer, inner = offload(model, config), offload(model, OffloadConfig(min_bytes="1MiB"))
    with outer, inner, inner:
        loss = loss_of(model(batch))
    loss.backward()
    assert outer.stats().offloaded_tensors == 0
    assert inner.stats().kept_small_tensors > 0


def test_disabled_hooks_stay_disabled(device: str, config: OffloadConfig) -> None:
    with (
        torch.autograd.graph.disable_saved_tensors_hooks("not here"),
        pytest.raises(RuntimeError, match="not here"),
        offload(None, config, device=device),
    ):
        pass


def test_the_python_pair_does_the_same_work(device: str, config: OffloadConfig) -> None:
    """Where the C++ dispatch cannot be installed the same pair runs as Python callables."""
    from pamiq_storm import _C

    model, batch = build("attention", device)
    model.eval()
    storm = offload(model, config)
    context = _C.OffloadContext(storm.system._engine, [*model.parameters(), *model.buffers()])
    pack, unpack = _C.hook_pair(context)
    with torch.autograd.graph.saved_tensors_hooks(lambda t: pack(t), lambda s: unpack(s)):
        loss = loss_of(model(batch))
    through_python = fetched_gradients(model, loss)
    assert storm.stats().offloaded_tensors > 0
    assert identical(through_python, fetched_gradients(model, loss_of(model(batch))))


def test_a_dropped_graph_and_an_exception_leave_nothing_behind(device: str, config: OffloadConfig) -> None:
    model, batch = build("mlp", device)
    storm = offload(model, config)

    def device_bytes() -> int:
        gc.collect()
        torch.accelerator.synchronize()
        return torch.accelerator.memory_allocated()

    with storm:
        loss_of(model(batch))
    start = device_bytes()
    for _ in range(20):
        with storm:
            loss_of(model(batch))  # dropped
        with pytest.raises(KeyError), storm:
            model(batch)
            raise KeyError
    torch.accelerator.synchronize()
    storm.system._engine.check_invariants()
    with storm:
        loss = loss_of(model(batch))
    loss.backward()
    model.zero_grad()
    del loss
    assert device_bytes() <= start + 128 * 1024  # the window may still hold its last tensors
    assert storm.stats().host_bytes == 0


def test_a_hundred_steps_hold_no_more_than_three(device: str, config: OffloadConfig) -> None:
    model, batch = build("attention", device)
    storm = offload(model, config)

    def step() -> tuple[int, int]:
        with storm:
            loss = loss_of(model(batch))
        loss.backward()
        del loss
        torch.accelerator.synchronize()
        return torch.accelerator.memory_allocated(), storm.stats().pinned_bytes

    figures = [step() for _ in range(100)]
    assert max(figures[3:]) == figures[3] or len(set(figures[3:])) <= 2
    assert storm.stats().host_bytes == 0


def test_graphs_may_be_differentiated_in_any_order(device: str, config: OffloadConfig) -> None:
    model, batch = build("mlp", device)
    storm = offload(model, config)
    expected = [fetched_gradients(model, loss_of(model(batch * k))) for k in (1, 2, 3)]
    with storm:
        losses = [loss_of(model(batch * k)) for k in (1, 2, 3)]
    for k in (1, 0, 2):
        assert identical(fetched_gradients(model, losses[k]), expected[k])


def test_threads_train_side_by_side(device: str, config: OffloadConfig) -> None:
    expected = train("mlp", device, steps=8)[1]
    results: dict[int, list[Tensor]] = {}
    model_lock = threading.Lock()

    def work(index: int) -> None:
        with model_lock:  # the seed is global
            model, batch = build("mlp", device)
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
        storm = offload(model, config)
        gradients: list[Tensor] = []
        for _ in range(8):
            optimizer.zero_grad()
            with storm:
                loss = loss_of(model(batch))
            loss.backward()
            gradients += [p.grad.cpu() for p in model.parameters()]
            optimizer.step()
        results[index] = gradients

    threads = [threading.Thread(target=work, args=(i,)) for i in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 3
    assert all(identical(expected, gradients) for gradients in results.values())


def test_a_full_host_keeps_tensors_on_the_device_and_counts_them(device: str) -> None:
    bounds = OffloadConfig(
        min_bytes=1024, window_bytes="64KiB", prefetch_bytes="64KiB", keep_last_bytes=0, host_bytes="64KiB",
        slab_bytes="64KiB",
    )  # fmt: skip
    plain = train("mlp", device)
    contexts: list[offload] = []

    def around(model: nn.Module) -> offload:
        contexts.append(offload(model, bounds))
        return contexts[-1]

    assert identical(plain[1], train("mlp", device, around)[1])
    stats = contexts[0].stats()
    assert stats.kept_host_full_tensors > 0
    assert stats.offloaded_tensors > 0
    assert stats.peak_reserved_host_bytes <= 64 * 1024


def test_late_fetches_are_counted_and_prefetch_avoids_them(device: str) -> None:
    model, batch = build("mlp", device)

    def late(prefetch: int) -> int:
        bounds = OffloadConfig(
            min_bytes=1024, window_bytes=0, prefetch_bytes=prefetch, keep_last_bytes=0, slab_bytes="1MiB"
        )
        storm = offload(model, bounds)
        for _ in range(2):
            with storm:
                loss = loss_of(model(batch))
            torch.accelerator.synchronize()
            loss.backward()
        return storm.stats().late_fetches

    assert late(0) > late(1 << 20)
    assert late(1 << 20) <= 2  # the first of each backward


def test_the_transfer_streams_are_nobodys(device: str, config: OffloadConfig) -> None:
    storm = offload(None, config, device=device)
    d2h, h2d = storm.system.streams
    current = torch.accelerator.current_stream()
    assert len({d2h.stream_id, h2d.stream_id, current.stream_id, 0}) >= 3
    assert d2h != h2d
    x = torch.randn(64, 64).to(device).requires_grad_()
    torch.accelerator.synchronize()
    with d2h, pytest.raises(RuntimeError, match="transfer streams"), storm:
        (x * 1.0).sin()
    d2h.synchronize()


def test_backward_runs_on_another_stream(device: str, config: OffloadConfig) -> None:
    model, batch = build("mlp", device)
    expected = fetched_gradients(model, loss_of(model(batch)))
    side = torch.Stream(device=device)
    side.wait_stream(torch.accelerator.current_stream())
    with side:
        with offload(model, config):
            loss = loss_of(model(batch))
        gradients = torch.autograd.grad(loss, list(model.parameters()))
    side.synchronize()
    assert identical([g.cpu() for g in gradients], expected)


def test_leaving_in_the_wrong_order_is_refused(device: str, config: OffloadConfig) -> None:
    first, second = offload(None, config, device=device), offload(None, config, device=device)
    first.__enter__()
    second.__enter__()
    with pytest.raises(RuntimeError, match="another order"):
        first.__exit__(None, None, None)
    second.__exit__(None, None, None)
    torch._C._autograd._pop_saved_tensors_default_hooks()


def test_the_hooks_run_in_cxx_here(device: str, config: OffloadConfig) -> None:
    from pamiq_storm import _C

    offload(None, config, device=device)
    assert _C.ensure_hook_dispatch()
