"""Fixtures of the page tests: pages of the real app, opened by a link; finished runs that nobody computed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from streamlit.testing.v1 import AppTest

from brainviz.config import REPOSITORY
from brainviz.datasets import open_dataset
from brainviz.runs import preparation
from brainviz.runs.requests import make_spec
from brainviz.runs.specs import Spec
from brainviz.runs.store import Run

NETWORK = {"network": "alexnet_compact", "weights": "random", "image_size": 32}


@pytest.fixture(autouse=True)
def no_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing asked for in a page test is computed."""
    monkeypatch.setattr("brainviz.runs.queue.ensure_worker", lambda store=None: None)


@pytest.fixture
def visit() -> Callable[..., AppTest]:
    """Return a function that opens a page by a link, and fails if the page raises."""

    def open_page(page: str, **url: Any) -> AppTest:
        at = AppTest.from_file(str(REPOSITORY / "app.py"), default_timeout=60)
        if page != "data":
            at.switch_page(f"pages/{page}.py")
        for name, value in url.items():
            at.query_params[name] = value
        at.run()
        assert not at.exception, [error.message for error in at.exception]
        return at

    return open_page


@pytest.fixture
def spec_of() -> Callable[..., Spec]:
    """Return a function that makes the spec which a page makes for a data set that has been read."""

    def make(kind: str, name: str, method: str, hemi: str = "lh", roi: str = "V1", **values: Any) -> Spec:
        report = preparation.report(name)
        assert report is not None
        assert report.index is not None
        dataset = open_dataset(name)
        if kind == "encoding":
            values["layers"] = ("classifier.6",)
        subject = dataset.subjects[0]
        return make_spec(
            kind, dataset, report.index, subject=subject, hemi=hemi, roi=roi, method=method, **NETWORK, **values
        )

    return make


@pytest.fixture
def finish_encoding(spec_of: Callable[..., Spec], finish_run: Callable[..., Run]) -> Callable[..., list[Run]]:
    """Return a function that writes finished encoding runs of the first subject, one per method and hemisphere."""

    def finish(
        name: str, methods: Sequence[str], hemispheres: Sequence[str] = ("lh", "rh"), roi: str = "V1"
    ) -> list[Run]:
        dataset, runs = open_dataset(name), []
        subject = dataset.subjects[0]
        for hemi in hemispheres:
            columns = dataset.columns(subject, hemi, roi)
            positions = dataset.positions(subject, hemi)
            for number, method in enumerate(methods):
                r = np.linspace(0, 0.5, len(columns)) + 0.1 * number
                r[0] = np.nan
                scalars = {"layer": "classifier.6", "n_train": 34, "n_test": 6, "n_vertices": len(columns)}
                scalars |= {"nan_vertices": 1, "r_mean": float(np.nanmean(r)), "r_median": float(np.nanmedian(r))}
                scalars |= {"cv_r_mean": 0.2, "cv_r_median": 0.2}
                arrays = {"r": r, "columns": columns}
                if positions is not None:
                    arrays["positions"] = positions[columns]
                runs.append(finish_run(spec_of("encoding", name, method, hemi, roi), scalars, **arrays))
        return runs

    return finish


@pytest.fixture
def metrics() -> Callable[[AppTest], dict[str, str]]:
    """Return a function that reads a page's figures by their labels."""
    return lambda at: {metric.label: metric.value for metric in at.metric}
