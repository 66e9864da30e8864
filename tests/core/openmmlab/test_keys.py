"""Keys that packages bring: found in their metadata, applied, checked, part of the digest."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from lth_core.errors import ConfigError
from lth_core.openmmlab import LTHRunner, keys
from lth_core.openmmlab.naming import comparison_digest
from lth_core.ticket import Ticket
from mmengine.runner import Runner

from .toy import toy_config

PACKAGE = """
from lth_core.errors import ConfigError

def apply(cfg):
    if "wide" not in cfg.flavour:
        raise ConfigError("flavour needs the field 'wide'")
    cfg.model.width = cfg.flavour.wide
"""

POINTS = "[lth_core.config_keys]\nflavour = flavoured:apply\n"


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An installed package that brings the key ``flavour``."""
    (tmp_path / "flavoured.py").write_text(PACKAGE)
    metadata = tmp_path / "flavoured-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: flavoured\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(
        "[lth_core.config_keys]\nflavour = flavoured:apply\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    keys._installed.cache_clear()
    yield
    keys._installed.cache_clear()
    sys.modules.pop("flavoured", None)


@pytest.mark.usefixtures("package")
@pytest.mark.parametrize("kind", [Runner, LTHRunner])
def test_a_packages_key_is_applied_also_from_mmengines_runner(
    kind: type[Runner], tmp_path: Path
) -> None:
    cfg = toy_config(tmp_path / "run", flavour={"wide": 12})
    runner = kind.from_cfg(cfg)
    assert type(runner) is LTHRunner
    assert runner.model.backbone.conv1.out_channels == 12
    assert "width" not in cfg.model, "the config given is not changed"


@pytest.mark.usefixtures("package")
def test_it_is_applied_at_every_level_of_a_chain(tmp_path: Path) -> None:
    imp = {"rounds": 1, "rewind": "init"}
    cfg = toy_config(tmp_path / "run", epochs=1, flavour={"wide": 12}, imp=imp)
    LTHRunner.from_cfg(cfg).train()
    masks = Ticket.load(tmp_path / "run/level_01/ticket.safetensors").masks
    assert masks["conv2.weight"].shape == (12, 12, 3, 3)
    with pytest.raises(ConfigError, match=r"flavour needs the field 'wide'"):
        LTHRunner.from_cfg(toy_config(tmp_path / "other", flavour={}, imp=imp))


@pytest.mark.usefixtures("package")
def test_it_is_imported_only_where_it_is_used(tmp_path: Path) -> None:
    LTHRunner.from_cfg(toy_config(tmp_path / "run"))
    assert "flavoured" not in sys.modules


@pytest.mark.usefixtures("package")
def test_misspelt_it_is_refused(tmp_path: Path) -> None:
    cfg = toy_config(tmp_path / "run", flavor={"wide": 12})
    with pytest.raises(ConfigError, match=r"has a key 'flavor'; did you mean 'flavour'\?"):
        LTHRunner.from_cfg(cfg)


@pytest.mark.usefixtures("package")
def test_trainings_that_differ_in_it_are_told_apart(tmp_path: Path) -> None:
    digests = [
        comparison_digest(toy_config(tmp_path, **key))
        for key in ({}, {"flavour": {"wide": 12}}, {"flavour": {"wide": 16}})
    ]
    assert len(set(digests)) == 3


def test_a_ticket_is_not_passed_over_by_mmengines_runner(tmp_path: Path, ticket: Path) -> None:
    runner = Runner.from_cfg(toy_config(tmp_path / "run", ticket={"path": str(ticket)}))
    assert type(runner) is LTHRunner
    assert type(Runner.from_cfg(toy_config(tmp_path / "plain"))) is Runner
