"""Which base classes are in force."""

import sys
from pathlib import Path

import pytest

from pamiq_storm import live
from pamiq_storm.torch.bases import bases_in_force

PYTHON = (3, 12)


@pytest.fixture
def core(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that is found as pamiq_core."""
    for name in [name for name in sys.modules if name.partition(".")[0] == "pamiq_core"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.syspath_prepend(tmp_path)
    folder = tmp_path / "pamiq_core"
    folder.mkdir()
    return folder


@pytest.fixture(autouse=True)
def _forget_the_fakes(monkeypatch: pytest.MonkeyPatch):
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        if name.partition(".")[0] == "pamiq_core":
            del sys.modules[name]


def test_our_own_are_in_force_where_pamiq_core_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pamiq_core", None)
    bases = bases_in_force(PYTHON)
    assert bases == {name: getattr(live, name) for name in ("Agent", "InferenceModel", "Trainer", "TrainingModel")}


def test_its_own_are_in_force_where_it_is_installed(core: Path) -> None:
    (core / "__init__.py").touch()
    (core / "interaction.py").write_text("class Agent: ...")
    (core / "model.py").write_text("class InferenceModel: ...\nclass TrainingModel: ...")
    (core / "trainer.py").write_text("class Trainer: ...")
    assert {base.__module__ for base in bases_in_force(PYTHON).values()} == {
        "pamiq_core.interaction",
        "pamiq_core.model",
        "pamiq_core.trainer",
    }


@pytest.mark.parametrize(
    ("content", "cause"),
    [
        ("import a_dependency_that_is_gone", "ModuleNotFoundError: No module named 'a_dependency_that_is_gone'"),
        ("raise RuntimeError('half installed')", "RuntimeError: half installed"),
        ("x = (", "SyntaxError"),
        ("", "No module named 'pamiq_core.interaction'"),
    ],
)
def test_a_broken_installation_is_not_taken_for_a_missing_one(core: Path, content: str, cause: str) -> None:
    (core / "__init__.py").write_text(content)
    with pytest.raises(ImportError, match=f"installed but cannot be used .*{cause}.*repair it, or uninstall"):
        bases_in_force(PYTHON)


def test_a_python_that_cannot_run_it_does_not_look_for_it(core: Path) -> None:
    (core / "__init__.py").write_text("x = (")
    assert bases_in_force((3, 11))["Agent"] is live.Agent
