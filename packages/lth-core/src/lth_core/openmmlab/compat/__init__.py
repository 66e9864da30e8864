"""Everything that has to be bridged between the OpenMMLab stack and today's torch and numpy.

One call, :func:`install`, when :mod:`lth_core.openmmlab` is imported; nothing elsewhere in lth
works around a library.
"""

from __future__ import annotations

import _lth_core_startup

from lth_core.openmmlab.compat import checkpoints, config_text, handover, imaging, mmcv_ext


def install() -> None:
    """Puts every bridge in place. Safe to call again."""
    mmcv_ext.install()
    _lth_core_startup.watch()  # where Python's start-up did not run it: from a bare source tree
    checkpoints.install()
    imaging.install()
    handover.install()
    config_text.install()
