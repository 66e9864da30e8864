from __future__ import annotations

import colorsys
import pickle
import subprocess
import sys
from pathlib import Path

import lth_core.openmmlab  # noqa: F401  (installs the bridges)
import mmcv
import numpy as np
import pytest
import torch
from _lth_core_startup import config_path
from lth_core.openmmlab.launch import load_config
from mmengine.logging import HistoryBuffer

from .toy import toy_config


@pytest.mark.parametrize("backend", ["pillow", "cv2"])
@pytest.mark.parametrize("factor", [-0.5, -0.13, 0.0, 0.2, 0.5])
def test_adjust_hue_turns_the_circle_of_hues(backend: str, factor: float) -> None:
    image = np.random.default_rng(0).integers(0, 256, (6, 7, 3), np.uint8)
    shifted = mmcv.adjust_hue(image, factor, backend)
    assert shifted.shape == image.shape
    assert shifted.dtype == image.dtype
    for before, after in zip(image.reshape(-1, 3), shifted.reshape(-1, 3), strict=True):
        h, s, v = colorsys.rgb_to_hsv(*(before[::-1] / 255))
        wanted = np.array(colorsys.hsv_to_rgb((h + factor) % 1, s, v)) * 255
        # Hue has eight bits, and a step of it is worth 6/255 of the brightest channel. The shift is
        # cut to whole steps and the hue rounded twice: two steps at most.
        assert np.abs(after[::-1] - wanted).max() <= 12


@pytest.mark.parametrize("backend", ["pillow", "cv2"])
def test_adjust_hue_refuses_what_mmcv_refuses(backend: str) -> None:
    image = np.zeros((2, 2, 3), np.uint8)
    with pytest.raises(ValueError, match="hue_factor"):
        mmcv.adjust_hue(image, 0.6, backend)
    with pytest.raises(TypeError):
        mmcv.adjust_hue([1, 2], 0.1, backend)
    with pytest.raises(ValueError, match="not supported"):
        mmcv.adjust_hue(image, 0.1, "turbojpeg")


def test_configs_of_the_packages_can_be_inherited_in_any_process(tmp_path: Path) -> None:
    config = tmp_path / "config.py"
    config.write_text(
        "_base_ = ['mmdet::gn+ws/faster-rcnn_r50_fpn_gn-ws-all_1x_coco.py',"
        " 'lth_det::_base_/tickets/moco_90.py']\n"
    )
    script = (
        "from mmengine.config import Config\n"  # and no word of lth
        f"cfg = Config.fromfile({str(config)!r})\n"
        "print(cfg.runner_type, cfg.default_scope, '_scope_' in cfg.ticket)\n"
    )
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["LTHRunner", "mmdet", "False"]


@pytest.mark.parametrize("ending", ["", ".py"])
def test_configs_of_the_packages_can_be_named(ending: str) -> None:
    cfg = load_config(f"mmdet::yolox/yolox_s_8xb8-300e_coco{ending}")
    assert cfg.model.type == "YOLOX"
    assert cfg.filename.endswith("mmdet/.mim/configs/yolox/yolox_s_8xb8-300e_coco.py")


def test_a_missing_config_of_a_package_is_named() -> None:
    with pytest.raises(FileNotFoundError, match="lth_det has no config det/nothing"):
        config_path("lth_det::det/nothing.py")
    assert config_path("mmdet::fcos/x.py") is None  # mmengine says so
    assert config_path("mmpose::fcos/x.py") is None
    assert config_path("configs/x.py") is None


def test_operators_are_there_in_any_process() -> None:
    script = (
        "import sys, mmcv, mmdet.apis, mmseg.apis\n"  # and no word of lth
        "assert mmcv._ext is sys.modules['mmcv._ext']\n"
        "print(mmcv._ext.__spec__.origin)\n"
    )
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["lth_core.openmmlab.compat.mmcv_ext"]


def test_start_up_is_light() -> None:
    """Python starts in every environment that has lth; it must not import anything heavy."""
    script = "import sys; print(*[m for m in ('torch', 'numpy', 'mmengine') if m in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == []


def test_checkpoints_of_plain_mmengine_are_read(tmp_path: Path) -> None:
    from mmengine.runner import Runner

    Runner.from_cfg(toy_config(tmp_path, epochs=1)).train()
    checkpoint = torch.load(tmp_path / "epoch_1.pth", weights_only=True)
    buffer = checkpoint["message_hub"]["log_scalars"]["train/loss"]
    assert isinstance(buffer, HistoryBuffer)
    assert np.isfinite(buffer.mean())


def test_plain_mmengine_resumes_what_lth_saved(tmp_path: Path) -> None:
    from lth_core.openmmlab import LTHRunner
    from mmengine.runner import Runner

    LTHRunner.from_cfg(toy_config(tmp_path, epochs=1)).train()
    runner = Runner.from_cfg(toy_config(tmp_path, epochs=2, resume=True))
    runner.train()
    assert runner.epoch == 2


class _Attack:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return (Path.touch, (self.marker,))


def _lookup(name: str) -> bytes:
    """A pickle that looks up an attribute of HistoryBuffer, as mmengine's checkpoints do."""
    return (
        b"\x80\x02c__builtin__\ngetattr\ncmmengine.logging.history_buffer\nHistoryBuffer\n"
        b"X" + len(name).to_bytes(4, "little") + name.encode() + b"\x86R."
    )


def test_nothing_else_is_allowed_in_checkpoints(tmp_path: Path) -> None:
    marker = tmp_path / "executed"
    torch.save({"x": _Attack(marker)}, tmp_path / "attack.pth")
    with pytest.raises(pickle.UnpicklingError):
        torch.load(tmp_path / "attack.pth", weights_only=True)
    assert not marker.exists()


def test_attributes_other_than_history_methods_cannot_be_looked_up(tmp_path: Path) -> None:
    for name, allowed in (("mean", True), ("__init__", False), ("__globals__", False)):
        (tmp_path / "legacy.pth").write_bytes(_legacy(_lookup(name)))
        if allowed:
            found = torch.load(tmp_path / "legacy.pth", weights_only=True)
            assert found is HistoryBuffer.mean
        else:
            with pytest.raises(pickle.UnpicklingError, match="may not look up"):
                torch.load(tmp_path / "legacy.pth", weights_only=True)


def _legacy(content: bytes) -> bytes:
    """A file in torch's old format: magic number, protocol, system, content, no storages."""
    head = [0x1950A86A20F9469CFC6C, 1001, {"protocol_version": 1001, "little_endian": True}]
    return b"".join(pickle.dumps(part, 2) for part in head) + content + pickle.dumps([], 2)
