"""The brain viewer in a real browser: landmarks where an independent drawing puts them, pointer, keys, links, files.

The data set has four landmarks, planted by anatomy: both occipital poles, the left fusiform gyrus and the right crown.
What the viewer draws is read from its canvas, and compared with a drawing by nibabel, numpy and matplotlib alone.
"""

from __future__ import annotations

import io
import re
import shutil
from base64 import b64decode
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

import nibabel as nib
import nilearn
import numpy as np
import pandas as pd
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure
from matplotlib.path import Path as Outline
from PIL import Image
from playwright.sync_api import Locator, Page, Response, expect

from brainviz.datasets import open_dataset
from brainviz.runs import preparation
from brainviz.runs.network_specs import EncodingSpec
from brainviz.runs.store import Run
from brainviz.ui.choices import choose
from brainviz.ui.sources import Source

DIGEST = 16  # bytes with which every file begins
MESHES = Path(nilearn.__file__).parent / "datasets" / "data" / "fsaverage5"
SIDES = {"lh": "left", "rh": "right"}

#: Where landmarks are in MNI space, mm. The left fusiform is the FFA's usual place.
LANDMARKS = {
    "lh": {"pole-left": (-12, -104, 0), "fusiform-left": (-40, -52, -18)},
    "rh": {"pole-right": (12, -104, 0), "crown-right": (20, -20, 80)},
}
NAMES = ("pole-left", "fusiform-left", "pole-right", "crown-right")
#: A landmark is everything up to so many edges away. Of the other vertices, every so manyth has responses.
RINGS, REST = 5, 7
#: Method -> landmarks at which it predicts well (r of 0.6, elsewhere 0.1).
PREDICTED = {"untuned": ("pole-left", "pole-right"), "random": ("fusiform-left", "crown-right")}
DRAWN = {"network": "alexnet_compact", "image_size": 32, "layers": ("classifier.6",)}
SETTINGS = {"untuned": {**DRAWN, "weights": "demo"}, "random": DRAWN}

#: Where a view is seen from, for the left hemisphere and the right one, and what is up (x right, y front, z up).
EYES = {
    "Lateral": ((-1, 0, 0), (1, 0, 0), (0, 0, 1)),
    "Medial": ((1, 0, 0), (-1, 0, 0), (0, 0, 1)),
    "Ventral": ((0, 0, -1), (0, 0, -1), (0, 1, 0)),
    "Posterior": ((0, -1, 0), (0, -1, 0), (0, 0, 1)),
}
#: From below, and with the front up, the left hemisphere is on the right.
FROM_BELOW = "Ventral"

#: The upper end of viridis, in which a landmark that is well predicted is painted.
YELLOW = (253, 231, 37)


# --- the data set -----------------------------------------------------------------------------------------------------


@lru_cache
def mesh_of(surface: str, hemi: str) -> tuple[np.ndarray, np.ndarray]:
    """Return nilearn's own coordinates (n, 3) mm and triangles (m, 3)."""
    name = {"inflated": "infl"}.get(surface, surface)
    coordinates, faces = nib.load(MESHES / f"{name}_{SIDES[hemi]}.gii.gz").agg_data()
    return coordinates, faces


@lru_cache
def landmarks_of(hemi: str) -> dict[str, np.ndarray]:
    """Return the vertices of every landmark."""
    coordinates, faces = mesh_of("pial", hemi)
    found = {}
    for name, place in LANDMARKS[hemi].items():
        held = np.zeros(len(coordinates), bool)
        held[((coordinates - place) ** 2).sum(axis=1).argmin()] = True
        for _ in range(RINGS):
            held[faces[held[faces].any(axis=1)]] = True
        found[name] = np.flatnonzero(held)
    return found


def positions_of(hemi: str) -> np.ndarray:
    """Return the vertices that have responses."""
    return np.unique(np.concatenate([*landmarks_of(hemi).values(), np.arange(0, 10_242, REST)]))


@pytest.fixture(scope="module")
def landmarks_root(tiny_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a data set with the landmarks as its ROIs and the tiny data set's pictures."""
    root = tmp_path_factory.mktemp("landmarks") / "landmarks"
    shutil.copytree(tiny_root / "subj01", root / "subj01")
    (root / "dataset.toml").write_text((tiny_root / "dataset.toml").read_text().replace("Tiny", "Landmarks"))
    masks = root / "subj01" / "roi_masks"
    shutil.rmtree(masks)
    masks.mkdir()
    np.save(masks / "mapping_landmarks.npy", np.array(dict(enumerate(("Unknown", *NAMES))), object), allow_pickle=True)
    rng = np.random.default_rng(4)
    for hemi in SIDES:
        positions, on_mesh, labels = positions_of(hemi), np.zeros(10_242, np.int64), np.zeros(10_242, np.int64)
        on_mesh[positions] = 1
        for name, vertices in landmarks_of(hemi).items():
            labels[vertices] = 1 + NAMES.index(name)
        np.save(masks / f"{hemi}.all-vertices_fsaverage_space.npy", on_mesh)
        np.save(masks / f"{hemi}.landmarks_fsaverage_space.npy", labels)
        np.save(masks / f"{hemi}.landmarks_challenge_space.npy", labels[positions])
        responses = root / "subj01" / "training_split" / "training_fmri" / f"{hemi}_training_fmri.npy"
        n_images = len(np.load(responses, mmap_mode="r"))
        np.save(responses, rng.standard_normal((n_images, len(positions))).astype(np.float32))
        np.save(root / f"subj01/noise_ceiling/{hemi}_noise_ceiling.npy", np.full(len(positions), 0.8, np.float32))
    return root


@pytest.fixture(scope="module")
def landmarks_server(start_server: Callable[..., Any], landmarks_root: Path) -> Any:
    """Return a dashboard on the landmarks."""
    return start_server(landmarks=landmarks_root)


@pytest.fixture
def encoded(landmarks_server: Any, monkeypatch: pytest.MonkeyPatch, finish_encoding_run: Callable[..., Run]) -> str:
    """Finish both methods' encoding runs of all vertices, and return a link to their maps."""
    monkeypatch.setenv("BRAINVIZ_CACHE", str(landmarks_server.cache))
    monkeypatch.setenv("BRAINVIZ_CONFIG", str(landmarks_server.cache.parent / "brainviz.toml"))
    report = preparation.report("landmarks")
    assert report is not None
    assert report.index is not None
    source = Source("landmarks", open_dataset("landmarks"), report.index, report)
    choice = choose("encoding", source, ("subj01",), ("lh", "rh"), ("all",), list(PREDICTED), SETTINGS)
    for method, spec in choice.asked:
        if landmarks_server.store.find(spec) is None:
            assert isinstance(spec, EncodingSpec)
            ((hemi, _),) = spec.areas
            well = [vertices for name, vertices in landmarks_of(hemi).items() if name in PREDICTED[method]]
            r = np.where(np.isin(positions_of(hemi), np.concatenate(well)), 0.6, 0.1)
            finish_encoding_run(spec, source.dataset, r[None])
    chosen = "subject=subj01&hemi=lh&hemi=rh&roi=all&methods=untuned&methods=random"
    return f"{landmarks_server.url}/encoding?dataset=landmarks&{chosen}&show=Map&map=untuned&borders=none"


# --- what is on the screen --------------------------------------------------------------------------------------------


def canvas_of(page: Page) -> Locator:
    return page.locator(".viewer .stage canvas")


def on_screen(page: Page) -> tuple[float, float, float, float]:
    """Scroll to the canvas; return its left and upper edge, width and height."""
    canvas_of(page).scroll_into_view_if_needed()
    box = canvas_of(page).bounding_box()
    assert box is not None
    return box["x"], box["y"], box["width"], box["height"]


def picture_of(page: Page) -> np.ndarray:
    """Return the canvas's pixels at rest, (height, width, 3) int16."""
    wait_for_picture(page)
    # Looked at and read in one go: a page that the server sends meanwhile may draw again.
    url = canvas_of(page).evaluate(
        """async (canvas) => {
          const viewer = canvas.closest(".viewer");
          while (!("rest" in viewer.dataset)) await new Promise((done) => setTimeout(done, 20));
          return canvas.toDataURL("image/png");
        }"""
    )
    image = Image.open(io.BytesIO(b64decode(url.partition(",")[2]))).convert("RGB")
    return np.asarray(image).astype(np.int16)


def settle(one: Any) -> None:
    """Wait until the viewer has told of its look, and the page and the picture have come to rest."""
    one.page.wait_for_function(
        """async () => {
          const now = () => document.querySelector('[data-testid="stApp"]').dataset.testScriptState + location.href;
          const before = now();
          await new Promise((resolve) => setTimeout(resolve, 500));
          return before === now() && before.startsWith("notRunning");
        }"""
    )
    one.settle()
    expect(one.page.locator(".viewer[data-pictures]")).to_be_attached()


def wait_for_picture(page: Page) -> None:
    """Wait for what the viewer draws in the next frame."""
    page.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")


def choose_in_viewer(page: Page, label: str) -> None:
    """Press one of the viewer's buttons, and wait until it has been obeyed."""
    button = page.locator(".viewer").get_by_role("button", name=label, exact=True)
    button.click()
    expect(button).to_have_attribute("aria-pressed", "true")


def inside(picture: np.ndarray) -> np.ndarray:
    """Return where a hemisphere is, (height, width) bool."""
    return (picture < 250).any(axis=2)


def painted(picture: np.ndarray) -> np.ndarray:
    """Return where there is a colour, and not the grey of a place without a value."""
    return picture.max(axis=2) - picture.min(axis=2) > 60


def coloured(picture: np.ndarray, colour: tuple[int, ...], tolerance: int = 24) -> np.ndarray:
    return np.abs(picture - np.array(colour)).max(axis=2) <= tolerance


def centre(mask: np.ndarray) -> tuple[float, float]:
    """Return the mean column and row of a mask."""
    rows, columns = np.nonzero(mask)
    return float(columns.mean()), float(rows.mean())


def frame_of(mask: np.ndarray) -> tuple[int, int, int, int]:
    """Return first and last column, first and last row (exclusive)."""
    rows, columns = np.nonzero(mask)
    return columns.min(), columns.max() + 1, rows.min(), rows.max() + 1


def overlap(one: np.ndarray, other: np.ndarray) -> float:
    """Return the share of two masks that is common."""
    return float((one & other).sum() / max((one | other).sum(), 1))


def half(picture: np.ndarray, side: str) -> np.ndarray:
    """Return the picture with the other half blank."""
    middle, kept = picture.shape[1] // 2, np.full_like(picture, 255)
    part = slice(None, middle) if side == "left" else slice(middle, None)
    kept[:, part] = picture[:, part]
    return kept


def query(page: Page) -> dict[str, str]:
    return {name: values[-1] for name, values in parse_qs(urlsplit(page.url).query).items()}


# --- the independent drawing ------------------------------------------------------------------------------------------


def projected(surface: str, view: str, hemi: str) -> tuple[np.ndarray, np.ndarray]:
    """Return places on paper (n, 2) mm, to the right and up, and nearness to the eye (n,)."""
    coordinates, _ = mesh_of(surface, hemi)
    if surface == "flat":
        return coordinates[:, :2], coordinates[:, 2]
    left, right, up = EYES[view]
    eye = left if hemi == "lh" else right
    return coordinates @ np.array([np.cross(up, eye), up]).T, coordinates @ np.array(eye)


def drawing(surface: str, view: str, hemi: str, pixels: int = 300) -> np.ndarray:
    """Draw a hemisphere, far triangles first, cropped to it: 0 beside it, 1 on it, 2 + k on landmark `NAMES[k]`."""
    places, nearness = projected(surface, view, hemi)
    _, faces = mesh_of(surface, hemi)
    faces = faces[nearness[faces].mean(axis=1).argsort()]
    labels = np.ones(len(faces))
    for name, vertices in landmarks_of(hemi).items():
        labels[np.isin(faces, vertices).sum(axis=1) >= 2] = 2 + NAMES.index(name)
    used = places[faces.ravel()]
    low, high = used.min(axis=0), used.max(axis=0)
    width, height = pixels * (high - low) / max(high - low)
    figure = Figure(figsize=(width / 100, height / 100), dpi=100)
    axes = figure.add_axes((0, 0, 1, 1), xlim=(low[0], high[0]), ylim=(low[1], high[1]))
    axes.set_axis_off()
    shades = np.repeat(1 - labels[:, None] / 10, 3, axis=1)
    axes.add_collection(PolyCollection(places[faces], facecolors=shades, edgecolors="none", antialiased=False))
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.round(10 - np.asarray(canvas.buffer_rgba())[:, :, 0] / 25.5).astype(int)


def seen(picture: np.ndarray, colours: dict[str, tuple[int, ...]], like: np.ndarray) -> np.ndarray:
    """Return the viewer's picture of a hemisphere as `drawing` would: labels, cropped, and of the same size."""
    labels = inside(picture).astype(int)
    for name, colour in colours.items():
        labels[coloured(picture, colour)] = 2 + NAMES.index(name)
    first, last, top, bottom = frame_of(labels > 0)
    aspect, expected = (bottom - top) / (last - first), like.shape[0] / like.shape[1]
    assert aspect == pytest.approx(expected, rel=0.03)
    rows = top + (np.arange(like.shape[0]) * (bottom - top)) // like.shape[0]
    columns = first + (np.arange(like.shape[1]) * (last - first)) // like.shape[1]
    return labels[np.ix_(rows, columns)]


def check_against_drawing(picture: np.ndarray, colours: dict[str, tuple[int, ...]], surface: str, view: str) -> None:
    """Compare both hemispheres of a picture: their outlines, and every landmark's place and size, or absence."""
    for hemi, side in SIDES.items():
        where = {"left": "right", "right": "left"}[side] if view == FROM_BELOW and surface != "flat" else side
        expected = drawing(surface, view, hemi)
        found = seen(half(picture, where), colours, expected)
        what = f"{surface} {view} {hemi}"
        assert overlap(found > 0, expected > 0) > 0.95, what
        for label, name in enumerate(NAMES, start=2):
            share = (expected == label).mean()
            if share < 0.002:  # hidden, or so nearly that the edges of triangles decide
                assert (found == label).mean() < 0.004, f"{name} is seen: {what}"
                continue
            assert overlap(found == label, expected == label) > (0.7 if share > 0.01 else 0.4), f"{name}: {what}"
            off = np.subtract(centre(found == label), centre(expected == label)) / found.shape[::-1]
            assert np.abs(off).max() < 0.02, f"{name} is {off} of the picture off: {what}"


def millimetres(picture: np.ndarray, hemi: str, surface: str, view: str) -> Callable[[float, float], np.ndarray]:
    """Return the function from pixels to places on paper, found by the outline of the hemisphere alone."""
    first, last, top, bottom = frame_of(inside(half(picture, SIDES[hemi])))
    places = projected(surface, view, hemi)[0][mesh_of(surface, hemi)[1].ravel()]
    low, high = places.min(axis=0), places.max(axis=0)
    step = (high - low) / (last - first, bottom - top)
    return lambda x, y: np.array([low[0] + (x - first) * step[0], high[1] - (y - top) * step[1]])


# --- tests ------------------------------------------------------------------------------------------------------------


def test_landmarks_are_where_they_should_be_in_every_view(landmarks_server: Any, visitor: Any) -> None:
    """Left is left, the back is the back, and what is hidden is hidden."""
    one = visitor()
    one.go(f"{landmarks_server.url}/?dataset=landmarks&tab={quote('ROIs on the cortex')}")
    settle(one)
    colours = {}
    for chip in one.page.locator(".viewer .chip").all():
        red, green, blue = re.findall(r"\d+", chip.locator("i").get_attribute("style") or "")
        colours[chip.inner_text()] = (int(red), int(green), int(blue))
    assert sorted(colours) == sorted(NAMES)
    for surface in ("inflated", "pial", "white", "sphere"):
        choose_in_viewer(one.page, surface.capitalize())
        for view in EYES:
            choose_in_viewer(one.page, view)
            check_against_drawing(picture_of(one.page), colours, surface, view)
            sides = one.page.locator(".viewer svg text.side")
            order = ["Left hemisphere", "Right hemisphere"]
            expect(sides).to_have_text(order[::-1] if view == FROM_BELOW else order)
    choose_in_viewer(one.page, "Flat")
    check_against_drawing(picture_of(one.page), colours, "flat", "")


def test_a_click_picks_the_vertex_under_the_pointer(encoded: str, visitor: Any) -> None:
    one = visitor()
    one.go(f"{encoded}&camera=posterior")
    settle(one)
    for hemi, name, shift in (("lh", "pole-left", 0), ("rh", "pole-right", 9)):
        picture = picture_of(one.page)
        x, y = (round(value) for value in centre(coloured(half(picture, SIDES[hemi]), YELLOW)))
        x += shift
        canvas_of(one.page).hover(position={"x": x, "y": y})
        tip = one.page.locator(".viewer .tip")
        expect(tip).to_contain_text(f"{name} · Pearson r 0.600 · noise ceiling 0.80")
        hovered = tip.inner_text()
        canvas_of(one.page).click(position={"x": x, "y": y})
        expect(one.page).to_have_url(re.compile(rf"[?&]vertex={hemi}\+\d+"))
        vertex = int(query(one.page)["vertex"].split()[1])
        assert hovered.startswith(f"{hemi} vertex {vertex} ")
        one.see(f"Vertex {vertex:,} of fsaverage5, {SIDES[hemi]} hemisphere")
        assert vertex in landmarks_of(hemi)[name]
        places = projected("inflated", "Posterior", hemi)[0]
        place = millimetres(picture, hemi, "inflated", "Posterior")(x, y)
        away = np.linalg.norm(places - place, axis=1)
        assert away[vertex] < away[landmarks_of(hemi)[name]].min() + 0.8
        mark = one.page.locator(".viewer circle.picked")
        expect(mark).to_have_attribute("data-vertex", str(vertex))
        assert float(mark.get_attribute("cx") or "nan") == pytest.approx(x, abs=9)
        assert float(mark.get_attribute("cy") or "nan") == pytest.approx(y, abs=9)


def test_another_map_keeps_camera_surface_and_threshold_and_sends_values_alone(encoded: str, visitor: Any) -> None:
    one = visitor()
    one.go(encoded)
    settle(one)
    choose_in_viewer(one.page, "Pial")
    choose_in_viewer(one.page, "Ventral")
    turn(one, 30, 10)
    one.page.locator(".viewer").get_by_role("slider", name="Threshold").fill("0.3")
    settle(one)
    first = picture_of(one.page)
    fetched = watch_files(one.page)
    one.page.get_by_role("radio", name="random", exact=True).first.click()
    expect(one.page).to_have_url(re.compile("map=random"))
    settle(one)
    second = picture_of(one.page)
    assert np.array_equal(inside(first), inside(second))
    for picture in (first, second):
        # r of 0.1 is below the threshold, so the landmarks are all that is painted.
        assert coloured(picture, YELLOW).sum() > 0.75 * painted(picture).sum() > 0
    assert overlap(painted(first), painted(second)) < 0.1
    assert {"surface": "pial", "threshold": "0.3", "map": "random"}.items() <= query(one.page).items()
    assert sorted(len(response.body()) for response in fetched) == [DIGEST + 2 * 2 * 10_242]


def test_a_link_shows_another_visitor_the_same(encoded: str, visitor: Any) -> None:
    one, other = visitor(), visitor()  # the first is quick: what is told of next to each other must not get lost
    one.go(f"{encoded}&camera=posterior")
    settle(one)
    turn(one, -60, 25)
    one.page.locator(".viewer").get_by_role("slider", name="Threshold").fill("0.18")
    x, y = centre(coloured(half(picture_of(one.page), "left"), YELLOW))
    canvas_of(one.page).click(position={"x": x, "y": y})
    one.see("of fsaverage5, left hemisphere")
    settle(one)
    one.page.get_by_role("radio", name="random", exact=True).first.click()
    expect(one.page).to_have_url(re.compile("map=random"))
    settle(one)
    assert {"camera", "threshold", "vertex", "map"} <= set(query(one.page))

    other.go(one.page.url)
    settle(other)
    assert np.array_equal(picture_of(other.page), picture_of(one.page))
    vertex = query(one.page)["vertex"].split()[1]
    expect(other.page.locator(".viewer circle.picked")).to_have_attribute("data-vertex", vertex)
    other.see(f"Vertex {int(vertex):,} of fsaverage5, left hemisphere")
    expect(other.page.locator(".viewer").get_by_role("slider", name="Threshold")).to_have_value("0.18")
    assert query(other.page) == query(one.page)


def test_two_maps_turn_together_until_they_are_unlinked(encoded: str, visitor: Any) -> None:
    one = visitor()
    one.go(f"{encoded}&beside=random")
    settle(one)

    def outlines() -> list[np.ndarray]:
        """Return where the upper map's and the lower map's hemispheres are."""
        mask = inside(picture_of(one.page))
        return [mask[: len(mask) // 2], mask[len(mask) // 2 :]]

    before = outlines()
    assert overlap(*before) > 0.99
    turn(one, 90, 20)
    linked = outlines()
    assert overlap(before[0], linked[0]) < 0.95
    assert overlap(*linked) > 0.99
    one.page.locator(".viewer").get_by_role("checkbox", name="Linked").uncheck()
    turn(one, 0, -60, down=0.75)
    apart = outlines()
    assert np.array_equal(apart[0], linked[0])
    assert overlap(apart[1], linked[1]) < 0.95
    settle(one)
    assert query(one.page)["linked"] == "0"
    assert len(query(one.page)["camera"].split("|")) == 2

    other = visitor()
    other.go(one.page.url)
    settle(other)
    assert np.array_equal(picture_of(other.page), picture_of(one.page))
    one.page.locator(".viewer").get_by_role("checkbox", name="Linked").check()
    assert overlap(*outlines()) > 0.99


def test_a_lasso_on_the_flat_map_picks_a_patch(encoded: str, visitor: Any) -> None:
    """All vertices with values inside it and no others, also not those that the flat map leaves out."""
    one = visitor()
    one.go(f"{encoded}&surface=flat")
    settle(one)
    choose_in_viewer(one.page, "Lasso")
    picture = picture_of(one.page)
    corner = np.array(on_screen(one.page)[:2])
    first, last, top, bottom = frame_of(inside(half(picture, "left")))
    # Round the middle of the map and its back, where the pole and, without a place on paper, the medial wall are.
    angles = np.linspace(0, 2 * np.pi, 24)
    points = np.stack(
        [
            first + (last - first) * (0.68 + 0.31 * np.cos(angles)),
            top + (bottom - top) * (0.5 + 0.2 * np.sin(angles)),
        ],
        axis=1,
    ).round()
    one.page.mouse.move(*(points[0] + corner))
    one.page.mouse.down()
    for point in points[1:]:
        one.page.mouse.move(*(point + corner))
    one.page.mouse.up()
    one.see("Patch of")
    settle(one)
    table = pd.read_csv(one.download("Vertices picked, CSV").path(), comment="#")
    assert set(table["hemi"]) == {"lh"}

    places, faces = mesh_of("flat", "lh")[0][:, :2], mesh_of("flat", "lh")[1]
    outline = np.array([millimetres(picture, "lh", "flat", "")(*point) for point in points])
    drawn = np.intersect1d(positions_of("lh"), faces)
    step = 2 * (places[faces].max() - places[faces].min()) / (last - first)
    surely = set(drawn[Outline(shrunk(outline, -step)).contains_points(places[drawn])])
    perhaps = set(drawn[Outline(shrunk(outline, step)).contains_points(places[drawn])])
    picked = set(table["position"])
    assert len(surely) > 50
    assert surely <= picked
    assert picked <= perhaps
    one.see(f"Patch of {len(picked):,} vertices, left hemisphere")
    expect(one.page.locator(".viewer circle.picked")).to_have_count(len(picked))


def shrunk(outline: np.ndarray, by: float) -> np.ndarray:
    """Return a convex outline (n, 2) with its points so much further from its middle."""
    away = outline - outline.mean(axis=0)
    return outline + by * away / np.linalg.norm(away, axis=1, keepdims=True)


def test_keys_turn_and_zoom(encoded: str, visitor: Any) -> None:
    one = visitor()
    one.go(f"{encoded}&camera=posterior")
    settle(one)
    before = picture_of(one.page)
    canvas_of(one.page).focus()

    def press(*keys: str) -> np.ndarray:
        for key in keys:
            one.page.keyboard.press(key)
        wait_for_picture(one.page)
        return picture_of(one.page)

    turned = press("ArrowRight", "ArrowRight", "ArrowUp")
    assert overlap(inside(before), inside(turned)) < 0.97
    assert np.array_equal(press("ArrowLeft", "ArrowLeft", "ArrowDown"), before)
    smaller = press("-", "-")
    assert inside(smaller).sum() == pytest.approx(inside(before).sum() / 1.15**4, rel=0.02)
    assert np.array_equal(press("+", "+"), before)
    slider = one.page.locator(".viewer").get_by_role("slider", name="Threshold")
    slider.focus()
    after = press(*["ArrowRight"] * 18)
    assert float(slider.input_value()) == 0.18
    settle(one)
    assert query(one.page)["threshold"] == "0.18"
    assert query(one.page)["camera"] == "posterior"
    assert 0 < painted(after).sum() < painted(before).sum()


def test_a_second_load_fetches_no_mesh(encoded: str, visitor: Any) -> None:
    one = visitor()
    fetched = watch_files(one.page)
    one.go(encoded)
    settle(one)
    sizes = {response.url: len(response.body()) for response in fetched}
    _, faces = mesh_of("inflated", "lh")
    # Of both hemispheres, three coordinates of two bytes per vertex; three numbers of two bytes per triangle, which are
    # the same in both, and one byte of sulci per vertex.
    of_mesh = {DIGEST + size for size in (2 * 6 * 10_242, 6 * len(faces) + 2 * 10_242)}
    assert of_mesh <= set(sizes.values())
    before = picture_of(one.page)
    fetched.clear()
    one.page.reload()
    settle(one)
    assert np.array_equal(picture_of(one.page), before)
    assert fetched
    # Files are named after their contents.
    assert not of_mesh & {sizes[response.url] for response in fetched}


def test_back_leads_to_the_look_before(encoded: str, visitor: Any) -> None:
    one = visitor()
    one.go(f"{encoded}&camera=posterior")
    settle(one)
    first = picture_of(one.page)
    for surface in ("Pial", "White"):
        choose_in_viewer(one.page, surface)
        expect(one.page).to_have_url(re.compile(f"surface={surface.lower()}"))
        settle(one)
    one.page.go_back()
    settle(one)
    assert {"surface": "pial", "camera": "posterior"}.items() <= query(one.page).items()
    expect(one.page.locator(".viewer").get_by_role("button", name="Pial")).to_have_attribute("aria-pressed", "true")
    one.page.go_back()
    settle(one)
    assert np.array_equal(picture_of(one.page), first)
    assert "_page" not in one.page.url


def test_a_look_is_there_again_after_a_visit_to_another_page(encoded: str, visitor: Any) -> None:
    one = visitor()
    one.go(f"{encoded}&camera=posterior")
    settle(one)
    choose_in_viewer(one.page, "Pial")
    turn(one, -40, 10)
    settle(one)
    before, told = picture_of(one.page), query(one.page)
    for name, path in (("Data", r":\d+/(\?|$)"), ("Encoding", "/encoding")):
        one.page.get_by_test_id("stSidebarNav").get_by_role("link", name=name).click()
        expect(one.page).to_have_url(re.compile(path))
        one.settle()
    settle(one)
    expect(one.page.locator(".viewer").get_by_role("button", name="Pial")).to_have_attribute("aria-pressed", "true")
    assert np.array_equal(picture_of(one.page), before)
    expect(one.page).to_have_url(re.compile("surface=pial"))
    assert query(one.page)["camera"] == told["camera"]


def test_a_map_as_a_file_is_the_same_picture(encoded: str, visitor: Any, tmp_path: Path) -> None:
    """It opens without a server, with its controls."""
    one = visitor()
    one.go(f"{encoded}&camera=posterior&borders=pole-left&threshold=0.3")
    settle(one)
    file = tmp_path / "map.html"
    one.download("Figure, HTML").save_as(file)
    reader = visitor()
    asked: list[str] = []
    reader.page.on("request", lambda request: asked.append(request.url))
    reader.page.goto(file.as_uri())
    wait_for_picture(reader.page)
    for picture in (picture_of(one.page), picture_of(reader.page)):
        for side, name in (("left", "pole-left"), ("right", "pole-right")):
            assert coloured(half(picture, side), YELLOW).sum() > 100, name
        assert coloured(picture, YELLOW).sum() > 0.75 * painted(picture).sum()
    assert reader.page.get_by_text("Landmarks").or_(reader.page.get_by_text("landmarks")).count()
    choose_in_viewer(reader.page, "Flat")
    wait_for_picture(reader.page)
    expect(reader.page.locator(".viewer .problem")).to_have_count(0)
    assert {urlsplit(url).scheme for url in asked} <= {"file", "data"}


def test_a_picture_that_the_graphics_card_gives_up_is_drawn_again(encoded: str, visitor: Any) -> None:
    one = visitor()
    one.go(f"{encoded}&camera=posterior")
    settle(one)
    choose_in_viewer(one.page, "Pial")
    settle(one)
    before = picture_of(one.page)
    give_up = "canvas => canvas.getContext('webgl2').getExtension('WEBGL_lose_context').loseContext()"
    canvas_of(one.page).evaluate(give_up)
    settle(one)
    assert np.array_equal(picture_of(one.page), before)
    choose_in_viewer(one.page, "White")
    settle(one)
    assert not np.array_equal(picture_of(one.page), before)
    # A card that does so again and again is told of.
    canvas_of(one.page).evaluate(give_up)
    one.see("The graphics card has given up this picture")


def turn(one: Any, dx: int, dy: int, down: float = 0.25) -> None:
    """Drag the left hemisphere of the map that is so far down."""
    left, top, width, height = on_screen(one.page)
    x, y = left + 0.25 * width, top + down * height
    one.page.mouse.move(x, y)
    one.page.mouse.down()
    one.page.mouse.move(x + dx, y + dy, steps=4)
    one.page.mouse.up()
    wait_for_picture(one.page)


def watch_files(page: Page) -> list[Response]:
    """Return a list to which the files come that the viewer fetches from now on, but for its code."""
    files: list[Response] = []

    def keep(response: Response) -> None:
        if "/media/" in response.url and response.url.endswith(".bin"):
            files.append(response)

    page.on("response", keep)
    return files
