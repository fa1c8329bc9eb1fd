"""Data: what is there, per subject and ROI; example pictures; where the ROIs lie; what the check found."""

import streamlit as st

from brainviz.figures.style import Provenance
from brainviz.ui.binding import bound
from brainviz.ui.data import example_pictures, overview_frame, show_check, show_errors, show_roi_map, show_roi_sizes
from brainviz.ui.downloads import csv_text, download
from brainviz.ui.navigation import begin_page
from brainviz.ui.pickers import pick_subject
from brainviz.ui.sources import require_source

begin_page("Data", "Pictures that people looked at, and how their visual cortex responded.")

source = require_source()
dataset = source.dataset
provenance = Provenance(source.key, "all subjects")
show_errors(source)

overview = overview_frame(source)
columns = st.columns(4)
columns[0].metric("Subjects", len(dataset.subjects))
columns[1].metric(
    "Pictures", f"{overview.drop_duplicates('subject')['pictures'].sum():,}", help="Of all subjects together."
)
columns[2].metric("Mesh", dataset.mesh, help="The surface that the vertices lie on.")
columns[3].metric("Problems found", len(source.report.problems), help="The tab “Check” below names them.")

st.subheader("What is there")
st.dataframe(overview, hide_index=True, column_config={"ROI sizes": st.column_config.TextColumn(width="large")})
with st.container(horizontal=True, vertical_alignment="center"):
    download("Table, CSV", lambda: csv_text(overview, provenance), f"{source.key}_overview.csv", key="csv_overview")
    st.page_link(
        "pages/finetune.py",
        label="Next: fine-tune a network on these responses",
        icon=":material/arrow_forward:",
    )

st.subheader("One subject")
with st.columns([1, 3])[0]:
    subject = pick_subject(source)

# Only the open tab is drawn: the others would cost their pictures and a graphics context.
pictures, counts, cortex, check = st.tabs(["Pictures", "ROI sizes", "ROIs on the cortex", "Check"], **bound("tab"))
if pictures.open:
    with pictures:
        example_pictures(dataset.images(subject))
if counts.open:
    with counts:
        show_roi_sizes(source, subject)
if cortex.open:
    with cortex:
        show_roi_map(source, subject)
if check.open:
    with check:
        show_check(source)
