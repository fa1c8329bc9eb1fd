"""The classification task that a page is about: which one, whether its pictures have been read, and a button if not."""

from __future__ import annotations

import json
from dataclasses import dataclass

import streamlit as st

from brainviz.config import cache_dir, load_config
from brainviz.datasets.tasks import DEMO_TASKS, Task, open_task, remembered_task_index, tasks_of
from brainviz.models.backbones import readout_layers
from brainviz.runs import preparation
from brainviz.runs.remembered import memo_dir
from brainviz.runs.store import Run
from brainviz.ui.binding import bound, follow, keep_among, say_unknown
from brainviz.ui.errors import end_page, plain
from brainviz.ui.sources import Source, still_reading

#: What the two tasks of the demo are about.
ABOUT = {
    "demo-objects": "What the main object is: like the task that the compact network was trained on.",
    "demo-quarters": "In which quarter of the picture the main object is: unlike what the network was trained on.",
}


@dataclass(frozen=True)
class TaskSource:
    """A task whose pictures have been read.

    Attributes
    ----------
    task : Task
    fingerprint : str
    """

    task: Task
    fingerprint: str


def require_task(source: Source) -> TaskSource:
    """Draw the picker and return the task; while it cannot be used, say why, offer to read it, and end the page."""
    names = tasks_of(source.dataset)
    if not names:
        st.info(
            'No classification task is named. Add a table [tasks] to brainviz.toml with name = "folder": ImageNet\'s, '
            "Places365's or Caltech256's validation pictures, or any folder with one folder of pictures per class.",
            icon=":material/category:",
        )
        end_page()
    follow("task", source.key, names[0])
    say_unknown("task", names, "task")
    name = st.selectbox(
        "Task",
        names,
        **bound("task"),
        help="Pictures with classes that no network was tuned on. Name others under [tasks] in brainviz.toml.",
        width=290,
    )
    if name in ABOUT:
        st.caption(ABOUT[name])
    key = (name, str(load_config().tasks.get(name, "")), str(cache_dir()))
    found = _task(*key)
    if found is None:
        _task.clear(*key)
        _offer_to_read(name)
        end_page()
    return found


@st.cache_resource(ttl="30s", max_entries=16, show_spinner=False)
def _task(name: str, folder: str, cache: str) -> TaskSource | None:
    """Open a task that has been read; None for any other. The last two arguments tell places apart."""
    if preparation.status(preparation.task_key(name)).state != "ready":
        return None
    task = open_task(name)
    index = remembered_task_index(task, memo_dir())
    return None if index is None else TaskSource(task, index.fingerprint)


def _offer_to_read(name: str) -> None:
    key = preparation.task_key(name)
    status = preparation.status(key)
    if still_reading(key, status):
        return
    if status.state == "failed":
        st.error(plain(status.message or "The task could not be read."), icon=":material/error:")
    else:
        st.info(
            "These pictures are drawn on this computer in some seconds."
            if name in DEMO_TASKS
            else "The pictures of this task have not been read yet, or have changed. brainviz looks at each once.",
            icon=":material/rocket_launch:",
        )
    st.button(
        "Read the task", type="primary", icon=":material/play_arrow:", key="read_task", on_click=_read, args=(key,)
    )


def _read(key: str) -> None:
    _task.clear()
    preparation.start(key)


def pick_readout(network: str, label: str = "Classified from") -> str:
    """Draw the choice of the layer that classes, or responses, are read from."""
    options = list(readout_layers(network))
    keep_among("readout", options, options[0])
    say_unknown("readout", options, "layer")
    chosen = st.segmented_control(
        label,
        options,
        default=options[0],
        required=True,
        **bound("readout"),
        help="The logits as they are (the poster), or the standardised answers of the layer before them (the authors' "
        "code). Both come from one pass of the pictures.",
    )
    return chosen or options[0]


def classes_of(run: Run) -> list[str]:
    """Return the names of the classes that a classification run tells apart."""
    names: list[str] = json.loads(run.file("classes.json").read_text(encoding="utf-8"))
    return names
