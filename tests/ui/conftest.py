"""Fixtures of the ui tests."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import streamlit as st

from brainviz.datasets import open_dataset
from brainviz.figures.style import Provenance
from brainviz.runs import preparation
from brainviz.runs.network_specs import EncodingSpec
from brainviz.runs.store import Run
from brainviz.ui.choices import Choice, choose
from brainviz.ui.sources import Source

#: Settings by method, with two layers.
NETWORK = {
    "network": "alexnet_compact",
    "weights": "demo",
    "image_size": 32,
    "layers": ("classifier.5", "classifier.6"),
}
SETTINGS = {"untuned": NETWORK, "contrastive": {**NETWORK, "epochs": 2}}


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


@pytest.fixture(autouse=True)
def nothing_remembered() -> None:
    """Fake runs of two tests may have one id."""
    st.cache_data.clear()


@pytest.fixture
def choose_runs(source: Source) -> Callable[..., Choice]:
    """Return a function that chooses encoding runs of untuned and contrastive."""

    def pick(*rois: str, subjects: tuple[str, ...] = ("subj01",), hemispheres: tuple[str, ...] = ("lh",)) -> Choice:
        return choose("encoding", source, subjects, hemispheres, rois, list(SETTINGS), SETTINGS)

    return pick


@pytest.fixture
def finish(source: Source, finish_encoding_run: Callable[..., Run]) -> Callable[..., list[Run]]:
    """Return a function that finishes the runs of a choice, r given by method; contrastive's best layer is the first.

    The second layer has 0.05 less of test r.
    """

    def write(choice: Choice, **r: Any) -> list[Run]:
        runs = []
        for method, spec in choice.asked:
            if method in r:
                assert isinstance(spec, EncodingSpec)
                ((hemi, roi),) = spec.areas
                first = np.broadcast_to(r[method], len(source.dataset.columns(spec.subject, hemi, roi))).astype(float)
                best = np.array([[0.4], [0.3]]) if method == "contrastive" else np.array([[0.3], [0.4]])
                runs.append(
                    finish_encoding_run(
                        spec, source.dataset, np.stack([first, first - 0.05]), np.broadcast_to(best, (2, len(first)))
                    )
                )
        return runs

    return write
