"""The script that looks at every upstream config: a few of each library, and what comes of it."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from lth_core.errors import ConfigError, ScopeError, TicketError

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "tools" / "coverage" / "upstream.py"
sys.path.insert(0, str(SCRIPT.parent))

from upstream import choose, main  # noqa: E402  # isort: skip
from upstream_probe import LIBRARIES, Row, configs_of, version  # noqa: E402  # isort: skip
from upstream_reasons import (  # noqa: E402  # isort: skip
    BUGS, DOWNLOAD, GROUPS, MEMORY, NO_WEIGHTS, OURS, PACKAGE, PIECE, UPSTREAM, OfflineError,
    PieceError, WrongError, explain,
)  # fmt: skip
from upstream_report import read_me, table  # noqa: E402  # isort: skip

RESNET18 = 11_157_504
RESNET50 = 23_445_504
SOFT_TEACHER = "mmdet::soft_teacher/soft-teacher_faster-rcnn_r50-caffe_fpn_180k_semi-0.1-coco.py"
# Config: status, reason, prefix, weights in scope by the protocol sheet (None: not known by hand).
EXPECTED = {
    # A student in the place of a detector; its teacher's config lies beside it.
    "mmdet::ld/ld_r18-gflv1-r101_fpn_1x_coco.py": ("works", "", "backbone.", RESNET18),
    SOFT_TEACHER: (
        "works", "", "student.backbone.", RESNET50,
    ),
    "mmdet::common/ms_3x_coco.py": ("piece", "", "", 0),
    "mmdet::cascade_rpn/cascade-rpn_r50-caffe_fpn_1x_coco.py": (
        "upstream", "RPN does not tell this head its number of classes", "", 0,
    ),
    "mmdet::misc/d2_retinanet_r50-caffe_fpn_ms-90k_coco.py": ("package", "detectron2", "", 0),
    "mmseg::fcn/fcn_r18-d8_4xb2-80k_cityscapes-512x1024.py": ("works", "", "backbone.", RESNET18),
    "mmseg::erfnet/erfnet_fcn_4xb4-160k_cityscapes-512x1024.py": (
        "works", "", "backbone.", None,
    ),
    "mmpretrain::arcface/resnet50-arcface_8xb32_inshop.py": (
        "works", "", "image_encoder.0.", RESNET50,
    ),
    "mmpretrain::resnet/resnet50_8xb32-cutmix_in1k.py": (
        "upstream", "it names an augmentation of an older release", "", 0,
    ),
}  # fmt: skip


def look(work_dir: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(SCRIPT), "--work-dir", str(work_dir), "--jobs", "1", *arguments],
        capture_output=True,
        text=True,
        cwd=work_dir.parent,
    )


def rows_of(work_dir: Path) -> dict[str, dict[str, str]]:
    with (work_dir / "coverage.csv").open(newline="") as file:
        return {row["config"]: row for row in csv.DictReader(file)}


def test_a_few_configs_of_each_library(tmp_path: Path) -> None:
    done = look(tmp_path / "work", "--only", *EXPECTED)
    assert done.returncode == 0, done.stderr
    assert "5 of 8 whole configs work; 9 looked at" in done.stdout
    rows = rows_of(tmp_path / "work")
    assert list(rows) == [order.config for order in choose(list(EXPECTED))]
    for config, (status, reason, prefix, weights) in EXPECTED.items():
        row = rows[config]
        assert (row["status"], row["reason"], row["prefix"]) == (status, reason, prefix), row
        if status != "works":
            assert row["kept"] == "0"
            continue
        total = int(row["weights"])
        assert total == (weights or total)
        assert int(row["kept"]) == total - round(0.8 * total)
        assert row["loaded"] == row["tensors"] != "0"
    teacher = rows[
        "mmdet::soft_teacher/soft-teacher_faster-rcnn_r50-caffe_fpn_180k_semi-0.1-coco.py"
    ]
    assert teacher["twins"] == "teacher.backbone."

    # What was looked at is not looked at again, but for a line that was cut short.
    report = (tmp_path / "work" / "coverage.md").read_text()
    file = tmp_path / "work" / "rows.jsonl"
    lines = file.read_text().splitlines()
    piece = next(line for line in lines if '"piece"' in line)
    file.write_text("\n".join([line for line in lines if line != piece] + [piece[:40]]) + "\n")
    again = look(tmp_path / "work", "--only", *EXPECTED)
    assert "1 looked at" in again.stdout
    assert (tmp_path / "work" / "coverage.md").read_text() == report
    assert rows_of(tmp_path / "work") == rows


@pytest.mark.parametrize(
    ("limit", "status", "reason"),
    [(("--timeout", "1"), "time", ""), (("--memory", "0.01"), "crash", "exit code 1")],
)
def test_a_process_that_hangs_or_dies_is_a_row(
    limit: Sequence[str], status: str, reason: str, tmp_path: Path
) -> None:
    config = "mmdet::fcos/fcos_r50-caffe_fpn_gn-head_1x_coco.py"
    done = look(tmp_path / "work", "--only", config, *limit)
    assert done.returncode == 0, done.stderr
    row = rows_of(tmp_path / "work")[config]
    assert (row["status"], row["reason"]) == (status, reason)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--only", "mmdet::fastest_rcnn"], "--only mmdet::fastest_rcnn stands for no config"),
        (["--jobs", "0"], "whole numbers from 1 on"),
        (["--memory", "-1"], "larger than 0"),
    ],
)
def test_a_wrong_command_line_is_one_line(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        code = main(arguments)
    except SystemExit as end:
        code = end.code
    assert code == 2
    error = capsys.readouterr().err
    assert said in error
    assert len(error.splitlines()) == 1


def test_every_config_of_the_three_wheels_is_looked_at() -> None:
    orders = choose([])
    counts = {name: sum(order.library == name for order in orders) for name in LIBRARIES}
    assert counts == {"mmdet": 823, "mmseg": 681, "mmpretrain": 538}
    assert not any("_base_" in order.path for order in orders)
    assert configs_of("mmdet")[1] == 869 - 823


def test_configs_are_chosen_by_library_folder_and_pattern() -> None:
    assert {order.library for order in choose(["mmseg"])} == {"mmseg"}
    assert {order.family for order in choose(["mmdet::fcos", "mmseg::pspnet"])} == {
        "fcos",
        "pspnet",
    }
    found = choose(["mmpretrain::*/deploy/*"])
    assert found
    assert all("/deploy/" in order.config for order in found)
    sample = choose([], 60)
    assert len(sample) == len(set(sample)) == 60
    assert {order.library for order in sample} == set(LIBRARIES)
    with pytest.raises(ConfigError, match="stands for no config"):
        choose(["mmdet::f"])


def raised(problem: Exception, cause: Exception | None = None) -> Exception:
    try:
        raise problem from cause
    except Exception as caught:
        return caught


@pytest.mark.parametrize(
    ("problem", "group", "reason"),
    [
        (raised(PieceError()), PIECE, ""),
        (raised(ScopeError("no conv/linear weight")), NO_WEIGHTS, ""),
        (raised(OSError("no tokenizer"), OfflineError()), DOWNLOAD, ""),
        (raised(ModuleNotFoundError("No module named 'ldm.util'")), PACKAGE, "ldm"),
        (raised(RuntimeError("please install it by: pip install lap")), PACKAGE, "lap"),
        (
            raised(ImportError('RAM requires extras, `pip install "mmpretrain[multimodal]"` or')),
            PACKAGE,
            "transformers",
        ),
        (raised(ImportError("Please install Detectron2 first")), PACKAGE, "detectron2"),
        (raised(AssertionError("To use VPD model, please install -r x.txt")), PACKAGE, "ldm"),
        (raised(RuntimeError("DefaultCPUAllocator: not enough memory")), MEMORY, ""),
        (raised(WrongError("zeros")), OURS, "WrongError: zeros"),
        (raised(TicketError("x"), ValueError("y")), OURS, "TicketError: x"),
        (raised(KeyError("what")), OURS, "KeyError: 'what'"),
    ],
)
def test_reasons_are_told_from_errors(problem: Exception, group: str, reason: str) -> None:
    found = explain("mmdet::x/y.py", problem)
    assert found[:2] == (group, reason)


def test_a_known_bug_is_upstreams_in_its_own_config_only() -> None:
    problem = raised(TypeError("CascadeRPNHead.__init__() missing 'num_classes'"))
    group, reason, note = explain("mmdet::cascade_rpn/a.py", problem)
    assert (group, reason) == (UPSTREAM, BUGS[1][2])
    assert "test_coverage.py:" in note
    assert explain("mmdet::faster_rcnn/a.py", problem)[0] == OURS


def test_the_report_counts_by_library_and_family() -> None:
    rows = [
        Row("mmdet::sort/a.py", version("mmdet"), model="SORT", prefix="backbone."),
        Row("mmdet::sort/b.py", version("mmdet"), PACKAGE, "lap"),
        Row("mmdet::sort/c.py", version("mmdet"), PIECE),
        Row("mmseg::fcn/a.py", version("mmseg"), model="Seg", prefix="image_encoder."),
    ]
    text = read_me(rows, "the command")
    lines = text.splitlines()
    assert "the command" in lines
    assert "| configs | 3 | 1 |" in lines
    assert "| **works** | 1 | 1 |" in lines
    assert "| mmdet | sort | 3 | 1 | 1 package (lap), 1 piece |" in lines
    assert "- **package**: lap (1): `mmdet::sort/b.py`" in lines
    assert "- `image_encoder.`: Seg (1)" in lines
    read = list(csv.DictReader(table(rows).splitlines()))
    assert [row["status"] for row in read] == ["works", "package", "piece", "works"]
    assert "seconds" not in read[0]


@pytest.mark.long
def test_sixty_configs_from_everywhere(tmp_path: Path) -> None:
    done = look(tmp_path / "work", "--sample", "60")
    assert done.returncode == 0, done.stderr
    rows = rows_of(tmp_path / "work").values()
    assert len(rows) == 60
    assert {row["status"] for row in rows} <= set(GROUPS) - {OURS, "crash", "time"}, json.dumps(
        [row for row in rows if row["status"] in (OURS, "crash", "time")]
    )
    assert sum(row["status"] == "works" for row in rows) >= 50
