"""lth inside OpenMMLab: the config keys ``ticket`` and ``imp``, hooks, runner, command lines."""

from lth_core.openmmlab import compat

compat.install()

from lth_core.openmmlab.bfloat16 import BFloat16OptimWrapper  # noqa: E402  (bridges come first)
from lth_core.openmmlab.chain import IMPChain  # noqa: E402
from lth_core.openmmlab.hooks import ChannelsLastHook, MaskHook, TicketHook  # noqa: E402
from lth_core.openmmlab.levels import LevelHook  # noqa: E402
from lth_core.openmmlab.pretrained import PretrainedBackbone  # noqa: E402
from lth_core.openmmlab.runner import LTHRunner  # noqa: E402

__all__ = [
    "BFloat16OptimWrapper",
    "ChannelsLastHook",
    "IMPChain",
    "LTHRunner",
    "LevelHook",
    "MaskHook",
    "PretrainedBackbone",
    "TicketHook",
]
