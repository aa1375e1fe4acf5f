"""The HTML report: one file, no network, no script, light and dark.

The modules::

    runs        what a report is made of: scored runs, grouped by manifest and method; what became of each probe
    canvas      matplotlib drawings as SVG whose colours are the page's
    figures     bars, score histogram, ROC, DET
    confusion   who was taken for whom
    voicemap    the embeddings on a plane
    tables      metrics, overview, decisions, glossary
    sections    one manifest's part of the page
    page        the frame and the file
    enhancement  the training of an enhancer: its curves, and what it does to scores and distances

It knows nothing of how a run came about: whatever has the attributes of `ScoredRun` can be reported.
"""

from __future__ import annotations

from openkith.report.page import write_report
from openkith.report.runs import ScoredRun

__all__ = ["ScoredRun", "write_report"]
