#!/usr/bin/env python
"""Tests a checkpoint of an OpenMMLab config."""

import sys

from lth_core.openmmlab.launch import test_main

if __name__ == "__main__":
    sys.exit(test_main())
