"""A visitor's own picture on the Lateralization page: decoded in memory, attributed by another process, not stored."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import pandas as pd
import streamlit as st

from brainviz.datasets.uploads import MOST_BYTES, decode_upload
from brainviz.errors import BrainvizError
from brainviz.figures.overlays import overlay_grid
from brainviz.figures.style import PLOTLY_CONFIG
from brainviz.runs.picture import LIKELIEST, PictureMaps, attribute_picture
from brainviz.runs.specs import ClassificationSpec
from brainviz.runs.store import Run, Store
from brainviz.ui.downloads import figure_downloads
from brainviz.ui.errors import plain
from brainviz.ui.lateralization_views import pick_place, unit_maps
from brainviz.ui.lateralized import Lateralized, spec_of
from brainviz.ui.tasks import classes_of

#: A session remembers here what its last picture gave, or the promise of it.
_ASKED = "_own picture"

#: Seconds between looks whether the maps are there.
LOOK_AGAIN = 0.7

Maps = dict[str, PictureMaps]


@st.cache_resource
def _processes() -> ThreadPoolExecutor:
    """Return what waits for the processes: one at a time, whoever asks."""
    return ThreadPoolExecutor(max_workers=1, thread_name_prefix="own picture")


def show_own_picture(shown: Lateralized) -> None:
    """Draw an upload, and what each model's answer depends on in it."""
    models = pick_place(shown)
    sent = st.file_uploader(
        "Your picture",
        ["png", "jpg", "jpeg", "webp", "bmp", "tif", "tiff", "gif"],
        key="own_picture",
        max_upload_size=MOST_BYTES // 10**6,
        help="It stays in this session's memory, and is gone when you leave or remove it.",
    )
    if sent is None:
        _forget()
        st.caption("The picture is looked at by the models chosen above. Nothing of it is written to a disk.")
        return
    data = sent.getvalue()
    try:
        image = decode_upload(data, sent.name)
    except BrainvizError as error:
        st.error(plain(str(error)).replace("\n", "  \n"), icon=":material/image_not_supported:")
        return
    target = _pick_class(next(iter(models.values())))
    key = hashlib.blake2b(data, digest_size=16).hexdigest(), tuple(run.id for run in models.values()), target
    asked: tuple[object, Future[Maps]] | None = st.session_state.get(_ASKED)
    if asked is None or asked[0] != key:
        asked = (key, _processes().submit(attribute_picture, list(models.values()), image, target))
        st.session_state[_ASKED] = asked
    if not asked[1].done():
        _wait()
        return
    try:
        found = asked[1].result()
    except BrainvizError as error:
        st.error(plain(str(error)).replace("\n", "  \n"), icon=":material/error:")
        st.button("Try again", key="own_again", on_click=_forget)
        return
    _show(shown, models, found)


def _forget() -> None:
    st.session_state.pop(_ASKED, None)


@st.fragment(run_every=LOOK_AGAIN)
def _wait() -> None:
    st.caption(":material/hourglass_top: Looking at your picture; the networks are read first, which takes seconds.")
    asked: tuple[object, Future[Maps]] | None = st.session_state.get(_ASKED)
    if asked is not None and asked[1].done():
        st.rerun()


def _pick_class(run: Run) -> int:
    """Draw the choice of the class for models that tell classes; return its number."""
    classification: ClassificationSpec | None = spec_of(run).classification
    if classification is None:
        return LIKELIEST
    classes = classes_of(Store().run_of(classification))
    numbers = [LIKELIEST, *range(len(classes))]
    chosen: int = st.selectbox(
        "Class",
        numbers,
        format_func=lambda number: "each model's most probable" if number == LIKELIEST else classes[number],
        key="own_class",
        width=290,
    )
    return chosen


def _show(shown: Lateralized, models: Mapping[str, Run], found: Maps) -> None:
    from brainviz.analyses.lateralization import laterality_index

    first = next(iter(found.values()))
    same = {model: found[run.id] for model, run in models.items() if found[run.id].maps.shape == first.maps.shape}
    pictures = np.stack([first.images, *(each.images for each in same.values())], axis=1)
    maps = np.stack([np.full_like(first.maps, np.nan), *(unit_maps(each.maps) for each in same.values())], axis=1)
    signed = spec_of(next(iter(models.values()))).attribution != "grad-cam"
    figure = overlay_grid(
        pictures,
        maps,
        ["picture", *same],
        ["as it is", "mirrored"],
        shown.about(models.values()),
        signed_maps=signed,
    )
    st.plotly_chart(figure, config=PLOTLY_CONFIG, theme=None, key="own_maps", alt="Your picture with attribution maps")
    classification = spec_of(next(iter(models.values()))).classification
    classes = classes_of(Store().run_of(classification)) if classification is not None else []
    rows = []
    for model, each in same.items():
        own, mirror = laterality_index(each.maps)
        rows.append(
            {
                "model": model,
                **({"class": classes[each.target]} if classes else {}),
                "target, picture": each.values[0],
                "target, mirrored": each.values[1],
                "index, picture": own,
                "index, mirrored": mirror,
                "index": (own + mirror) / 2,
                "run": models[model].id,
            }
        )
    table = pd.DataFrame(rows)
    shown_as = st.column_config.NumberColumn(format="%.3f")
    numeric = [name for name in rows[0] if name.startswith(("target", "index"))]
    st.dataframe(table, hide_index=True, column_config=dict.fromkeys(numeric, shown_as))
    st.caption("Index: mean of the picture's and its mirror image's. One picture says little; see Index for many.")
    figure_downloads("Own picture", table, figure, shown.specs(), f"{shown.stem}_own", shown.about(models.values()))
