"""mmengine's own tools build mmengine's runner, which passes over lth's keys in silence.

A config that has one is handed over to lth's runner. So a base file with such a key needs no
``runner_type``, which two base files of one config could not both have.
"""

from __future__ import annotations

from typing import Any

from mmengine.runner import Runner


def install() -> None:
    """Has ``Runner.from_cfg`` look for lth's keys. Safe to call again."""
    elsewhere = Runner.from_cfg.__func__
    if elsewhere.__module__ == __name__:
        return

    def from_cfg(cls: type[Runner], cfg: Any) -> Any:
        from lth_core.openmmlab.keys import known_keys
        from lth_core.openmmlab.runner import LTHRunner

        if cls is Runner and any(cfg.get(key) is not None for key in known_keys()):
            return LTHRunner.from_cfg(cfg)
        return elsewhere(cls, cfg)

    Runner.from_cfg = classmethod(from_cfg)
