"""Landscape runs: how differently models see the same pictures, and maps of that."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from brainviz.datasets.base import ROI_UNIONS
from brainviz.encoding.summaries import GROUPS
from brainviz.runs.classify import CLASSES, LABELS, read_probabilities
from brainviz.runs.context import Context
from brainviz.runs.spec_base import Spec
from brainviz.runs.specs import ClassificationSpec, LandscapeSpec
from brainviz.runs.store import write_array
from brainviz.runs.tables import none_if_nan, write_table

#: Files: the matrix in the order of the table of models, and that table.
DISSIMILARITY, MODELS = "dissimilarity.npy", "models.parquet"

#: The name of the model that knows every class.
ORACLE = "oracle"

#: Groups of ROIs that a model is counted to: the first that has its ROI.
MODEL_GROUPS = ("early", "bodies", "faces", "places", "words", *(name for name in GROUPS if name.endswith("stream")))

#: UMAP in three dimensions needs so many models.
MIN_MODELS = 5


def landscape(spec: LandscapeSpec, context: Context) -> dict[str, Any]:
    """Compute all models' dissimilarities and maps of them: InPCA, metric MDS and UMAP (methods, section 6).

    Writes ``dissimilarity`` (M, M), and ``models.parquet``: a row per model with what it is, its place in the
    clustered order, and its coordinates ``inpca_1 ...``, ``mds2_1 mds2_2 mds3_1 ...``, ``umap2_1 ...``. Models that are
    only placed come last, and have InPCA's alone.
    """
    from brainviz.analyses.landscape import bhattacharyya, cluster_order, inpca, mds, oracle, project, umap

    runs = [context.finished(model) for model in (*spec.models, *spec.placed)]
    described = [describe(run.spec, spec.readout, run.result()) for run in runs]
    P = [read_probabilities(run, spec.readout) for run in runs]
    # The spec makes sure that all were tested on the same pictures.
    labels = np.load(runs[0].file(LABELS))
    classes = json.loads(runs[0].file(CLASSES).read_text(encoding="utf-8"))
    if spec.with_oracle:
        described.insert(len(spec.models), {"model": ORACLE, "method": ORACLE, "run": "", "accuracy": 1.0})
        P.insert(len(spec.models), oracle(labels, len(classes)))
    context.progress("dissimilarities")(0, 1)
    every = bhattacharyya(P, device=context.device)
    write_array(context.path / DISSIMILARITY, every)

    n = len(every) - len(spec.placed)  # the models that shape the maps come first
    D = every[:n, :n]
    axes = inpca(D, min(spec.n_axes, n))
    maps = {"inpca": np.concatenate([axes.coordinates, project(axes, every[n:, :n])])}
    stress = {}
    for count in (2, 3):
        context.progress("MDS")(count, 3)
        found = {"mds": mds(D, count, spec.embedding_seed)}
        if n >= MIN_MODELS:
            context.progress("UMAP")(count, 3)
            found["umap"] = umap(
                D, count, n_neighbors=spec.n_neighbors, min_dist=spec.min_dist, seed=spec.embedding_seed
            )
        for name, embedding in found.items():
            stress[f"{name}_stress_{count}d"] = embedding.stress
            maps[f"{name}{count}"] = embedding.coordinates
    place = np.empty(len(every), np.int64)
    place[cluster_order(every) if len(every) > 2 else np.arange(len(every))] = np.arange(len(every))
    table = [
        {**one, "placed": row >= n, "clustered": int(place[row]), **_coordinates(maps, row)}
        for row, one in enumerate(described)
    ]
    write_table(context, MODELS, table)
    return {
        "n_models": n,
        "n_placed": len(spec.placed),
        "n_images": len(labels),
        "n_classes": len(classes),
        "eigenvalues": axes.eigenvalues.tolist(),
        "signs": axes.signs.tolist(),
        "stress": [none_if_nan(float(value)) for value in axes.stress],
        **stress,
        "tests": group_tests(D, table[:n], spec.embedding_seed),
    }


def _coordinates(maps: Mapping[str, NDArray[np.float64]], row: int) -> dict[str, float]:
    """Return a model's coordinates on every map; NaN on those that it was not placed on."""
    return {
        f"{name}_{k + 1}": float(found[row, k]) if row < len(found) else np.nan
        for name, found in maps.items()
        for k in range(found.shape[1])
    }


def describe(model: Spec, readout: str, result: dict[str, Any]) -> dict[str, Any]:
    """Return what a model is, for the table of models."""
    assert isinstance(model, ClassificationSpec)
    tuned = model.finetune
    return {
        "model": tuned.label if tuned else model.method,
        "subject": tuned.subject if tuned else "",
        "hemi": tuned.hemi if tuned else "",
        "roi": tuned.roi if tuned else "",
        "group": group_of(tuned.roi) if tuned else "",
        "method": model.method,
        "run": model.run_id,
        "finetune": tuned.run_id if tuned else "",
        "accuracy": result["by_readout"][readout]["accuracy"],
    }


def group_of(roi: str) -> str:
    """Return the group that a ROI, or a union of its parts such as V1, belongs to; ``"other"`` for none."""
    parts = ROI_UNIONS.get(roi, (roi,))
    return next((name for name in MODEL_GROUPS if set(parts) <= set(GROUPS[name])), "other")


def group_tests(D: NDArray[np.float64], table: list[dict[str, Any]], seed: int) -> list[dict[str, Any]]:
    """Test whether the tuned models of groups differ more than those within: by hemisphere, group, subject, method.

    Hemispheres are tested among the early ROIs too. Dissimilarities of InPCA are squared distances, so that their roots
    are handed over.
    """
    from brainviz.analyses.landscape import group_permutation_test, silhouette

    rows: list[dict[str, Any]] = []
    tuned = [row for row, one in enumerate(table) if one.get("roi")]
    early = [row for row in tuned if table[row]["group"] == "early"]
    for among, members, field in (
        ("all", tuned, "hemi"),
        ("early", early, "hemi"),
        ("all", tuned, "early"),
        ("all", tuned, "subject"),
        ("all", tuned, "method"),
    ):
        labels = [
            ("early" if table[row]["group"] == "early" else "other") if field == "early" else table[row][field]
            for row in members
        ]
        if len(set(labels)) < 2 or len(set(labels)) >= len(labels):
            continue
        distances = np.sqrt(D[np.ix_(members, members)])
        found = group_permutation_test(distances, labels, seed=seed)
        rows.append(
            {
                "among": among,
                "by": field,
                "n_models": len(members),
                "n_groups": len(set(labels)),
                "statistic": none_if_nan(float(found.statistic)),
                "p": found.p,
                "silhouette": silhouette(distances, labels),
            }
        )
    return rows
