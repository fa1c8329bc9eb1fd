"""Fixtures of the ui tests."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from brainviz.datasets import open_dataset
from brainviz.figures.style import Provenance
from brainviz.runs import preparation
from brainviz.ui.sources import Source


@pytest.fixture
def source(serve: Callable[..., None], tiny_root: Path) -> Source:
    """Return the tiny data set, read and named ``tiny``."""
    serve("tiny", tiny_root)
    report = preparation.report("tiny")
    assert report is not None
    assert report.index is not None
    return Source("tiny", open_dataset("tiny"), report.index, report)


@pytest.fixture
def provenance() -> Provenance:
    return Provenance("tiny", "subj01", ("V1",), "15% test pictures", "contrastive", ("ab" * 32, "cd" * 32))
