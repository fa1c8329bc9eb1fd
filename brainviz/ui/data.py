"""Parts of the Data page: the overview table, example pictures, and ROIs as a map."""

from __future__ import annotations

import numpy as np
import pandas as pd
import streamlit as st

from brainviz.datasets.base import ROI_UNIONS, ImageSet
from brainviz.figures.bars import count_bars
from brainviz.figures.style import PLOTLY_CONFIG, Provenance
from brainviz.figures.surface import roi_scale
from brainviz.ui.binding import bound, follow
from brainviz.ui.brain import show_brain
from brainviz.ui.downloads import csv_text, download
from brainviz.ui.look import Look
from brainviz.ui.regions import ceiling_of, regions_of
from brainviz.ui.sources import Source, read, roi_counts, show_problems
from brainviz.ui.viewer_plan import BrainMap
from brainviz.ui.words import count, unit_noun

#: Pictures in the grid, and in a row of it.
PICTURES, PICTURES_PER_ROW = 16, 8

#: ROIs that are drawn at first, at most: as many as there are colours to tell apart.
FIRST_SHOWN = 10

#: Pictures are sent no larger than this many pixels on a side.
THUMBNAIL = 160


def overview_frame(source: Source) -> pd.DataFrame:
    """Return one row per subject and hemisphere: pictures, vertices, ROIs with their sizes, noise ceiling."""
    rows = []
    for row in source.report.table:
        sizes = {roi: size for roi, size in row["rois"].items() if roi not in ROI_UNIONS}
        rows.append(
            {
                "subject": row["subject"],
                "hemi": row["hemi"],
                "pictures": row["images"],
                unit_noun(source.dataset.unit): row["vertices"],
                "ROIs": len(sizes),
                "ROI sizes": ", ".join(f"{roi} {size}" for roi, size in sizes.items()),
                "noise ceiling": "yes" if row["noise_ceiling"] else "no",
                "constant": row["constant"],
                "about": row["description"] or None,
            }
        )
    return pd.DataFrame(rows).dropna(axis="columns", how="all")


def show_errors(source: Source) -> None:
    """Draw the errors that the check found, if any: what they concern cannot be used."""
    errors = [problem for problem in source.report.problems if problem.level == "error"]
    if errors:
        found = count(len(errors), "error")
        st.error(
            f"{found} found in this data set. Mend what is named here, then read it again.", icon=":material/error:"
        )
        show_problems(source.report)
        st.button("Read the data set", icon=":material/refresh:", key="read_again", on_click=read, args=(source.key,))


def example_pictures(images: ImageSet) -> None:
    """Draw a grid of pictures, spread evenly over all; a number bound to the URL moves on to others."""
    pages = max((len(images) + PICTURES - 1) // PICTURES, 1)
    part = st.number_input(
        "Part",
        1,
        pages,
        **bound("part"),
        width=160,
        help=f"{PICTURES} of the subject's {len(images):,} pictures at a time.",
    )
    rows = list(range(min(int(part) - 1, pages - 1), len(images), pages))
    for first in range(0, len(rows), PICTURES_PER_ROW):
        for column, row in zip(st.columns(PICTURES_PER_ROW), rows[first : first + PICTURES_PER_ROW], strict=False):
            picture = images[row]
            picture.thumbnail((THUMBNAIL, THUMBNAIL))
            column.image(picture, caption=images.ids[row], width="stretch", alt=f"picture {images.ids[row]}")


def show_roi_sizes(source: Source, subject: str) -> None:
    """Draw the number of vertices of every ROI of a subject, with the download."""
    sizes = roi_counts(source, [subject])
    provenance = Provenance(source.key, subject)
    figure = count_bars(sizes, source.dataset.unit, provenance)
    st.plotly_chart(figure, config=PLOTLY_CONFIG, theme=None, key="roi_sizes", alt="Vertices per ROI")
    st.caption("V1, V2, V3 and early-visual are unions of areas. A ROI that is not here is one this subject lacks.")
    download("ROI sizes, CSV", lambda: csv_text(sizes, provenance), f"{source.key}_{subject}_rois.csv", key="csv_rois")


def show_roi_map(source: Source, subject: str) -> None:
    """Draw a subject's ROIs on the cortex, with the controls."""
    rois = _pick_shown_rois(source, subject)
    values = roi_map(source, subject, rois)
    if values.empty:
        st.info("Choose at least one ROI.", icon=":material/arrow_upward:")
        return
    provenance = Provenance(source.key, subject, tuple(rois))
    show_brain(
        [BrainMap(subject, values)],
        source.dataset.mesh,
        roi_scale(rois),
        provenance,
        Look(),
        key="roi_brain",
        regions=regions_of(source, subject),
        ceiling=ceiling_of(source, subject),
    )
    st.caption("Where ROIs overlap, the smaller one is drawn.")


def show_check(source: Source) -> None:
    """Draw what the check found, and a button to check again."""
    st.write(
        f"All files of {count(len(source.dataset.subjects), 'subject')} were read and checked; "
        f"their fingerprint is `{source.index.fingerprint[:16]}`."
    )
    show_problems(source.report)
    st.button("Check again", icon=":material/refresh:", key="read", on_click=read, args=(source.key,))


def _pick_shown_rois(source: Source, subject: str) -> list[str]:
    """Draw the picker for the ROIs on the map: every ROI of the subject."""
    options = list(roi_counts(source, [subject])["roi"].drop_duplicates())
    default = [roi for roi in options if roi not in ROI_UNIONS][:FIRST_SHOWN]
    follow("shown", (source.key, subject), default)
    return st.multiselect("ROIs shown", options, default=default, **bound("shown"), help="Each gets a colour.")


def roi_map(source: Source, subject: str, rois: list[str]) -> pd.DataFrame:
    """Return one row per vertex of the ROIs, for `brainviz.ui.brain.show_brain`.

    The value is the ROI's place in `rois`. Where ROIs overlap, the smaller one is kept.
    """
    dataset = source.dataset
    frames = []
    for hemi in dataset.hemispheres(subject):
        masks, positions = dataset.rois(subject, hemi), dataset.positions(subject, hemi)
        for roi in sorted((roi for roi in rois if roi in masks), key=lambda name: int(masks[name].sum())):
            columns = np.flatnonzero(masks[roi])
            on_mesh = -1 if positions is None else positions[columns]
            frames.append(
                pd.DataFrame({"hemi": hemi, "column": columns, "position": on_mesh, "value": float(rois.index(roi))})
            )
    if not frames:
        return pd.DataFrame(columns=["hemi", "column", "position", "value"])
    return pd.concat(frames, ignore_index=True).drop_duplicates(["hemi", "column"])
