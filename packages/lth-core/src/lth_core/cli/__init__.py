"""The command line ``lth``."""

from lth_core.cli.main import main, tool

__all__ = ["main", "tool"]
