"""What ghost memory and the virtual clock cannot do is refused by name; what they can is bounded."""

from __future__ import annotations

import resource
import threading
from collections.abc import Callable

import pytest
import torch

from pamiq_storm import sim
from tests.virtual.child import Child

GiB = 1 << 30


def _refused(work: Callable[[], object]) -> str:
    with pytest.raises((RuntimeError, ValueError)) as caught:
        work()
    return str(caught.value)


def no_values() -> dict[str, str]:
    x = torch.ones(8, device="sim")
    mask = x > 0
    return {
        "aten::nonzero": _refused(lambda: x.nonzero()),
        "aten::masked_select": _refused(lambda: x.masked_select(mask)),
        "aten::_unique2": _refused(lambda: x.unique()),
        "aten::equal": _refused(lambda: torch.equal(x, x)),
    }


def test_what_depends_on_values_is_refused_by_name_in_ghost_memory(ghost: Child) -> None:
    for operation, message in ghost.run(no_values).items():
        assert operation in message
        assert "memory='ghost'" in message


def stand_ins() -> list[object]:
    x = torch.full((4,), 7.0, device="sim")
    return [x.sum().item(), (x > 0).all().item(), x.long().sum().item(), x.cpu().tolist(), bool((x == 0).any())]


def test_values_the_host_asks_for_are_the_documented_stand_ins(ghost: Child) -> None:
    assert ghost.run(stand_ins) == [1.0, False, 1, [0.0] * 4, False]


def test_the_same_values_are_real_in_real_memory(real: Child) -> None:
    assert real.run(stand_ins) == [28.0, True, 28, [7.0] * 4, False]


def large() -> tuple[int, int, int]:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    device = [torch.ones(GiB, device="sim") for _ in range(4)]
    host = [torch.empty(GiB, pin_memory=True) for _ in range(4)]
    for a, b in zip(device, host, strict=True):
        b.copy_(a, non_blocking=True)
    torch.accelerator.synchronize()
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    return grown, torch.accelerator.memory_allocated(), sim.stats().pinned_bytes


def test_ghost_memory_takes_no_memory(ghost: Child) -> None:
    grown_kib, allocated, pinned = ghost.run(large)
    assert allocated >= 16 * GiB
    assert pinned >= 16 * GiB
    assert grown_kib < 64 << 10


def too_large() -> tuple[str, int, int]:
    torch.accelerator.empty_cache()
    kept = [torch.empty(5 * GiB, dtype=torch.uint8, device="sim") for _ in range(3)]
    with pytest.raises(torch.OutOfMemoryError) as caught:
        kept += [torch.empty(5 * GiB, dtype=torch.uint8, device="sim") for _ in range(20)]
    return str(caught.value), len(kept), sim.load_profile("rtx4090").memory_bytes


def test_the_limit_is_the_profile_s_memory(ghost: Child) -> None:
    message, fitted, memory = ghost.run(too_large)
    assert "out of memory" in message
    assert fitted == 3  # the list was not extended
    assert f"{memory / 2**20:.2f} MiB" in message


def second_thread() -> list[str]:
    x = torch.ones(8, device="sim")
    calls = [
        lambda: x.add_(1),
        lambda: torch.Event(device="sim").record(),
        lambda: torch.empty(1 << 22, pin_memory=True),
    ]
    caught: list[str] = []

    def use() -> None:
        for call in calls:
            try:
                call()
            except RuntimeError as error:
                caught.append(str(error))

    torch.accelerator.empty_host_cache()
    thread = threading.Thread(target=use)
    thread.start()
    thread.join()
    x.add_(1)
    assert len(caught) == len(calls)
    return caught


def test_a_second_host_thread_is_refused_by_name(child: Child) -> None:
    for message in child.run(second_thread):
        assert "clock='virtual'" in message
        assert "clock='threads'" in message


def autograd_in_threads() -> float:
    x = torch.ones(8, device="sim", requires_grad=True)
    y = x.clone()
    y.register_hook(lambda g: g * 2)
    (grad,) = torch.autograd.grad((y * 3).sum(), x, create_graph=True)
    return grad.shape[0]


def test_autograd_s_threads_are_part_of_the_host(child: Child) -> None:
    assert child.run(autograd_in_threads) == 8


def held() -> str:
    return _refused(lambda: sim.hold().__enter__())


def fixed() -> list[str]:
    return [
        _refused(lambda: sim.configure(clock="threads")),
        _refused(lambda: sim.enable(clock="threads")),
        _refused(lambda: sim.configure(memory="real" if sim_is_ghost() else "ghost")),
        _refused(lambda: sim.configure(devices=2)),
        _refused(lambda: sim.configure(profile="no-such-machine")),
        _refused(lambda: sim.configure(limit="1GiB", memory="2GiB")),
        _refused(lambda: sim.advance(-1.0)),
        _refused(lambda: sim.charge({"storm::offload": float("nan")})),
    ]


def sim_is_ghost() -> bool:
    from pamiq_storm.sim.native import enabled

    return enabled().current_config().ghost


def test_settings_that_make_no_sense_are_refused(child: Child) -> None:
    assert "clock='threads'" in child.run(held)
    expected = ("clock", "clock", "contents", "number of devices", "no-such-machine", "2GiB", "-1.0", "storm::offload")
    for word, message in zip(expected, child.run(fixed), strict=True):
        assert word in message


def kernel_error() -> str:
    x = torch.ones(4, device="sim")
    with sim.inject(task=1):
        x.add_(1)
        return _refused(torch.accelerator.synchronize)


def test_injected_errors_are_kept_until_somebody_synchronises(child: Child) -> None:
    assert "injected" in child.run(kernel_error)


def charged() -> tuple[int, int]:
    from torch.profiler import record_function

    sim.configure(profile="rtx4090")
    torch.accelerator.synchronize()

    def ranges() -> int:
        begin = sim.now_ns()
        for _ in range(10):
            torch.ops.aten.detach(torch.ones(1))
            with record_function("unnamed"):
                pass
        return sim.now_ns() - begin

    sim.charge({"aten::detach": 5e-6})
    with_charge = ranges()
    sim.charge({})
    return with_charge, ranges()


def test_named_ranges_are_charged_while_asked_to(child: Child) -> None:
    assert child.run(charged) == (50_000, 0)


def test_the_thread_clock_refuses_ghost_memory() -> None:
    with pytest.raises(ValueError, match="clock='virtual'"):
        sim.enable(memory="ghost")


def memory_line() -> list[int]:
    torch.accelerator.synchronize()
    with sim.timeline() as recorded:
        x = torch.empty(1 << 20, dtype=torch.uint8, device="sim")
        y = torch.empty(1 << 20, dtype=torch.uint8, device="sim")
        del x
        del y
    base = recorded.memory[0].allocated - (1 << 20)
    return [point.allocated - base for point in recorded.memory]


def test_the_timeline_follows_memory(child: Child) -> None:
    assert child.run(memory_line) == [1 << 20, 2 << 20, 1 << 20, 0]
