"""Names that OpenMMLab does not know, and directories of something else, are told at once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from lth_core.errors import ConfigError, RunError
from lth_core.imp.directory import STUDY
from lth_core.openmmlab import LTHRunner
from lth_core.openmmlab.launch import load_config
from lth_core.openmmlab.refusals import explained
from mmengine.registry import Registry

from .toy import toy_config


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("train_cfg.max_epoch", 1, "EpochBasedTrainLoop a setting 'max_epoch'.*'max_epochs'"),
        ("optim_wrapper.optimizer.learning", 1, "SGD a setting 'learning'"),
        ("model.type", "ToyClasifier", "type 'ToyClasifier', .*did you mean 'ToyClassifier'"),
        ("val_evaluator.type", "Zzz", "type 'Zzz', .*custom_imports"),
        ("optim_wrapper.optimizer.type", "SDG", "type 'SDG', .*did you mean 'SGD'"),
        ("param_scheduler", {"type": "StepLr"}, "'StepLr', which .*scheduler's.*mean 'StepLR'"),
        (
            "optim_wrapper.optimizer.lr",
            -1,
            r"SGD .* refuses: Invalid learning rate: -1 \(sgd",
        ),
        ("train_dataloader.batch_size", 0, "DataLoader values.*batch_size=0"),
    ],
)
def test_a_wrong_name_is_one_line(key: str, value: Any, message: str, tmp_path: Path) -> None:
    cfg = toy_config(tmp_path)
    cfg.merge_from_dict({key: value})
    with pytest.raises(ConfigError, match=message) as raised:
        LTHRunner.from_cfg(cfg).train()
    assert "\n" not in str(raised.value)


class Plain:
    def __init__(self, depth: int) -> None:
        self.depth = depth


class Passing(Plain):
    """Hands on what it does not know itself."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)


class Failing:
    """Is given nothing wrong, but calls something else wrongly."""

    def __init__(self, depth: int) -> None:
        Plain(width=depth)  # type: ignore[call-arg]


def test_a_wrong_setting_that_is_handed_on_is_one_line_too() -> None:
    registry = Registry("passing")
    registry.register_module(module=Passing)
    message = "gives Passing a setting 'dept', which it does not have; did you mean 'depth'"
    with pytest.raises(ConfigError, match=message), explained():
        registry.build({"type": "Passing", "dept": 18})


class Refusing:
    def __init__(self, depth: int) -> None:
        if depth < 0:
            raise ValueError(f"no depth {depth}")
        self.depth = 1 // {1: 1}[depth]


def test_a_value_that_is_refused_is_one_line_and_a_mistake_in_code_is_not() -> None:
    registry = Registry("refusing")
    registry.register_module(module=Refusing)
    message = r"gives Refusing values that it refuses: no depth -1 \(test_refusals\.py, line \d+\)$"
    with pytest.raises(ConfigError, match=message), explained():
        registry.build({"type": "Refusing", "depth": -1})
    with pytest.raises(KeyError, match=r"^18$"), explained():
        registry.build({"type": "Refusing", "depth": 18})


def test_an_error_inside_of_what_is_built_stays_what_it_is() -> None:
    registry = Registry("failing")
    registry.register_module(module=Failing)
    with pytest.raises(TypeError, match="'width'"), explained():
        registry.build({"type": "Failing", "depth": 18})


@pytest.mark.parametrize("error", [TypeError("f() got an unexpected keyword argument 'x'"),
                                   KeyError("'A is not in the B registry'")])  # fmt: skip
def test_errors_of_other_code_stay_what_they_are(error: Exception) -> None:
    with pytest.raises(type(error)), explained():
        raise error


def test_a_misspelt_option_is_refused_and_a_new_one_is_not(tmp_path: Path) -> None:
    (tmp_path / "c.py").write_text("train_dataloader = dict(batch_size=2)\n")
    path = str(tmp_path / "c.py")
    with pytest.raises(ConfigError, match="no 'train_dataloder'; did you mean 'train_dataloader'"):
        load_config(path, {"train_dataloder.batch_size": 1})
    cfg = load_config(path, {"val_dataloader.batch_size": 1, "train_dataloader.batch_size": 3})
    assert (cfg.val_dataloader.batch_size, cfg.train_dataloader.batch_size) == (1, 3)


def test_rounds_do_not_go_into_a_studys_directory(tmp_path: Path) -> None:
    (tmp_path / STUDY).write_text("{}")
    cfg = toy_config(tmp_path, imp={"rounds": 1, "amount": 0.5, "rewind": "init"})
    with pytest.raises(RunError, match="holds a study; use another --work-dir"):
        LTHRunner.from_cfg(cfg).train()
    assert [path.name for path in tmp_path.iterdir()] == [STUDY]
