"""Part of the Bottleneck page that writes predictions of the challenge's test pictures, from any finished encoder."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Sequence
from functools import partial

import pandas as pd
import streamlit as st

from brainviz.config import cache_dir
from brainviz.errors import BrainvizError
from brainviz.figures.style import Provenance
from brainviz.runs.requests import make_spec
from brainviz.runs.spec_base import SEPARATOR, Spec
from brainviz.runs.store import Run, Store
from brainviz.ui.binding import bound, follow, keep_those_among, say_unknown
from brainviz.ui.bottleneck_encoders import encoders_of, label_of
from brainviz.ui.bottleneck_results import BottleneckResults
from brainviz.ui.choices import Choice
from brainviz.ui.downloads import download
from brainviz.ui.errors import show_error
from brainviz.ui.run_controls import asked_for, show_plan, start_button
from brainviz.ui.sources import Source

#: How the files of predictions end.
PREDICTED = "_pred_test.npy"


def show_submission(shown: BottleneckResults) -> list[Spec]:
    """Draw the choice of encoders, the button that starts the writing, and what was written.

    Returns
    -------
    list of Spec
        The submission, if somebody asked for it: whose progress the page is to show.
    """
    offered = {label_of(run): run for run in encoders_of(shown.source.index.fingerprint)}
    if not offered:
        say_unknown("encoders", (), "encoder")
        st.info(
            "There is no finished encoder of this data set yet. Train a network here, or encode on the page Encoding.",
            icon=":material/arrow_upward:",
        )
        return []
    chosen = [offered[label] for label in _pick_encoders(shown, offered)]
    if not chosen:
        st.info("Choose at least one encoder.", icon=":material/arrow_upward:")
        return []
    try:
        with st.spinner("Looking at the test pictures"):
            spec = _submission(shown.source.index.fingerprint, str(cache_dir()), _ids(chosen), shown.source)
    except BrainvizError as error:
        show_error(error)
        return []
    show_plan(Choice((("submission", spec),), ()))
    start_button((spec,), "writing", key="start_submission")
    run = Store().find(spec)
    if run is not None and run.state == "done":
        _show_files(shown, run, _ids(chosen))
    return asked_for((spec,))


def _pick_encoders(shown: BottleneckResults, offered: dict[str, Run]) -> list[str]:
    """Draw the choice of encoders; at first, each subject's network of the first variant."""
    labels = list(offered)
    first = [shown.of(subject, variant)[:1] for subject in shown.subjects for variant in shown.variants[:1]]
    default = [label for runs in first for run in runs if (label := label_of(run)) in offered]
    follow("encoders", shown.source.key, default)
    say_unknown("encoders", labels, "encoder")
    keep_those_among("encoders", labels)
    return st.multiselect(
        "Encoders",
        labels,
        default=default,
        **bound("encoders"),
        help="Finished networks of this page and finished encoding models, of any subject of this data set. Several "
        "of one subject must be of different ROIs.",
    )


def _ids(runs: Sequence[Run]) -> tuple[str, ...]:
    return tuple(run.id for run in runs)


# A page asks at every click; the digests of thousands of pictures take a moment.
@st.cache_data(show_spinner=False, ttl="1m", max_entries=16)
def _submission(fingerprint: str, cache: str, ids: tuple[str, ...], _source: Source) -> Spec:
    return make_spec("submission", _source.dataset, _source.index, encoders=SEPARATOR.join(ids))


def _show_files(shown: BottleneckResults, run: Run, ids: tuple[str, ...]) -> None:
    """Draw what was written, and the button that hands it over."""
    result = run.result()
    with st.container(horizontal=True, gap="small"):
        st.metric("Test pictures", f"{result['n_images']:,}", width=150)
        st.metric("Vertices", f"{result['n_vertices']:,}", width=150, help="Of both hemispheres of all subjects.")
        about = "No encoder is about them: their prediction is 0."
        st.metric("Not predicted", f"{result['n_unpredicted']:,}", width=150, help=about)
    st.dataframe(files_table(run), hide_index=True)
    provenance = Provenance(shown.source.key, run.spec.subject, method="submission", runs=(run.id, *ids))
    download(
        "Submission, ZIP",
        partial(zip_bytes, run, provenance),
        f"{shown.source.key}_submission_{run.id[:8]}.zip",
        key="zip_submission",
        help="subjXX/lh_pred_test.npy and rh_pred_test.npy, as the Algonauts 2023 challenge takes them. Their origin "
        "is in the comment of the archive.",
    )


def predicted_files(run: Run) -> list[str]:
    """Return the names of a submission's predictions, e.g. ``"subj01/lh_pred_test.npy"``, in order."""
    return sorted(name for name in run.manifest()["files"] if name.endswith(PREDICTED))


def files_table(run: Run) -> pd.DataFrame:
    """Return what is in a submission: ``file pictures vertices type MB``."""
    rows = []
    for name in predicted_files(run):
        array = run.array(name.removesuffix(".npy"))
        rows.append((name, *array.shape, str(array.dtype), round(array.nbytes / 1e6, 2)))
    return pd.DataFrame(rows, columns=["file", "pictures", "vertices", "type", "MB"])


def zip_bytes(run: Run, provenance: Provenance) -> bytes:
    """Return a submission as one ZIP file, with its provenance as the archive's comment."""
    packed = io.BytesIO()
    # Not compressed: predictions hardly shrink, and packing would take minutes.
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_STORED) as archive:
        for name in predicted_files(run):
            archive.write(run.file(name), name)
        archive.comment = json.dumps(provenance.fields()).encode()
    return packed.getvalue()
