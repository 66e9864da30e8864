#!/usr/bin/env python
"""Tests a checkpoint of an OpenMMLab config."""

import sys

from lth_core.cli import tool

if __name__ == "__main__":
    sys.exit(tool("test"))
