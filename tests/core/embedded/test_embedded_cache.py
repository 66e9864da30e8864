import json
import multiprocessing
import os
import stat

import pytest
from lth_core.errors import LTHError
from lth_core.openmmlab import embedded
from lth_core.openmmlab.embedded.cache import cached, content_digest

SETTINGS = embedded.SceneSettings(train_images=3, test_images=2)


@pytest.fixture(autouse=True)
def data_root(tmp_path, monkeypatch):
    monkeypatch.setenv("LTH_DATA_ROOT", str(tmp_path / "data"))
    return tmp_path / "data"


def test_place_follows_the_environment(tmp_path, monkeypatch):
    assert embedded.data_root() == tmp_path / "data"
    monkeypatch.delenv("LTH_DATA_ROOT")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert embedded.data_root() == tmp_path / "xdg" / "lth"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert embedded.data_root() == tmp_path / "home" / ".cache" / "lth"


def test_same_seed_gives_the_same_bytes(tmp_path, monkeypatch):
    first = embedded.scenes_root(3, SETTINGS)
    monkeypatch.setenv("LTH_DATA_ROOT", str(tmp_path / "elsewhere"))
    second = embedded.scenes_root(3, SETTINGS)
    other = embedded.scenes_root(4, SETTINGS)
    assert first != second
    assert first.name == second.name != other.name
    assert content_digest(first) == content_digest(second) != content_digest(other)
    assert (first / "manifest.json").read_bytes() == (second / "manifest.json").read_bytes()


def test_manifest_tells_what_the_data_is():
    manifest = json.loads((embedded.scenes_root(3, SETTINGS) / "manifest.json").read_text())
    assert manifest["settings"]["seed"] == 3
    assert manifest["settings"]["train_images"] == 3
    assert manifest["settings"]["format"] >= 1
    assert len(manifest["sha256"]) == 64


def test_ready_data_is_not_made_again():
    root = embedded.scenes_root(0, SETTINGS)
    before = {path: path.stat().st_mtime_ns for path in root.rglob("*")}
    assert embedded.scenes_root(0, SETTINGS) == root
    assert {path: path.stat().st_mtime_ns for path in root.rglob("*")} == before


def flip_a_bit(root):
    path = root / "JPEGImages" / "train_00001.jpg"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def lose_a_file(root):
    (root / "Annotations" / "test_00000.xml").unlink()


def add_a_file(root):
    (root / "Annotations" / "train_99999.xml").write_text("<annotation/>")


def cut_the_manifest(root):
    (root / "manifest.json").write_text('{"settings"')


def lose_the_manifest(root):
    (root / "manifest.json").unlink()


@pytest.mark.parametrize(
    "damage", [flip_a_bit, lose_a_file, add_a_file, cut_the_manifest, lose_the_manifest]
)
def test_damaged_data_is_made_again(damage, data_root):
    root = embedded.scenes_root(0, SETTINGS)
    digest = content_digest(root)
    damage(root)
    assert embedded.scenes_root(0, SETTINGS) == root
    assert content_digest(root) == digest
    assert [path.name for path in data_root.iterdir() if path.is_dir()] == [root.name]


def test_a_failed_build_leaves_nothing_behind(data_root):
    def fail(folder):
        (folder / "half").write_text("written")
        raise RuntimeError("stopped")

    with pytest.raises(RuntimeError, match="stopped"):
        cached("thing", {"a": 1}, fail)
    assert [path for path in data_root.iterdir() if path.is_dir()] == []


def die_half_way(folder):
    (folder / "half").write_text("written")
    os._exit(9)


def test_a_killed_build_is_cleared_away_and_does_not_block(data_root):
    context = multiprocessing.get_context("fork")
    process = context.Process(target=cached, args=("thing", {"a": 1}, die_half_way))
    process.start()
    process.join()
    assert process.exitcode == 9
    left_behind = [path for path in data_root.iterdir() if path.is_dir()]
    assert len(left_behind) == 1
    root = cached("thing", {"a": 1}, lambda folder: (folder / "x").write_text("whole"))
    assert [path for path in data_root.iterdir() if path.is_dir()] == [root]
    assert not (root / "half").exists()


def count_and_build(folder):
    with open(os.environ["LTH_DATA_ROOT"] + "-count", "a") as file:
        file.write("x")
    (folder / "x").write_text("whole")


def ask(barrier):
    barrier.wait()
    assert (cached("thing", {"a": [1, 2]}, count_and_build) / "x").read_text() == "whole"


def test_processes_that_ask_together_make_it_once(data_root):
    context = multiprocessing.get_context("fork")
    barrier = context.Barrier(4)
    processes = [context.Process(target=ask, args=(barrier,)) for _ in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * 4
    assert (data_root.parent / "data-count").read_text() == "x"


def test_others_may_read_what_was_made():
    root = embedded.scenes_root(0, SETTINGS)
    assert stat.S_IMODE(root.stat().st_mode) & 0o055 == 0o055


def test_unwritable_place_is_one_clear_error(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("LTH_DATA_ROOT", str(tmp_path / "file"))
    with pytest.raises(LTHError, match=r"cannot write .* into .*file .*LTH_DATA_ROOT") as caught:
        embedded.scenes_root(0, SETTINGS)
    assert "\n" not in str(caught.value)
