"""Downloads, each with its provenance inside: tables as CSV, maps as GIFTI, figures as HTML, requests as JSON."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import streamlit as st

from brainviz.datasets.base import HEMISPHERE_NAMES, MESH_VERTICES
from brainviz.figures.style import PLOTLY_CONFIG, Provenance
from brainviz.runs.spec_base import Spec
from brainviz.ui.map_picture import MapPicture

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go


def csv_text(frame: pd.DataFrame, provenance: Provenance) -> str:
    """Return a table as CSV under lines that begin with ``#`` and say where it comes from.

    ``pandas.read_csv(file, comment="#")`` reads it.
    """
    header = "".join(f"# {name}: {_words(value)}\n" for name, value in provenance.fields().items())
    return header + frame.to_csv(index=False)


def _words(value: Any) -> str:
    return " ".join(value) if isinstance(value, tuple) else str(value)


def gifti_bytes(values: pd.DataFrame, hemi: str, mesh: str, label: str, provenance: Provenance) -> bytes:
    """Return one hemisphere's map as a GIFTI file.

    Parameters
    ----------
    values : frame
        Columns ``hemi``, ``position``, ``value``.
    hemi : str
    mesh : str
        A key of `MESH_VERTICES`; the map has one value for each of its vertices, NaN where there are no data.
    label : str
        Name of the map.
    provenance : Provenance
        Written into the metadata.
    """
    import nibabel

    rows = values[values["hemi"] == hemi]
    full = np.full(MESH_VERTICES[mesh], np.nan, np.float32)
    full[rows["position"]] = rows["value"]
    structure = "CortexLeft" if hemi == "lh" else "CortexRight"
    facts = {"AnatomicalStructurePrimary": structure, "mesh": mesh, "Name": label}
    facts |= {name: _words(value) for name, value in provenance.fields().items()}
    array = nibabel.gifti.GiftiDataArray(
        full, intent="NIFTI_INTENT_NONE", datatype="NIFTI_TYPE_FLOAT32", meta={"Name": label}
    )
    image = nibabel.gifti.GiftiImage(darrays=[array], meta=nibabel.gifti.GiftiMetaData(facts))
    return bytes(image.to_bytes())


def html_text(figure: go.Figure) -> str:
    """Return a figure as one HTML file that needs no network; it offers no upload to plotly's cloud."""
    return str(figure.to_html(include_plotlyjs=True, full_html=True, config=PLOTLY_CONFIG))


def json_text(specs: Iterable[Spec], provenance: Provenance) -> str:
    """Return what was asked for, exactly, with the provenance."""
    return json.dumps(
        {"provenance": provenance.fields(), "specs": [spec.model_dump(mode="json") for spec in specs]}, indent=1
    )


def download(
    label: str, content: Callable[[], str | bytes], file_name: str, *, key: str, help: str | None = None
) -> None:
    """Draw a download button; the content is made when it is clicked."""
    st.download_button(
        label, content, file_name, _mime(file_name), key=key, icon=":material/download:", on_click="ignore", help=help
    )


def _mime(file_name: str) -> str:
    types = {"csv": "text/csv", "json": "application/json", "html": "text/html"}
    types |= {"png": "image/png", "svg": "image/svg+xml", "pdf": "application/pdf"}
    return types.get(file_name.rsplit(".", 1)[-1], "application/octet-stream")


WHOLE = "One file that can be opened anywhere. For a PNG, use the camera above the picture."
TURNED = "One file, to turn in any browser: what the picture shows, on fsaverage5, with its controls."
PRINT_FORMATS: tuple[Literal["png", "svg", "pdf"], ...] = ("png", "svg", "pdf")
EXACT = "The exact settings of every run."


def figure_downloads(
    name: str, table: pd.DataFrame, figure: go.Figure, specs: Iterable[Spec], stem: str, provenance: Provenance
) -> None:
    """Draw the downloads of a figure: the numbers behind it, the figure, and the requests.

    Parameters
    ----------
    name : str
        What it is about, e.g. ``"ROIs"``: of the CSV's button, and of the controls' keys.
    table : frame
        What the CSV holds.
    figure : plotly figure
    specs : iterable of Spec
    stem : str
        Of the file names.
    provenance : Provenance
    """
    specs, key = tuple(specs), name.lower().replace(" ", "_")
    with st.container(horizontal=True):
        download(f"{name}, CSV", lambda: csv_text(table, provenance), f"{stem}_{key}.csv", key=f"csv_{key}")
        download("Figure, HTML", lambda: html_text(figure), f"{stem}_{key}.html", key=f"html_{key}", help=WHOLE)
        download(
            "Requests, JSON", lambda: json_text(specs, provenance), f"{stem}_{key}.json", key=f"json_{key}", help=EXACT
        )


def map_downloads(
    values: pd.DataFrame, table: pd.DataFrame, picture: MapPicture, specs: Iterable[Spec], *, label: str, stem: str
) -> None:
    """Draw the downloads of a map: the table behind it, GIFTI per hemisphere, panels for print, and the requests.

    Parameters
    ----------
    values : frame
        As for `brainviz.ui.brain.show_brain`.
    table : frame
        What the CSV holds.
    picture : MapPicture
        How the map is drawn.
    specs : iterable of Spec
    label : str
        Name of the map.
    stem : str
        Of the file names.
    """
    specs, mesh, provenance = tuple(specs), picture.mesh, picture.provenance
    with st.container(horizontal=True):
        download("Vertices, CSV", lambda: csv_text(table, provenance), f"{stem}.csv", key="csv_vertices")
        if mesh in MESH_VERTICES:
            for hemi in sorted(values["hemi"].unique()):
                download(
                    f"Map {hemi}, GIFTI",
                    partial(gifti_bytes, values, hemi, mesh, label, provenance),
                    f"{stem}_{hemi}.func.gii",
                    key=f"gifti_{hemi}",
                    help=f"{label} of the {HEMISPHERE_NAMES[hemi]} on {mesh}, NaN where there are no data.",
                )
            for format in PRINT_FORMATS:
                download(
                    f"Panels, {format.upper()}",
                    partial(picture.panels, values, format),
                    f"{stem}.{format}",
                    key=f"panels_{format}",
                    help="For print: lateral, medial, ventral and flat, both hemispheres, 300 dpi, with the limits, "
                    "threshold and borders of the picture. It takes some seconds.",
                )
            download("Figure, HTML", picture.page, f"{stem}.html", key="html", help=TURNED)
        download("Requests, JSON", lambda: json_text(specs, provenance), f"{stem}.json", key="json", help=EXACT)
