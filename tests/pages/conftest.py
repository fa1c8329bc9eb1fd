"""Fixtures of the page tests: pages of the real app, opened by a link; finished runs that nobody computed."""

from __future__ import annotations

import json
from base64 import b64decode
from collections.abc import Callable, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest

from brainviz.config import REPOSITORY
from brainviz.datasets import open_dataset
from brainviz.runs import preparation
from brainviz.runs.requests import lay_out, make_spec
from brainviz.runs.spec_base import Spec
from brainviz.runs.specs import LateralizationSpec
from brainviz.runs.store import Run

NETWORK = {"network": "alexnet_compact", "weights": "demo", "image_size": 32}

#: By how much more a method's r is than that of untuned, in fake runs.
ADVANTAGE = {"random": -0.1, "untuned": 0.0, "regression": 0.05, "contrastive": 0.1}


@pytest.fixture(autouse=True)
def no_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing asked for in a page test is computed."""
    monkeypatch.setattr("brainviz.runs.queue.ensure_worker", lambda store=None: None)


@pytest.fixture(autouse=True)
def nothing_remembered() -> None:
    """Fake runs of two tests may have one id, which the app would take for the same results."""
    st.cache_data.clear()


@pytest.fixture
def visit() -> Callable[..., AppTest]:
    """Return a function that opens a page by a link, and fails if the page raises."""

    def open_page(page: str, /, **url: Any) -> AppTest:
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

    def make(
        kind: str, name: str, method: str, hemi: str = "lh", roi: str = "V1", subject: str = "", **values: Any
    ) -> Spec:
        report = preparation.report(name)
        assert report is not None
        assert report.index is not None
        dataset = open_dataset(name)
        values = NETWORK | values
        if method == "random":
            del values["weights"]
        subject = subject or dataset.subjects[0]
        return make_spec(kind, dataset, report.index, subject=subject, hemi=hemi, roi=roi, method=method, **values)

    return make


@pytest.fixture
def finish_encoding(spec_of: Callable[..., Spec], finish_encoding_run: Callable[..., Run]) -> Callable[..., list[Run]]:
    """Return a function that writes finished encoding runs, one per subject, hemisphere, ROI and method.

    r rises evenly from 0 to 0.5 over the vertices, of which the first is undefined, plus the method's `ADVANTAGE`; each
    further layer has 0.02 less on test pictures, and is the best by cross-validation if its number is that of the
    method among those asked for.
    """

    def finish(
        name: str,
        methods: Sequence[str],
        hemispheres: Sequence[str] = ("lh", "rh"),
        rois: Sequence[str] = ("V1",),
        subjects: Sequence[str] = (),
        layers: Sequence[str] = ("classifier.6",),
        better: float = 0.0,
    ) -> list[Run]:
        dataset, runs = open_dataset(name), []
        for place, subject in enumerate(subjects or dataset.subjects[:1]):
            for hemi, roi, (number, method) in product(hemispheres, rois, enumerate(methods)):
                r = np.linspace(0, 0.5, len(dataset.columns(subject, hemi, roi))) + ADVANTAGE[method]
                r = np.stack([r - 0.02 * layer for layer in range(len(layers))])
                # So that subjects differ in their differences.
                r += better * place if method == "contrastive" else 0.0
                r[:, 0] = np.nan
                cv_r = r + 0.3 * (np.arange(len(layers)) == number)[:, None]
                spec = spec_of("encoding", name, method, hemi, roi, subject, layers=tuple(layers))
                runs.append(finish_encoding_run(spec, dataset, r, cv_r))
        return runs

    return finish


@pytest.fixture
def metrics() -> Callable[[AppTest], dict[str, str]]:
    """Return a function that reads a page's figures by their labels."""
    return lambda at: {metric.label: metric.value for metric in at.metric}


@pytest.fixture
def animals(serve: Callable[..., None], serve_task: Callable[..., None], tiny_root: Path, tiny_task_root: Path) -> None:
    """Serve the tiny data set and the tiny classification task, both read, as ``tiny`` and ``animals``."""
    serve("tiny", tiny_root)
    serve_task("animals", tiny_task_root)


@pytest.fixture
def finish_classification(
    spec_of: Callable[..., Spec], finish_classification_run: Callable[..., Run]
) -> Callable[[Mapping[str, Any]], dict[str, Run]]:
    """Return a function that writes finished classification runs of the task ``animals``.

    It takes what each model gets right, by the name that pages give it (``"untuned"``, ``"subj01 lh V1 contrastive"``):
    as `finish_classification_run`, a tuple where readouts differ.
    """

    def finish(right: Mapping[str, Any]) -> dict[str, Run]:
        runs = {}
        for model, gets in right.items():
            *where, method = model.split()
            place = dict(zip(("subject", "hemi", "roi"), where, strict=False))
            spec = spec_of("classification", "tiny", method, task="animals", **place)
            runs[model] = finish_classification_run(spec, *(gets if isinstance(gets, tuple) else (gets,)))
        return runs

    return finish


@pytest.fixture
def finish_lateralization(
    spec_of: Callable[..., Spec],
    finish_lateralization_run: Callable[..., Run],
    finish_classification_run: Callable[..., Run],
) -> Callable[..., dict[str, Run]]:
    """Return a function that writes finished lateralization runs from their pictures' indices, by model.

    Models have the names that pages give them (``"subj01 lh V1 contrastive"``; a control that belongs to no ROI
    ``"untuned"``). Options are the requests' settings, such as the target; ``rows`` is as in
    `finish_lateralization_run`. The classifiers that runs about classes build on are finished too.
    """

    def finish(indices: Mapping[str, Any], rows: Any = None, **settings: Any) -> dict[str, Run]:
        runs = {}
        for model, index in indices.items():
            *where, method = model.split()
            place = dict(zip(("subject", "hemi", "roi"), where, strict=False))
            spec = spec_of("lateralization", "tiny", method, **place, **settings)
            assert isinstance(spec, LateralizationSpec)
            if spec.classification is not None:
                finish_classification_run(spec.classification, 8)
            runs[model] = finish_lateralization_run(spec, index, rows=rows)
        return runs

    return finish


@pytest.fixture
def finish_landscape(finish_landscape_run: Callable[..., Run]) -> Callable[..., Run]:
    """Return a function that computes the landscape of finished classification runs, UMAP planted unless wanted."""

    def finish(
        runs: Mapping[str, Run], readout: str = "classifier.6", *, placed: Sequence[Run] = (), umap: bool = False
    ) -> Run:
        models, afterwards = [run.spec for run in runs.values()], [run.spec for run in placed]
        return finish_landscape_run(lay_out(models, afterwards, readout=readout), umap=umap)

    return finish


@pytest.fixture
def charts() -> Callable[[AppTest], list[dict[str, Any]]]:
    """Return a function that reads a page's plotly figures as the browser gets them, arrays as arrays."""

    def plain(value: Any) -> Any:
        if isinstance(value, dict) and "bdata" in value:
            array = np.frombuffer(b64decode(value["bdata"]), value["dtype"])
            return array.reshape([int(n) for n in str(value["shape"]).split(",")]) if "shape" in value else array
        if isinstance(value, dict):
            return {name: plain(each) for name, each in value.items()}
        return [plain(each) for each in value] if isinstance(value, list) else value

    return lambda at: [plain(json.loads(chart.proto.spec)) for chart in at.get("plotly_chart")]


@pytest.fixture
def offered(monkeypatch: pytest.MonkeyPatch) -> dict[str, Callable[[], Any]]:
    """Return what the page offers for download, by the names of files: a click would call it."""
    files: dict[str, Callable[[], Any]] = {}
    draw = st.download_button

    def noted(label: str, content: Callable[[], Any], file_name: str, *rest: Any, **options: Any) -> bool:
        files[file_name] = content
        return draw(label, content, file_name, *rest, **options)

    monkeypatch.setattr(st, "download_button", noted)
    return files
