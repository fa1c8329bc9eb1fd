"""The brain viewer on a page: a Streamlit component on WebGL2, and how its files reach the browser.

Meshes, maps and areas go to the browser as files named after their contents; the plan itself is a page of text. A mesh
is fetched once in a browser's life (`assets/viewer/store.js`), a map when it is first shown.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import streamlit as st
from streamlit.runtime import Runtime

from brainviz.figures.meshes import SURFACES, resolution
from brainviz.figures.surface import Scale
from brainviz.ui.look import Look
from brainviz.ui.viewer_plan import ASSETS, BrainMap, link_modules, make_plan, with_digest

#: Fetches the viewer's code, which is too long to be sent with every change, and hands it the plan. The modules are
#: fetched together: a browser would find out only from the last one which others it needs.
START = """
export default function (component) {
  const modules = component.data.code.map((address) => import(new URL(address, window.location.origin)));
  const shown = modules.at(-1).then(({ show }) => show(component));
  return () => shown.then((stop) => stop());
}
"""


def show_viewer(
    maps: Sequence[BrainMap],
    mesh: str,
    scale: Scale,
    look: Look,
    *,
    key: str,
    on_picked: Callable[[str, tuple[int, ...]], None],
    folder: Path | None = None,
    **more: Any,
) -> None:
    """Mount the viewer.

    Parameters
    ----------
    maps, scale, look, folder, **more
        As for `brainviz.ui.viewer_plan.make_plan`.
    mesh : str
        The mesh that positions are on.
    key : str
        Of the component.
    on_picked : function
        Called with the hemisphere and the mesh's vertices that were picked.
    """
    shapes = {surface: resolution(mesh, folder, surface=surface) for surface in SURFACES}
    send = _Sender(key)

    def told_picked() -> None:
        if told := st.session_state[key].get("picked"):
            on_picked(str(told["hemi"]), tuple(int(vertex) for vertex in told["vertices"]))

    _component()(
        key=key,
        data={"code": send.modules(), **make_plan(maps, shapes, scale, look, send.file, folder=folder, **more)},
        on_look_change=lambda: None,  # read where the page is drawn: `told_look`
        on_picked_change=told_picked,
    )


def told_look(key: str) -> Mapping[str, Any] | None:
    """Return what the viewer has told of its look (see `brainviz.ui.look.look_of`); None before it has told any.

    It is more recent than the address: a run that the browser asked for before the last one ended brings an older one.
    """
    return (st.session_state.get(key) or {}).get("look")


@lru_cache(maxsize=1)
def _component() -> Any:
    # Streamlit collects garbage after every run of a page, which delays what the browser asks for in the meantime by
    # 150 ms once plotly, pandas and nilearn are loaded. These are there to stay: leave them out of it.
    gc.freeze()
    return st.components.v2.component(
        "brainviz_viewer", html='<div class="viewer"></div>', css=(ASSETS / "viewer.css").read_text("utf-8"), js=START
    )


class _Sender:
    """Puts files where the browser can fetch them, under names made of their contents.

    Parameters
    ----------
    key : str
        Of the component: keeps apart what several of one page send.
    """

    def __init__(self, key: str) -> None:
        self.key, self.count = key, 0

    def file(self, content: bytes) -> str:
        """Return the address of a file that begins with the digest of its contents.

        Streamlit names a file after parts of it only, where it is large: with the digest among them, equal names mean
        equal files, for as long as a browser keeps them.
        """
        return self._add(with_digest(content), "application/octet-stream")

    def modules(self) -> list[str]:
        """Return the addresses of the viewer's modules, which import one another by name from the same folder."""
        folder = ""

        def send(_module: str, text: str) -> str:
            nonlocal folder
            folder, _, name = self._add(text.encode(), "text/javascript").rpartition("/")
            return f"./{name}"

        return [f"{folder}/{address.removeprefix('./')}" for address in link_modules(send)]

    def _add(self, content: bytes, mimetype: str) -> str:
        """Return the address of a file, from the server's root."""
        self.count += 1
        address = Runtime.instance().media_file_mgr.add(content, mimetype, f"{self.key} {self.count}")
        base = str(st.get_option("server.baseUrlPath")).strip("/")
        return f"/{base}{address}" if base else address
