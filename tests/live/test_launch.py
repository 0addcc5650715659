"""A whole system: two threads, pauses, checkpoints, restarts, ends."""

import contextlib
import functools
import signal
import subprocess
import sys
import textwrap
import threading
import time
import traceback
from pathlib import Path

import pytest

from pamiq_storm.live import FixedIntervalInteraction, LaunchConfig, LiveSystem, StoppedError, launch

from ..programs import ROOT, run_program
from .parts import PATIENCE_S, Adder, Parts, World

FOREVER = {"max_uptime": PATIENCE_S * 5}


def wait_until_trained(parts: Parts) -> None:
    parts.trainer.trained.clear()
    assert parts.trainer.trained.wait(PATIENCE_S)


def wait_until_acted(parts: Parts) -> None:
    parts.world.affected.clear()
    assert parts.world.affected.wait(PATIENCE_S)


def test_both_threads_run_and_the_model_reaches_the_agent() -> None:
    parts = Parts()
    result = launch(*parts, {"max_uptime": 1.0})
    assert result.reason == "max_uptime"
    assert result.checkpoint is None
    assert parts.trainer.trainings > 0
    assert parts.agent.steps == len(parts.world.actions) > 0
    assert max(parts.world.actions) > 0, "an action that a trained model chose"
    assert parts.agent.events == ["setup", "teardown"]


def test_data_reach_the_trainer_and_wake_it() -> None:
    """The trainer may idle for hours, so only the data can have woken it in time."""
    parts = Parts(trainer=Adder("seen", new=5), interaction=slowly(0.01))
    system = LiveSystem(*parts, LaunchConfig(idle_wait=3600.0))
    with system:
        for _ in range(3):
            wait_until_trained(parts)
    assert parts.trainer.trainings <= parts.agent.steps // 5


def slowly(interval: float):
    return functools.partial(FixedIntervalInteraction.with_sleep_adjustor, interval=interval)


def test_without_trainers_the_training_thread_waits_and_ends() -> None:
    interaction, models, buffers, _ = Parts()
    assert launch(interaction, models, buffers, {}, {"max_uptime": 0.1}).reason == "max_uptime"


def test_a_pause_stops_both_threads_and_resume_lets_them_go_on() -> None:
    parts = Parts()
    system = LiveSystem(*parts)
    with system:
        wait_until_trained(parts)
        system.pause()
        assert system.paused
        frozen = (parts.agent.steps, parts.trainer.trainings)
        assert parts.agent.events == ["setup", "paused"]
        assert parts.trainer.events == ["paused"]
        assert not threading.Event().wait(0.05)
        assert (parts.agent.steps, parts.trainer.trainings) == frozen
        system.resume()
        wait_until_trained(parts)
        wait_until_acted(parts)
        assert parts.trainer.events == ["paused", "resumed"]
    assert parts.agent.events == ["setup", "paused", "resumed", "teardown"]
    assert not system.running
    assert system.stop_reason == "stopped"


def test_a_pause_does_not_sit_out_the_interval() -> None:
    parts = Parts(interaction=slowly(PATIENCE_S * 10))
    system = LiveSystem(*parts)
    with system:
        wait_until_trained(parts)
        system.pause(PATIENCE_S)
        system.resume()
        wait_until_trained(parts)
    assert parts.agent.steps <= 1, "the second beat never came"


def test_a_system_paused_before_its_start_takes_no_step() -> None:
    parts = Parts()
    system = LiveSystem(*parts)
    system.pause()
    with system:
        system.pause(PATIENCE_S)
        assert parts.agent.steps == parts.trainer.trainings == 0


def test_a_restart_goes_on_from_the_newest_checkpoint(tmp_path: Path) -> None:
    first = Parts()
    result = launch(*first, {"states_dir": tmp_path, "max_uptime": 0.5})
    assert result.resumed_from is None
    second = Parts()
    system = LiveSystem(*second, LaunchConfig(states_dir=tmp_path))
    assert system.resumed_from == result.checkpoint
    assert second.agent.steps == first.agent.steps > 0
    assert second.model.number == second.model.inference_model() == first.model.number > 0
    assert second.trainer._previous_training_time == first.trainer._previous_training_time
    assert LiveSystem(*Parts(), LaunchConfig(states_dir=tmp_path, resume=False)).resumed_from is None
    older = LaunchConfig(states_dir=tmp_path, saved_state_path=result.checkpoint)
    launch(*Parts(), LaunchConfig(states_dir=tmp_path, max_uptime=0.05))
    assert LiveSystem(*Parts(), older).resumed_from == result.checkpoint


def test_checkpoints_are_taken_in_time_while_both_threads_rest(tmp_path: Path) -> None:
    parts = Parts(interaction=slowly(0.001))
    system = LiveSystem(*parts, LaunchConfig(states_dir=tmp_path, save_interval=0.02, max_keep=3))
    with system:
        while len(parts.agent.events) < 10:
            wait_until_trained(parts)
    assert parts.agent.events[1:9:2] == ["paused"] * 4
    assert parts.trainer.events[:8:2] == ["paused"] * 4
    assert len(list(tmp_path.glob("*.state"))) == 3
    assert system.checkpoint is not None
    assert int((system.checkpoint / "interaction" / "agent").read_text()) == parts.agent.steps


def test_save_returns_a_checkpoint_of_that_moment(tmp_path: Path) -> None:
    parts = Parts()
    system = LiveSystem(*parts, LaunchConfig(states_dir=tmp_path, save_at_end=False))
    assert (system.save() / "models" / "number").read_text() == "0", "before the start, too"
    with system:
        wait_until_trained(parts)
        system.pause()
        saved = system.save()
        assert int((saved / "models" / "number").read_text()) == parts.model.number
        assert parts.trainer.events == ["paused"], "the pause outlasts the save"
        assert system.paused
    assert system.checkpoint == saved


def test_saving_without_a_folder_says_what_to_set() -> None:
    with pytest.raises(ValueError, match="set states_dir"):
        LiveSystem(*Parts()).save()


def test_a_system_runs_only_once() -> None:
    system = LiveSystem(*Parts())
    with system:
        with pytest.raises(RuntimeError, match="only once"):
            system.start()
        assert system.stop_reason is None, "the running one is not disturbed"


def test_a_checkpoint_that_does_not_fit_says_which_it_was(tmp_path: Path) -> None:
    saved = LiveSystem(*Parts(), LaunchConfig(states_dir=tmp_path)).save()
    (saved / "models" / "number").unlink()
    with pytest.raises(FileNotFoundError) as caught:
        LiveSystem(*Parts(), LaunchConfig(states_dir=tmp_path))
    assert caught.value.__notes__ == [
        f"This came from the checkpoint {saved}. LaunchConfig(resume=False) begins without one."
    ]


def test_a_checkpoint_that_is_not_there_is_missed(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no checkpoint .*none"):
        LiveSystem(*Parts(), LaunchConfig(saved_state_path=tmp_path / "none"))


def broken(where: str) -> None:
    raise ValueError(f"broken in {where}")


@pytest.mark.parametrize("where", ["inference", "training"])
def test_an_exception_in_a_thread_ends_all_and_is_raised_with_its_traceback(where: str, tmp_path: Path) -> None:
    at = {3: functools.partial(broken, where)}
    parts = Parts(World(at) if where == "inference" else None, Adder(at=at) if where == "training" else None)
    with pytest.raises(ValueError, match=f"broken in {where}") as caught:
        launch(*parts, {**FOREVER, "states_dir": tmp_path})
    names = [frame.name for frame in traceback.extract_tb(caught.value.__traceback__)]
    assert names[-1] == "broken"
    assert ("observe" if where == "inference" else "train") in names
    assert parts.agent.events[-1] == "teardown"
    assert list(tmp_path.glob("*.state")) == [], "a state half-way through a step is not saved"


def test_if_both_threads_fail_both_exceptions_are_raised() -> None:
    barrier = threading.Barrier(2, timeout=PATIENCE_S)

    def together(where: str) -> None:
        barrier.wait()
        broken(where)

    parts = Parts(
        World({1: functools.partial(together, "inference")}), Adder(at={1: functools.partial(together, "training")})
    )
    with pytest.raises(ExceptionGroup) as caught:
        launch(*parts, FOREVER)
    assert sorted(map(str, caught.value.exceptions)) == ["broken in inference", "broken in training"]


def test_a_checkpoint_that_cannot_be_written_ends_the_system_with_that_error(tmp_path: Path) -> None:
    parts = Parts()

    def full(path: Path) -> None:
        raise OSError("disk full")

    parts.model.save_state = full  # type: ignore[method-assign]
    with pytest.raises(OSError, match="disk full"):
        launch(*parts, {**FOREVER, "states_dir": tmp_path, "save_interval": 0.01})
    assert [path.name for path in tmp_path.iterdir()] == [".lock"]


def test_a_step_may_stop_the_system_but_not_wait_for_it() -> None:
    system: LiveSystem
    refused: list[str] = []

    def inside() -> None:
        for method in (system.pause, system.save):
            try:
                method()
            except RuntimeError as error:
                refused.append(str(error))
            except ValueError:
                refused.append("no folder")
        system.stop("from a step")

    system = LiveSystem(*Parts(World({2: inside})))
    system.start()
    system.wait()
    assert system.stop_reason == "from a step"
    assert refused == ["the inference thread cannot pause: it would wait for its own step to end", "no folder"]
    with pytest.raises(StoppedError):
        system.pause()


def test_the_loop_is_never_faster_than_asked() -> None:
    parts = Parts(interaction=slowly(0.01))
    start = time.perf_counter()
    launch(*parts, {"max_uptime": 0.5})
    beats = (time.perf_counter() - start) / 0.01
    assert 1 < parts.agent.steps <= beats + 1


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"save_interval": 1.0}, "states_dir"),
        ({"save_interval": 0.0, "states_dir": "x"}, "save_interval must be seconds above 0"),
        ({"max_keep": 0}, "max_keep must be None or at least 1"),
        ({"max_uptime": -1}, "max_uptime must be seconds above 0"),
        ({"idle_wait": float("nan")}, "idle_wait must be seconds above 0"),
    ],
)
def test_a_configuration_that_cannot_hold_is_refused(values: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        launch(*Parts(), values)


PROGRAM = """
import signal, sys, threading, time
from pathlib import Path
from pamiq_storm.live import launch
from tests.live.parts import Adder, Parts

signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
kind = sys.argv[2]
def slow():
    print("training", flush=True)
    time.sleep(3600 if kind == "stuck" else 0.2)
parts = Parts(trainer=Adder(at={1: slow}))
try:
    result = launch(*parts, {"states_dir": sys.argv[1]})
    print(result.reason, parts.agent.events[-1], result.checkpoint.name, parts.trainer.trainings, flush=True)
except KeyboardInterrupt:
    print("second", flush=True)
    import os; os._exit(3)
"""


def interrupted_program(kind: str, states: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", PROGRAM, str(states), kind]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT)
    assert process.stdout is not None
    assert process.stdout.readline() == "training\n"
    process.send_signal(signal.SIGINT)
    return process


def test_ctrl_c_ends_both_threads_after_their_step_and_saves(tmp_path: Path) -> None:
    out, err = interrupted_program("quick", tmp_path).communicate(timeout=PATIENCE_S)
    assert err == ""
    reason, event, checkpoint, trainings = out.split()
    assert (reason, event, trainings) == ("interrupted", "teardown", "1")
    assert (tmp_path / checkpoint / "models" / "number").read_text() == "1"


def test_a_second_ctrl_c_does_not_wait_for_a_stuck_step(tmp_path: Path) -> None:
    process = interrupted_program("stuck", tmp_path)
    deadline = time.monotonic() + PATIENCE_S
    while process.poll() is None and time.monotonic() < deadline:
        process.send_signal(signal.SIGINT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(0.05)
    out, err = process.communicate(timeout=PATIENCE_S)
    assert (process.returncode, out, err) == (3, "second\n", "")


def test_nothing_is_printed_and_no_thread_stays(tmp_path: Path) -> None:
    done = run_program(
        """
        import sys, threading
        from pamiq_storm.live import launch
        from tests.live.parts import Parts
        launch(*Parts(), {"max_uptime": 0.1, "states_dir": sys.argv[1]})
        assert threading.enumerate() == [threading.main_thread()]
        """,
        tmp_path,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_a_program_killed_at_any_moment_restarts_from_a_whole_checkpoint(tmp_path: Path) -> None:
    """Model and agent step together here, so a checkpoint that mixes moments would show."""
    program = textwrap.dedent(
        """
        import sys
        from pathlib import Path
        from pamiq_storm.live import LaunchConfig, LiveSystem
        from tests.kills import killed_everywhere
        from tests.live.parts import Parts

        config = LaunchConfig(states_dir=sys.argv[1], max_keep=2, save_at_end=False)

        def save(step):
            parts = Parts()
            system = LiveSystem(*parts, config)
            parts.agent.steps = parts.model.number = step
            system.save()

        def check(step):
            parts = Parts()
            LiveSystem(*parts, config)
            assert parts.agent.steps == parts.model.number == parts.model.inference_model(), step
            assert parts.agent.steps in (step, last[0]), (step, last)
            last[0] = parts.agent.steps

        last = [0]
        save(0)
        print(killed_everywhere(save, check))
        """
    )
    done = run_program(program, tmp_path)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 20
