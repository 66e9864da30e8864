"""The command line ``lth``."""

from lth_core.cli.main import main

__all__ = ["main"]
