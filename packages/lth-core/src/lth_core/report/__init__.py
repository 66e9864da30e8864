"""What directories of runs hold, as one page: ``lth report``.

A page is a list of sections (:mod:`lth_core.report.section`), made from what was found
(:mod:`lth_core.report.material`) by the builders that :mod:`lth_core.report.pipeline` lists, and
written as one HTML file by :mod:`lth_core.report.page`. To add to it, write a builder, a function
from a :class:`~lth_core.report.material.Material` to sections, and name it in the pipeline.
"""
