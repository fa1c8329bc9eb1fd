"""A finished landscape as a table: coordinates, r and links of its models."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import numpy as np
import pandas as pd
import pytest

from brainviz.figures.style import Provenance
from brainviz.runs.network_specs import EncodingSpec
from brainviz.runs.requests import lay_out
from brainviz.runs.store import Run
from brainviz.ui.choices import choose
from brainviz.ui.laid_out import LaidOut
from brainviz.ui.sources import Source

NETWORK = {"network": "alexnet_compact", "weights": "demo", "image_size": 32}
METHODS = ["untuned", "regression", "contrastive"]
LEFT = "subj01 lh V1 contrastive"


@pytest.fixture
def lay(
    source: Source,
    serve_task: Callable[..., None],
    tiny_task_root: Path,
    finish_classification_run: Callable[..., Run],
    finish_landscape_run: Callable[..., Run],
    finish_encoding_run: Callable[..., Run],
    provenance: Provenance,
) -> Callable[..., LaidOut]:
    """Return a function that lays out the models of some hemispheres, with r planted by method."""
    serve_task("animals", tiny_task_root)

    def make(
        *hemispheres: str,
        r: dict[str, float] | None = None,
        placed: str = "",
        tuning: dict[str, dict[str, int]] | None = None,
        **settings: Any,
    ) -> LaidOut:
        own = tuning or {}
        classifying = {method: NETWORK | {"task": "animals"} | own.get(method, {}) for method in METHODS}
        chosen = choose("classification", source, ["subj01"], hemispheres, ["V1"], METHODS, classifying)
        for number, spec in enumerate(chosen.specs):
            finish_classification_run(spec, range(number, number + 7))
        models = [spec for spec in chosen.specs if spec.method != placed]
        afterwards = [spec for spec in chosen.specs if spec.method == placed]
        run = finish_landscape_run(lay_out(models, afterwards, readout="classifier.6", **settings))
        encoding = dict.fromkeys(METHODS, NETWORK | {"layers": ("classifier.6",)})
        encodings = choose("encoding", source, ["subj01"], hemispheres, ["V1"], METHODS, encoding)
        for method, spec in encodings.asked:
            if method in (r or {}):
                assert isinstance(spec, EncodingSpec)
                finish_encoding_run(spec, source.dataset, np.full((1, 58), r[method]))
        return LaidOut(source, run, encodings, provenance)

    return make


def test_models_have_their_r(lay: Callable[..., LaidOut]) -> None:
    table = lay("lh", "rh", r={"untuned": 0.2, "contrastive": 0.4}).models.set_index("model")
    tuned = table[table["roi"] != ""]
    assert len(table) == 6
    np.testing.assert_allclose(tuned.loc[tuned["method"] == "contrastive", "r"].astype(float), [0.4, 0.4], rtol=1e-6)
    assert tuned.loc[tuned["method"] == "regression", "r"].isna().all()
    # Untuned predicts every ROI, each with its own r.
    assert table.loc[["untuned", "oracle"], "r"].isna().all()


def test_coordinates_are_the_runs(lay: Callable[..., LaidOut]) -> None:
    shown = lay("lh", "rh")
    written = pd.read_parquet(shown.run.file("models.parquet"))
    columns = [
        *shown.columns("InPCA", 3),
        *shown.columns("MDS", 2),
        *shown.columns("MDS", 3),
        *shown.columns("UMAP", 2),
    ]
    assert columns == [
        *("inpca_1", "inpca_2", "inpca_3", "mds2_1", "mds2_2", "mds3_1", "mds3_2", "mds3_3", "umap2_1", "umap2_2")
    ]
    pd.testing.assert_frame_equal(shown.models[columns], written[columns])
    assert all(shown.has(name, count) for name in ("InPCA", "MDS", "UMAP") for count in (2, 3))
    assert shown.stem == "tiny_animals_landscape"


def test_few_models_have_no_umap(lay: Callable[..., LaidOut]) -> None:
    shown = lay("lh", with_oracle=False)
    assert len(shown.models) == 3
    assert shown.has("InPCA", 3)
    assert shown.has("MDS", 3)
    assert not shown.has("UMAP", 2)


def test_axes_say_their_sign(lay: Callable[..., LaidOut], monkeypatch: pytest.MonkeyPatch) -> None:
    shown = lay("lh")
    monkeypatch.setattr(Run, "result", lambda run: {"signs": [1.0, -1.0, 1.0]})
    assert shown.axes("InPCA", 3) == [
        "InPCA 1 (+)",
        "InPCA 2 (−, imaginary: distances count negatively)",
        "InPCA 3 (+)",
    ]
    assert shown.axes("MDS", 2) == ["MDS 1", "MDS 2"]


def test_order_and_matrix(lay: Callable[..., LaidOut]) -> None:
    shown = lay("lh", "rh")
    D, order = shown.dissimilarity, shown.order
    assert sorted(order) == list(range(6))
    np.testing.assert_array_equal(shown.models["clustered"].to_numpy()[order], np.arange(6))
    assert D.shape == (6, 6)
    assert (D == D.T).all()
    # The colours end at the most different two networks; the oracle is further.
    networks = [row for row, model in enumerate(shown.models["model"]) if model != "oracle"]
    assert shown.highest == max(D[one, other] for one in networks for other in networks)
    assert shown.highest < D.max()


def test_the_whole_scale_without_an_oracle(lay: Callable[..., LaidOut]) -> None:
    assert lay("lh", with_oracle=False).highest is None


def test_links_say_how_a_model_was_tuned(lay: Callable[..., LaidOut]) -> None:
    table = lay("lh", tuning={"contrastive": {"epochs": 7}, "regression": {"epochs": 3}}).models.set_index("model")
    for method, key in (("contrastive", "epochs"), ("regression", "regression_epochs")):
        for column, page in (("map", "encoding"), ("settings", "finetune")):
            found, _, query = table.loc[f"subj01 lh V1 {method}", column].partition("?")
            asked = parse_qs(query)
            assert found == page
            assert [asked[name] for name in ("dataset", "subjects", "hemi", "roi")] == [
                ["tiny"],
                ["subj01"],
                ["lh"],
                ["V1"],
            ]
            assert asked[key] == [{"contrastive": "7", "regression": "3"}[method]]
            assert asked.get("methods" if page == "encoding" else "tuning") == (
                ["untuned", method] if page == "encoding" else [method]
            )
    assert set(table.loc[["untuned", "oracle"], ["map", "settings"]].to_numpy().ravel()) == {""}


def test_placed_models_are_marked_and_keep_their_r(lay: Callable[..., LaidOut]) -> None:
    table = lay("lh", placed="contrastive", r={"contrastive": 0.4}).models.set_index("model")
    assert [name for name in table.index if "(placed)" in name] == [f"{LEFT} (placed)"]
    np.testing.assert_allclose(float(table.loc[f"{LEFT} (placed)", "r"]), 0.4, rtol=1e-6)
