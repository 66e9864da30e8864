"""Every command and every piece of code on the site and in the README, run as they stand."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from . import left_behind as left
from . import stand_ins as has
from .blocks import Block, pages, read
from .session import Workshop, run_page, workshop

PAGES = pages()


@dataclass(frozen=True)
class Page:
    """What a page takes for granted.

    Attributes:
        files: Makes the files.
        long: Whether it takes long.
        check: Looks at what the page has left behind.
    """

    files: tuple[has.StandIn, ...] = ()
    long: bool = False
    check: has.StandIn | None = None


KNOWN = {
    "README.md": Page((has.moco, has.voc), check=left.readme),
    "docs/new-task.md": Page(
        (has.moco, has.birds, has.pets, has.fields, has.leaves), check=left.new_task
    ),
    "docs/detection.md": Page((has.tickets, has.voc, has.my_detector), long=True),
    "docs/config-keys.md": Page((has.a_level,)),
    "docs/imp-configs.md": Page(
        (has.weights, has.imagenet, has.cifar, has.simclr_chain), long=True
    ),
    "docs/how-to/adversarial-training.md": Page(long=True),
    "docs/how-to/compare.md": Page(long=True),
    "docs/how-to/controls.md": Page((has.moco, has.coco, has.my_ticket)),
    "docs/how-to/convert.md": Page((has.moco,)),
    "docs/how-to/evaluate-features.md": Page((has.weights, has.imagenet, has.voc07), long=True),
    "docs/how-to/faster-inference.md": Page(long=True),
    "docs/how-to/mm-tools.md": Page((has.moco, has.coco, has.my_detector), long=True),
    "docs/how-to/robustness.md": Page((has.corruptions,), long=True),
    "docs/how-to/two-of-four.md": Page((has.moco,)),
    "docs/how-to/report.md": Page(long=True),
    "docs/how-to/rewind.md": Page(long=True),
    "docs/how-to/speed.md": Page(long=True),
    "docs/how-to/cluster.md": Page(long=True),
    "docs/papers/b.md": Page((has.cifar,), long=True),
    "docs/papers/c.md": Page((has.robust, has.imagenet, has.cifar), long=True),
    "docs/tutorials/multi-node.md": Page((has.moco, has.coco, has.my_detector), long=True),
    "docs/tutorials/papers-masks.md": Page((has.paper_mask, has.birds), long=True),
    "docs/tutorials/your-config.md": Page((has.moco, has.coco, has.my_detector), long=True),
    "docs/segmentation.md": Page((has.tickets, has.voc_segmentation), long=True),
    "docs/transfer.md": Page((has.transfer_chains, has.cifar, has.flowers), long=True),
}


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workshop]:
    with workshop(tmp_path_factory.mktemp("shop")) as made:
        yield made


def _runnable(blocks: list[Block]) -> bool:
    return any(block.kind != "aside" for block in blocks)


def _cases() -> list:
    return [
        pytest.param(name, marks=[pytest.mark.long] if KNOWN.get(name, Page()).long else [])
        for name, path in PAGES.items()
        if _runnable(read(path))
    ]


@pytest.mark.parametrize("name", _cases())
def test_page(name: str, tmp_path: Path, shop: Workshop) -> None:
    page = KNOWN.get(name, Page())
    for make in page.files:
        make(tmp_path)
    run_page(read(PAGES[name]), tmp_path, shop)
    if page.check is not None:
        page.check(tmp_path)


def test_pages_that_are_known_are_there() -> None:
    assert set(KNOWN) <= set(PAGES)


def test_what_is_not_run_has_a_reason() -> None:
    asides = [block for path in PAGES.values() for block in read(path) if block.kind == "aside"]
    assert all(len(block.reason.split()) >= 3 for block in asides)
