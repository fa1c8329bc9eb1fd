"""The brain viewer as one HTML file, which can be opened anywhere, without a server and without a network."""

from __future__ import annotations

import base64
import html
import json
from collections.abc import Sequence
from typing import Any

from brainviz.figures.meshes import SURFACES
from brainviz.figures.style import Provenance
from brainviz.figures.surface import Scale
from brainviz.ui.look import Look
from brainviz.ui.viewer_plan import ASSETS, MODULES, BrainMap, link_modules, make_plan, with_digest

#: The mesh of such a file: all its surfaces are small, and come with nilearn.
MESH = "fsaverage5"

#: Draws the plan; in it, the names of files stand for their contents.
START = """
import { show } from "LAST";
const text = (id) => document.getElementById(id).textContent;
const files = JSON.parse(text("files"));
const filled = (key, value) => (typeof value === "string" && Object.hasOwn(files, value) ? files[value] : value);
const data = JSON.parse(text("plan"), filled);
show({ data, parentElement: document.body, setStateValue: () => {} });
"""

PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>{title}</title>
<style>
body {{ font: 15px/1.4 sans-serif; color: #1f2933; margin: 1.5rem auto; max-width: 1200px; padding: 0 1rem; }}
h1 {{ font-size: 1.15rem; }}
.about {{ color: #52606d; font-size: 12px; overflow-wrap: anywhere; }}
{css}
</style>
<script type="importmap">{imports}</script>
</head>
<body>
<h1>{title}</h1>
<div class="viewer"></div>
<p class="about">{about}</p>
<details class="about"><summary>Provenance in full</summary><dl>{full}</dl></details>
<script type="application/json" id="files">{files}</script>
<script type="application/json" id="plan">{plan}</script>
<script type="module">{start}</script>
</body>
</html>
"""


def viewer_page(
    maps: Sequence[BrainMap], scale: Scale, look: Look, provenance: Provenance, *, title: str, **more: Any
) -> str:
    """Return maps as an HTML page that can be turned, with the viewer's own controls.

    Parameters
    ----------
    maps, scale, look, **more
        As for `brainviz.ui.viewer_plan.make_plan`; positions that fsaverage5 lacks are left out.
    provenance : Provenance
        Printed below, in full.
    title : str

    Returns
    -------
    str
    """
    files: dict[str, str] = {}

    def send(content: bytes) -> str:
        whole = with_digest(content)
        name = whole[: len(whole) - len(content)].hex()
        files[name] = _data_address(whole, "application/octet-stream")
        return name

    modules: dict[str, str] = {}

    def send_module(module: str, text: str) -> str:
        modules[module] = _data_address(text.encode(), "text/javascript")
        return module

    link_modules(send_module)
    plan = make_plan(maps, dict.fromkeys(SURFACES, MESH), scale, look, send, **more)
    full = {
        name: ", ".join(value) if isinstance(value, tuple) else str(value)
        for name, value in provenance.fields().items()
    }
    return PAGE.format(
        title=html.escape(title),
        css=(ASSETS / "viewer.css").read_text("utf-8"),
        imports=_in_script({"imports": modules}),
        about=html.escape(provenance.line()),
        full="".join(f"<dt>{name}</dt><dd>{html.escape(value)}</dd>" for name, value in full.items()),
        files=_in_script(files),
        plan=_in_script(plan),
        start=START.replace("LAST", MODULES[-1]),
    )


def _data_address(content: bytes, mimetype: str) -> str:
    return f"data:{mimetype};base64,{base64.b64encode(content).decode()}"


def _in_script(value: Any) -> str:
    """Return JSON that no text within can end the script of."""
    return json.dumps(value).replace("<", "\\u003c")
