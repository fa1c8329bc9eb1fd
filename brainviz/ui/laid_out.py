"""A finished landscape as a table: every model with its coordinates, accuracy and r, and links to its pages."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from urllib.parse import urlencode

import numpy as np
import pandas as pd
import streamlit as st
from numpy.typing import NDArray

from brainviz.figures.style import Provenance
from brainviz.runs.fields import field_table
from brainviz.runs.landscape import DISSIMILARITY, MODELS, ORACLE
from brainviz.runs.network_specs import UNTUNED, FinetuneSpec
from brainviz.runs.specs import LandscapeSpec
from brainviz.runs.store import Run, Store
from brainviz.ui.choices import Choice
from brainviz.ui.comparison import How, finished, roi_table, rows_at
from brainviz.ui.settings import tuning_settings, url_key
from brainviz.ui.sources import Source

#: Name of an embedding on the page -> beginning of its columns; those of MDS and UMAP depend on the dimensions.
EMBEDDINGS = {"InPCA": "inpca", "MDS": "mds", "UMAP": "umap"}


@dataclass(frozen=True)
class LaidOut:
    """The landscape on the page.

    Attributes
    ----------
    source : Source
    run : Run
        Finished.
    encodings : Choice
        Encoding runs of the same networks, for their r.
    provenance : Provenance
    """

    source: Source
    run: Run
    encodings: Choice
    provenance: Provenance

    @cached_property
    def models(self) -> pd.DataFrame:
        """One row per model, with ``r`` (NaN where it is not known) and the addresses of its pages."""
        table = _models(self.run.id, self.run)
        table = table.merge(_known_r(self.encodings), on=["subject", "hemi", "roi", "method"], how="left")
        table.loc[table["placed"], "model"] += " (placed)"
        about = list(zip(table["run"].astype(str), table["method"].astype(str), strict=True))
        table["map"] = [
            self._link("encoding", run, methods=(UNTUNED, method), show="Map", map=method) for run, method in about
        ]
        table["settings"] = [self._link("finetune", run, tuning=method) for run, method in about]
        return table

    @cached_property
    def dissimilarity(self) -> NDArray[np.float64]:
        """The matrix, in the order of the models, nats."""
        found: NDArray[np.float64] = np.load(self.run.file(DISSIMILARITY))
        return found

    @cached_property
    def order(self) -> NDArray[np.int64]:
        """The models in the order that clustering gives."""
        return np.argsort(self.models["clustered"].to_numpy())

    @property
    def highest(self) -> float | None:
        """The largest dissimilarity of two networks, where the oracle, far from all, would take most of a scale."""
        networks = (self.models["method"] != ORACLE).to_numpy()
        return None if networks.all() else float(self.dissimilarity[np.ix_(networks, networks)].max())

    @property
    def stem(self) -> str:
        """Of file names."""
        spec = self.run.spec
        assert isinstance(spec, LandscapeSpec)
        return f"{self.source.key}_{spec.models[0].task}_landscape"

    def has(self, embedding: str, dimensions: int) -> bool:
        """Return whether there is such a map: UMAP needs some models."""
        return self.columns(embedding, dimensions)[-1] in self.models

    def columns(self, embedding: str, dimensions: int) -> list[str]:
        """Return the columns of an embedding's coordinates."""
        name = EMBEDDINGS[embedding]
        first = name if embedding == "InPCA" else f"{name}{dimensions}"
        return [f"{first}_{k + 1}" for k in range(dimensions)]

    def axes(self, embedding: str, dimensions: int) -> list[str]:
        """Return the titles of the axes; InPCA's say the eigenvalue's sign."""
        if embedding != "InPCA":
            return [f"{embedding} {k + 1}" for k in range(dimensions)]
        signs = self.run.result()["signs"]
        return [
            f"InPCA {k + 1} ({'+' if signs[k] >= 0 else '−, imaginary: distances count negatively'})"
            for k in range(dimensions)
        ]

    @cached_property
    def _tuned(self) -> dict[str, FinetuneSpec]:
        """How the tuned models were tuned, by the run of their classification."""
        spec = self.run.spec
        assert isinstance(spec, LandscapeSpec)
        models = (*spec.models, *spec.placed)
        return {model.run_id: model.finetune for model in models if model.finetune is not None}

    def _link(self, page: str, run: str, **query: str | tuple[str, ...]) -> str:
        """Return the address of a page about a tuned model, with all settings of its tuning; empty for others."""
        if (tuned := self._tuned.get(run)) is None:
            return ""
        per_method = tuning_settings()
        settings = {
            url_key(field.name, tuned.method) if field.name in per_method else field.name: getattr(tuned, field.name)
            for field in field_table("finetune")
            if field.name != "method" and tuned.method in field.methods
        }
        place = {"subjects": tuned.subject, "hemi": tuned.hemi, "roi": tuned.roi}
        # As Streamlit writes truth into addresses.
        known = {name: str(value).lower() if isinstance(value, bool) else value for name, value in settings.items()}
        if known["weights"] == "file":  # whose name is not known
            known.pop("weights")
        return f"{page}?{urlencode({'dataset': self.source.key, **place, **query, **known}, doseq=True)}"


@st.cache_data(show_spinner=False, max_entries=16)
def _models(run_id: str, _run: Run) -> pd.DataFrame:
    table = pd.read_parquet(_run.file(MODELS))
    words = ["subject", "hemi", "roi", "group", "finetune"]
    return table.assign(**{name: table[name].fillna("") for name in words if name in table})


def _known_r(encodings: Choice) -> pd.DataFrame:
    """Return the mean test r of every network that was encoded, on its own ROI, at its own best layer."""
    columns = ["subject", "hemi", "roi", "method", "r"]
    runs = finished(encodings, Store())
    if not runs:
        return pd.DataFrame(columns=columns)
    rows = rows_at(roi_table(runs), How())
    return rows.loc[rows["part_of"] == "", columns]
