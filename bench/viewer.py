"""Speed of the brain viewer: time to the first picture, and bytes and time per change, against Plotly and nilearn.

A small Streamlit page with planted maps (`page`) is opened in headless Chromium, which draws WebGL in software. The
same map of both hemispheres is shown by brainviz's viewer, by `st.plotly_chart` with Mesh3d, and by nilearn's
`view_surf` in a frame, in turn, so that load by others falls on all alike; then by the viewer at full size, on a sphere
of fsaverage's. A picture counts as there when one of its pixels has been read back. Every load has a browser context of
its own, in which nothing is stored. Times and bytes are taken on separate loads, for listening to the traffic takes
time as well.

    python -m bench.viewer [--meshes FOLDER] [--repeats N] [--changes N] [--only viewer plotly view_surf full]
"""

from __future__ import annotations

import argparse
import base64
import os
import platform
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from playwright.sync_api import Browser, Page, sync_playwright

from bench.machine import load
from brainviz.config import REPOSITORY
from brainviz.datasets.base import HEMISPHERES, MESH_VERTICES
from brainviz.figures.meshes import load_mesh
from brainviz.figures.style import PLOTLY_CONFIG
from brainviz.figures.surface import Scale

Floats = NDArray[np.float32]

MESHES = REPOSITORY.parent / "shared" / "data" / "meshes"
#: As in scripts/install_chromium.sh.
CHROMIUM_NAMES = ("chromium", "chromium-browser", "google-chrome")
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
WINDOW = {"width": 1400, "height": 1000}
START_SECONDS, PICTURE_SECONDS = 60, 120

#: Areas outlined and named on fsaverage5, as many as the demo has.
AREAS = 8

#: What is measured -> canvases that a picture consists of.
WAYS = {"viewer": 1, "plotly": 2, "view_surf": 1, "full": 1}
WORDS = {
    "viewer": "brainviz, fsaverage5",
    "plotly": "st.plotly_chart, fsaverage5",
    "view_surf": "nilearn view_surf, fsaverage5",
    "full": "brainviz, fsaverage",
}

SCRIPT = "from bench.viewer import page\n\npage()\n"

#: Runs in every frame before its own code. Notes when messages of the server come and go, and when a canvas that has
#: drawn a whole hemisphere can be read. Times are milliseconds since 1970.
PROBE = """
(() => {
  const now = () => performance.timeOrigin + performance.now();
  const probe = (window.top.probe ??= { received: [], sent: [], pictures: [], clicked: 0, canvases: 0, now });
  const triangles = 15000;
  window.WebSocket = class extends WebSocket {
    constructor(...address) {
      super(...address);
      this.addEventListener("message", ({ data }) => probe.received.push({ at: now(), data }));
    }
    send(data) {
      probe.sent.push({ at: now() });
      super.send(data);
    }
  };
  document.addEventListener("click", () => (probe.clicked = now()), true);
  const numbers = new WeakMap();
  const waiting = new WeakSet();
  for (const kind of [WebGLRenderingContext, WebGL2RenderingContext]) {
    for (const [name, place] of [["drawArrays", 2], ["drawElements", 1]]) {
      const draw = kind.prototype[name];
      kind.prototype[name] = function (...how) {
        draw.apply(this, how);
        if (how[place] < 3 * triangles || waiting.has(this)) return;
        waiting.add(this);
        queueMicrotask(() => {
          waiting.delete(this);
          if (!numbers.has(this)) numbers.set(this, (probe.canvases += 1));
          this.readPixels(0, 0, 1, 1, this.RGBA, this.UNSIGNED_BYTE, new Uint8Array(4));
          probe.pictures.push({ at: now(), canvas: numbers.get(this) });
        });
      };
    }
  }
})();
"""

#: Whether so many canvases have drawn since the probe was last emptied, or the page has failed.
DRAWN = """
(canvases) => document.querySelector('[data-testid="stException"]')
  || new Set(probe.pictures.map(({ canvas }) => canvas)).size >= canvases
"""

EMPTY = "() => { probe.received.length = probe.sent.length = probe.pictures.length = 0; }"

#: When the message that holds a title came, and when all canvases had been drawn after it. Plotly's canvases draw one
#: after the other, each at once with its new values.
TIMES = """
([title, canvases]) => {
  const holds = ({ data }) => data instanceof ArrayBuffer && new TextDecoder("latin1").decode(data).includes(title);
  const message = probe.received.find(holds);
  const first = new Map();
  for (const { at, canvas } of probe.pictures) {
    if (message && at > message.at && !first.has(canvas)) first.set(canvas, at);
  }
  if (first.size < canvases) return null;
  const drawn = Math.max(...first.values());
  return { opened: performance.timeOrigin, clicked: probe.clicked, arrived: message.at, drawn };
}
"""

#: For the viewer: when its code was asked for, when it began, and when the last of a kind of file had come.
VIEWER_TIMES = """
(place) => {
  const { plan } = place.viewer;
  const entries = performance.getEntriesByType("resource").filter(({ name }) => name.includes("/media/"));
  const { shape, positions } = plan.mesh.surfaces[place.viewer.look.surface];
  const values = plan.maps.map(({ file }) => file);
  const of = (urls) => entries.filter(({ name }) => urls.some((url) => name.endsWith(url)));
  const end = (urls) => Math.max(...of(urls).map(({ responseEnd }) => responseEnd));
  const marked = (name) => performance.getEntriesByName(name).at(-1).startTime;
  const times = {
    asked: Math.min(...of(plan.code).map(({ startTime }) => startTime)),
    mounted: marked("brainviz mounted"),
    painted: marked("brainviz drawn"),
    meshes: end([shape, positions]),
    values: end(values),
  };
  return Object.fromEntries(Object.entries(times).map(([name, time]) => [name, performance.timeOrigin + time]));
}
"""

MESH_FILES = """
(place) => Object.values(place.viewer.plan.mesh.surfaces).flatMap(({ shape, positions }) => [shape, positions])
"""

#: Changes a control as its user does; says how long the picture took, and whether anything was asked of the server.
CONTROL = """
async (place, [selector, kind, value]) => {
  const control = place.querySelector(selector);
  probe.pictures.length = 0;
  control.value = value;
  const start = probe.now();
  control.dispatchEvent(new Event(kind, { bubbles: true }));
  while (!probe.pictures.length) await new Promise((resolve) => setTimeout(resolve));
  const { at } = probe.pictures[0];
  const between = (time) => time >= start && time <= at;
  const files = performance.getEntriesByType("resource").map(({ startTime }) => performance.timeOrigin + startTime);
  const asked = [...files, ...probe.sent.map((message) => message.at)].filter(between);
  return { milliseconds: at - start, requests: asked.length };
}
"""

#: A quarter turn in ten pictures; milliseconds of each.
TURN = """
(place) => Array.from({ length: 10 }, () => {
  const { viewer } = place;
  const { gl } = viewer.painter;
  const start = performance.now();
  viewer.look.cameras = viewer.look.cameras.map((camera) => ({ ...camera, az: camera.az + 9 }));
  viewer.draw();
  gl.readPixels(0, 0, 1, 1, gl.RGBA, gl.UNSIGNED_BYTE, new Uint8Array(4));
  return performance.now() - start;
})
"""

CONTROLS = {
    "threshold": ('input[aria-label="Threshold"]', "input", ["0.1", "0.3"]),
    "limits": ('input[aria-label="Upper end of the colour scale"]', "change", ["0.4", "0.5"]),
    "colours": ('select[aria-label="Colour scale"]', "change", ["cividis", "viridis"]),
}


@dataclass
class Figures:
    """What was measured of one way to show a map, one number per repeat.

    Attributes
    ----------
    times : dict of list of float
        Name -> milliseconds; ``requests`` and ``pictures`` are numbers.
    sizes : dict of list of int
        Name -> bytes.
    """

    times: dict[str, list[float]] = field(default_factory=dict)
    sizes: dict[str, list[int]] = field(default_factory=dict)

    def add(self, **times: float) -> None:
        for name, milliseconds in times.items():
            self.times.setdefault(name, []).append(milliseconds)

    def weigh(self, **sizes: int) -> None:
        for name, size in sizes.items():
            self.sizes.setdefault(name, []).append(size)

    def all(self, name: str) -> Sequence[float]:
        return self.times[name] if name in self.times else self.sizes[name]

    def median(self, name: str) -> float:
        return statistics.median(self.all(name))


def main() -> None:
    """Measure all ways in turn, and print a table."""
    options = arguments()
    ways = [way for way in options.only if way != "full" or options.meshes.is_dir()]
    if len(ways) < len(options.only):
        print(f"left out: full size, for there is no folder {options.meshes}")
    figures = {way: Figures() for way in ways}
    with server(options) as url, sync_playwright() as playwright:
        program = next(filter(None, map(shutil.which, CHROMIUM_NAMES)), None)
        browser = playwright.chromium.launch(executable_path=program, args=ARGUMENTS)
        print(describe(browser), flush=True)
        for repeat in range(options.repeats):
            for way in ways[:: -1 if repeat % 2 else 1]:
                last = repeat == options.repeats - 1
                time_load(browser, url, way, figures[way], changes=options.changes if last else 0)
        for way in ways:
            weigh_load(browser, url, way, figures[way])
        browser.close()
    print(f"load at the end {load()}\n")
    report(figures)


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--meshes", type=Path, default=MESHES, help="a folder with fsaverage's sphere")
    parser.add_argument("--repeats", type=int, default=10, help="loads of the page per way")
    parser.add_argument("--changes", type=int, default=10, help="changes of map, and of every control, per way")
    parser.add_argument("--only", nargs="+", choices=WAYS, default=list(WAYS))
    return parser.parse_args()


# --- the page ---------------------------------------------------------------------------------------------------------


def page() -> None:
    """Show one of the planted maps in the way that the address names; a button goes on to the next map."""
    import streamlit as st

    way = st.query_params.get("way", "viewer")
    number = st.session_state.setdefault("number", 0)

    def go_on() -> None:
        st.session_state["number"] += 1

    st.button("Next", on_click=go_on)
    {"viewer": show_viewer, "full": show_full, "plotly": show_plotly, "view_surf": show_view_surf}[way](number)


def show_viewer(number: int) -> None:
    """Show a map on fsaverage5 with borders and noise ceiling."""
    from brainviz.ui.viewer_plan import Regions

    names = tuple(f"area {area}" for area in range(AREAS))
    positions = {
        (hemi, name): np.flatnonzero(places_of("fsaverage5")[hemi] @ direction > 0.93)
        for hemi in HEMISPHERES
        for name, direction in zip(names, directions(AREAS), strict=True)
    }
    mount(number, "fsaverage5", "inflated", None, Regions({"Areas": names}, positions), frame("fsaverage5", -1))


def show_full(number: int) -> None:
    """Show a map on fsaverage's sphere."""
    mount(number, "fsaverage", "sphere", Path(os.environ["BENCH_MESHES"]), None, None)


def mount(
    number: int, mesh: str, surface: str, folder: Path | None, regions: Any, ceiling: pd.DataFrame | None
) -> None:
    """Mount the viewer with one map."""
    from brainviz.ui import viewer
    from brainviz.ui.look import Look
    from brainviz.ui.viewer_plan import BrainMap

    borders = regions.names if regions else ()
    viewer.show_viewer(
        [BrainMap(title_of(number), frame(mesh, number))],
        mesh,
        SCALE,
        Look(surface=surface, borders=borders),
        key="brain",
        summary="Planted.",
        on_picked=lambda hemi, vertices: None,
        folder=folder,
        regions=regions,
        ceiling=ceiling,
        usual_borders=borders,
    )


def show_plotly(number: int) -> None:
    """Show a map as Plotly's Mesh3d: a scene per hemisphere, sulci in grey, and the vertices with values above them."""
    import plotly.graph_objects as go
    import streamlit as st

    chart = go.Figure(layout={"title": title_of(number), "coloraxis": {"colorscale": "Viridis", "cmin": SCALE.low}})
    for place, (hemi, values) in enumerate(planted("fsaverage5", number).items()):
        mesh = load_mesh("fsaverage5", "inflated")[hemi]
        scene = "scene" if place == 0 else "scene2"
        corners = dict(zip("xyz", mesh.coordinates.T, strict=True))
        chart.add_mesh3d(
            **corners,
            **dict(zip("ijk", mesh.faces.T, strict=True)),
            intensity=(mesh.sulcal_depth > 0).astype(np.float32),
            colorscale="Greys",
            showscale=False,
            scene=scene,
        )
        painted = mesh.faces[np.isfinite(values[mesh.faces]).all(axis=1)]
        chart.add_mesh3d(
            **{axis: 1.002 * numbers for axis, numbers in corners.items()},
            **dict(zip("ijk", painted.T, strict=True)),
            intensity=values,
            coloraxis="coloraxis",
            scene=scene,
        )
        camera = {"eye": {"x": -2 if hemi == "lh" else 2, "y": 0, "z": 0}, "projection": {"type": "orthographic"}}
        domain = {"x": [place / 2, (place + 1) / 2]}
        chart.update_layout({scene: {"camera": camera, "domain": domain, "aspectmode": "data"}})
    st.plotly_chart(chart, config=PLOTLY_CONFIG, theme=None, key="brain")


def show_view_surf(number: int) -> None:
    """Show a map as nilearn's web page."""
    import streamlit as st
    from nilearn.datasets import load_fsaverage
    from nilearn.plotting import view_surf
    from nilearn.surface import SurfaceImage

    mesh = load_fsaverage("fsaverage5")["inflated"]
    parts = dict(zip(("left", "right"), (planted("fsaverage5", number)[hemi] for hemi in HEMISPHERES), strict=True))
    depth = dict(
        zip(
            ("left", "right"),
            (load_mesh("fsaverage5", "inflated")[hemi].sulcal_depth for hemi in HEMISPHERES),
            strict=True,
        )
    )
    view = view_surf(
        surf_map=SurfaceImage(mesh, parts),
        bg_map=SurfaceImage(mesh, depth),
        hemi="both",
        cmap="viridis",
        symmetric_cmap=False,
        vmin=SCALE.low,
        vmax=SCALE.high,
        title=title_of(number),
    )
    st.iframe(view.html, height=480)


# --- planted maps -----------------------------------------------------------------------------------------------------

SCALE = Scale("Pearson r", 0.0, 0.6)


def title_of(number: int) -> str:
    """Return the name of a map, which its message is recognised by."""
    return f"planted map {number}."


def directions(count: int) -> Floats:
    """Return unit vectors (count, 3), always the same."""
    vectors = np.random.default_rng(0).standard_normal((count, 3)).astype(np.float32)
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), np.float32)


@lru_cache
def places_of(mesh: str) -> dict[str, Floats]:
    """Return every vertex's place on the unit sphere, (n, 3) per hemisphere."""
    spheres = load_mesh(mesh, "sphere", Path(os.environ["BENCH_MESHES"]))
    return {
        hemi: np.asarray(sphere.coordinates / np.linalg.norm(sphere.coordinates, axis=1, keepdims=True), np.float32)
        for hemi, sphere in spheres.items()
    }


def planted(mesh: str, number: int) -> dict[str, Floats]:
    """Return a map with a value at every vertex, (n,) per hemisphere: waves between 0 and 0.6, and grain."""
    rng = np.random.default_rng(number + 1)
    values = {}
    for hemi in HEMISPHERES:
        waves = np.sin(places_of(mesh)[hemi] @ rng.normal(0, 6, 3) + number) * 0.2 + 0.3
        values[hemi] = (waves + rng.uniform(-0.1, 0.1, len(waves))).astype(np.float32)
    return values


def frame(mesh: str, number: int) -> pd.DataFrame:
    """Return a planted map as the viewer takes it."""
    n = MESH_VERTICES[mesh]
    return pd.DataFrame(
        {
            "hemi": np.repeat(HEMISPHERES, n),
            "column": np.arange(2 * n),
            "position": np.tile(np.arange(n), 2),
            "value": np.concatenate([planted(mesh, number)[hemi] for hemi in HEMISPHERES]),
        }
    )


# --- server and browser -----------------------------------------------------------------------------------------------


@contextmanager
def server(options: argparse.Namespace) -> Iterator[str]:
    """Serve `page`; yield its address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, [str(REPOSITORY), os.environ.get("PYTHONPATH")])),
        "BENCH_MESHES": str(options.meshes.absolute()),
    }
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder) / "page.py"
        script.write_text(SCRIPT, encoding="utf-8")
        command = [sys.executable, "-m", "streamlit", "run", str(script), "--server.headless=true"]
        command += [f"--server.port={port}", "--server.fileWatcherType=none", "--browser.gatherUsageStats=false"]
        process = subprocess.Popen(command, cwd=REPOSITORY, env=environment, stdout=subprocess.DEVNULL)
        try:
            url = f"http://127.0.0.1:{port}"
            wait_until_up(url, process)
            yield url
        finally:
            process.terminate()
            process.wait()


def wait_until_up(url: str, process: subprocess.Popen[bytes]) -> None:
    """Return when the server answers."""
    deadline = time.monotonic() + START_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        try:
            urllib.request.urlopen(f"{url}/_stcore/health", timeout=2).close()
        except OSError:
            time.sleep(0.2)
        else:
            return
    raise RuntimeError("The page's server did not come up.")


@contextmanager
def visit(browser: Browser) -> Iterator[Page]:
    """Yield an empty page that is about to be opened, in a context where nothing is stored."""
    context = browser.new_context(viewport={"width": WINDOW["width"], "height": WINDOW["height"]})
    context.add_init_script(PROBE)
    page = context.new_page()
    page.set_default_timeout(1000 * PICTURE_SECONDS)
    try:
        yield page
    finally:
        context.close()


def wait_for_picture(page: Page, way: str) -> None:
    """Return when the picture is there and the page is at rest."""
    page.wait_for_function(DRAWN, arg=WAYS[way], polling=100)
    if failures := page.get_by_test_id("stException").all_inner_texts():
        raise RuntimeError(f"The page has failed: {failures[0]}")
    page.locator('[data-testid="stApp"][data-test-script-state="notRunning"]').wait_for(state="attached")
    page.wait_for_timeout(700)


def time_load(browser: Browser, url: str, way: str, figures: Figures, changes: int) -> None:
    """Time the first picture, and changes of map and of controls after it."""
    with visit(browser) as page:
        page.goto(f"{url}/?way={way}")
        wait_for_picture(page, way)
        times = page.evaluate(TIMES, [title_of(0), WAYS[way]])
        figures.add(opened=times["drawn"] - times["opened"], first=times["drawn"] - times["arrived"])
        place = page.locator(".viewer")
        viewed = way in ("viewer", "full")
        if viewed:
            parts = place.evaluate(VIEWER_TIMES)
            figures.add(
                mounting=times["drawn"] - parts["asked"],
                mounted=times["drawn"] - parts["mounted"],
                code=parts["mounted"] - parts["asked"],
                fetching=max(parts["meshes"], parts["values"]) - parts["mounted"],
                making=parts["painted"] - max(parts["meshes"], parts["values"]),
                drawing=times["drawn"] - parts["painted"],
                pictures=int(place.get_attribute("data-pictures") or 0),
            )
        for number in range(1, changes + 1):
            page.evaluate(EMPTY)
            page.get_by_role("button", name="Next").click()
            wait_for_picture(page, way)
            times = page.evaluate(TIMES, [title_of(number), WAYS[way]])
            figures.add(change=times["drawn"] - times["arrived"], clicked=times["drawn"] - times["clicked"])
            if viewed:
                parts = place.evaluate(VIEWER_TIMES)
                figures.add(values=times["drawn"] - parts["values"])
        if viewed and changes:
            figures.add(turning=statistics.median(place.evaluate(TURN)))
            for number in range(changes):
                for name, (selector, kind, settings) in CONTROLS.items():
                    took = place.evaluate(CONTROL, [selector, kind, settings[number % 2]])
                    figures.add(**{name: took["milliseconds"], "requests": took["requests"]})
                    page.wait_for_timeout(600)


class Wire:
    """Counts what a page receives and sends: bodies and heads of files, and contents of the web socket's messages.

    Parameters
    ----------
    page : Page

    Attributes
    ----------
    messages, files : int
        Bytes since the last `reset`.
    by_address : dict of str to int
        Address of a file -> bytes since the last `reset`.
    """

    def __init__(self, page: Page) -> None:
        self.addresses: dict[str, str] = {}
        self.reset()
        session = page.context.new_cdp_session(page)
        session.on("Network.requestWillBeSent", self._asked)
        session.on("Network.loadingFinished", self._came)
        session.on("Network.webSocketFrameReceived", self._message)
        session.on("Network.webSocketFrameSent", self._message)
        session.send("Network.enable")

    def reset(self) -> None:
        """Begin anew."""
        self.messages, self.files = 0, 0
        self.by_address: dict[str, int] = {}

    def _asked(self, event: dict[str, Any]) -> None:
        self.addresses[event["requestId"]] = event["request"]["url"]

    def _came(self, event: dict[str, Any]) -> None:
        size, address = int(event["encodedDataLength"]), self.addresses.get(event["requestId"], "")
        self.files += size
        self.by_address[address] = self.by_address.get(address, 0) + size

    def _message(self, event: dict[str, Any]) -> None:
        frame = event["response"]
        text = frame["payloadData"]
        self.messages += len(base64.b64decode(text)) if frame["opcode"] == 2 else len(text.encode())

    def of(self, addresses: list[str]) -> int:
        """Return the bytes of some files, given by the ends of their addresses."""
        return sum(size for address, size in self.by_address.items() if address.endswith(tuple(addresses)))


def weigh_load(browser: Browser, url: str, way: str, figures: Figures, changes: int = 3) -> None:
    """Count the bytes of a load, of changes of map, and of a second load."""
    with visit(browser) as page:
        wire = Wire(page)
        page.goto(f"{url}/?way={way}")
        wait_for_picture(page, way)
        viewed = way in ("viewer", "full")
        figures.weigh(load=wire.messages + wire.files)
        meshes = page.locator(".viewer").evaluate(MESH_FILES) if viewed else []
        if viewed:
            figures.weigh(mesh=wire.of(meshes))
        for _ in range(changes):
            page.evaluate(EMPTY)
            wire.reset()
            page.get_by_role("button", name="Next").click()
            wait_for_picture(page, way)
            figures.weigh(per_change=wire.messages + wire.files, messages=wire.messages, files=wire.files)
        if viewed:
            wire.reset()
            page.reload()
            wait_for_picture(page, way)
            figures.weigh(mesh_again=wire.of(meshes))
            times = page.evaluate(TIMES, [title_of(0), WAYS[way]])
            figures.add(again=times["drawn"] - times["arrived"])


# --- report -----------------------------------------------------------------------------------------------------------


def describe(browser: Browser) -> str:
    """Return machine, versions and what draws."""
    page = browser.new_page()
    renderer = page.evaluate(
        "() => { const gl = document.createElement('canvas').getContext('webgl2');"
        " return gl.getParameter(gl.getExtension('WEBGL_debug_renderer_info').UNMASKED_RENDERER_WEBGL); }"
    )
    page.close()
    from importlib.metadata import version

    packages = ", ".join(f"{name} {version(name)}" for name in ("streamlit", "plotly", "nilearn"))
    return (
        f"{platform.machine()}, {os.cpu_count()} cores, load by others {load()}; Chromium {browser.version}, "
        f"{WINDOW['width']} x {WINDOW['height']} px, {renderer}; {packages}"
    )


def report(figures: dict[str, Figures]) -> None:
    """Print medians beside the claims, then ratios to the other ways."""
    print(f"{'':<72}{'median':>9}{'least':>9}{'claim':>9}")
    for way, found in figures.items():
        if way in CLAIMS:
            print(WORDS[way])
            for name, (words, unit, divisor) in LINES.items():
                claim = CLAIMS[way].get(name)
                middle, least = found.median(name) / divisor, min(found.all(name)) / divisor
                verdict = "" if claim is None else f"{claim:9}  {'holds' if middle <= claim else 'does not hold'}"
                print(f"  {words:<66}{unit:>4}{middle:9.1f}{least:9.1f}{verdict}")
    print(f"\n{'':<32}{'first picture':>14}{'page opened':>14}{'change':>12}{'click':>12}{'per change':>14}")
    for way, found in figures.items():
        numbers = [found.median(name) for name in ("first", "opened", "change", "clicked")]
        print(
            f"{WORDS[way]:<32}{numbers[0]:11.0f} ms{numbers[1]:11.0f} ms{numbers[2]:9.0f} ms{numbers[3]:9.0f} ms",
            end="",
        )
        print(f"{found.median('per_change') / 1000:11.1f} kB")
    print("first picture, change: from the arrival of the message; page opened, click: all that the visitor waits for")
    for way in ("plotly", "view_surf"):
        if way in figures and "viewer" in figures:
            ratios = {name: figures[way].median(name) / figures["viewer"].median(name) for name in RATIOS}
            words = ", ".join(
                f"{RATIOS[name][0]} {ratio:.1f}" + (f" (claim {RATIOS[name][1]})" if RATIOS[name][1] else "")
                for name, ratio in ratios.items()
            )
            print(f"{WORDS[way]} over brainviz: {words}")


#: What is printed of the viewer: name -> words, unit, and how many of what was measured that is.
LINES = {
    "mounting": ("first picture, from when the mounted component asks for its code", "ms", 1),
    "code": ("  of it until the code runs", "ms", 1),
    "fetching": ("  then until mesh and values are there", "ms", 1),
    "making": ("  then unpacking, normals, borders, controls, drawing commands", "ms", 1),
    "drawing": ("  then until a pixel can be read", "ms", 1),
    "pictures": ("  pictures drawn until the page is at rest", "", 1),
    "again": ("first picture of a second load, from the plan's arrival", "ms", 1),
    "change": ("change of map, from the plan's arrival", "ms", 1),
    "values": ("  of it from the values' arrival", "ms", 1),
    "per_change": ("change of map, on the wire", "kB", 1000),
    "messages": ("  of it messages", "kB", 1000),
    "threshold": ("threshold", "ms", 1),
    "limits": ("limits", "ms", 1),
    "colours": ("colours", "ms", 1),
    "requests": ("  asked of the server before these pictures", "", 1),
    "turning": ("one picture while turning", "ms", 1),
    "mesh": ("mesh, first load", "MB", 1e6),
    "mesh_again": ("mesh, second load", "MB", 1e6),
}

#: The most that is claimed, in the units of `LINES`.
CLAIMS = {
    "viewer": {
        "mounting": 500,
        "change": 150,
        "per_change": 100,
        "threshold": 100,
        "limits": 100,
        "colours": 100,
        "requests": 0,
        "mesh_again": 0,
    },
    "full": {"mounting": 2000, "change": 800, "per_change": 700, "requests": 0, "mesh": 12, "mesh_again": 0},
}

#: What is compared -> words, and the least ratio that is claimed.
RATIOS: dict[str, tuple[str, int | None]] = {
    "first": ("time to the first picture", 5),
    "opened": ("from opening the page", None),
    "change": ("time per change", None),
    "clicked": ("from click", None),
    "per_change": ("data per change", 10),
}


if __name__ == "__main__":
    main()
