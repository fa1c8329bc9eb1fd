"""Panels for print: orientation, colours, threshold and outlines in the pixels; text and provenance in the files."""

import io
import json
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from PIL import Image
from plotly.colors import cmocean, unlabel_rgb

from brainviz.datasets.base import MESH_VERTICES
from brainviz.errors import DatasetError, SpecError
from brainviz.figures.meshes import load_mesh
from brainviz.figures.print_panels import panel_bytes, print_panels
from brainviz.figures.style import CATEGORY_COLOURS, Provenance
from brainviz.figures.surface import Scale

N_VERTICES = MESH_VERTICES["fsaverage5"]
PROVENANCE = Provenance("demo", "subj01", ("V1v", "V1d"), "15 % test pictures", "contrastive", ("ab" * 32,))
CORRELATION = Scale("Pearson r", 0.0, 0.6)
YELLOW, PURPLE = (253, 231, 37), (68, 1, 84)  # viridis, from end to end (Smith & van der Walt 2015)
GYRUS, SULCUS = (0xDE,) * 3, (0xA3,) * 3
ROWS = ("lateral", "medial", "ventral", "flat")


def pixels(figure: Figure) -> np.ndarray:
    """Return the figure as (height, width, 3) bytes."""
    return np.array(Image.open(io.BytesIO(panel_bytes(figure, "png"))).convert("RGB"))


def where(picture: np.ndarray, colour: tuple[int, int, int]) -> np.ndarray:
    return (picture == np.array(colour, np.uint8)).all(axis=2)


def panels(picture: np.ndarray) -> dict[tuple[str, str], np.ndarray]:
    """Return every panel, found by its grey: the largest (row, column) blocks of the page."""
    grey = where(picture, GYRUS) | where(picture, SULCUS)
    half = picture.shape[1] // 2 + 15
    found = {}
    for hemi, columns in (("lh", slice(0, half)), ("rh", slice(half, None))):
        filled = np.flatnonzero(grey[:, columns].sum(axis=1) > 5)
        blocks = np.split(filled, np.flatnonzero(np.diff(filled) > 8) + 1)
        blocks = [block for block in blocks if len(block) > 150]
        assert len(blocks) == len(ROWS)
        for view, block in zip(ROWS, blocks, strict=True):
            part = picture[block[0] : block[-1] + 1, columns]
            inside = np.flatnonzero((where(part, GYRUS) | where(part, SULCUS)).any(axis=0))
            found[view, hemi] = part[:, inside[0] : inside[-1] + 1]
    return found


def centre(panel: np.ndarray, colour: tuple[int, int, int]) -> tuple[float, float] | None:
    """Return where a colour is: 0 to 1 from left to right and from top to bottom; None if it is nowhere."""
    rows, columns = np.nonzero(where(panel, colour))
    return (columns.mean() / panel.shape[1], rows.mean() / panel.shape[0]) if len(rows) > 20 else None


def around(hemi: str, middle: tuple[float, float, float], radius: float) -> np.ndarray:
    """Return which vertices lie around a place on the left pial surface, mirrored for the right one."""
    place = np.array(middle) * ([1, 1, 1] if hemi == "lh" else [-1, 1, 1])
    return np.linalg.norm(load_mesh("fsaverage5", "pial")[hemi].coordinates - place, axis=1) < radius


@pytest.fixture
def coarse(monkeypatch: pytest.MonkeyPatch) -> None:
    """Do not cut triangles, which takes most of the time."""
    monkeypatch.setattr("brainviz.figures.print_panels.CUTS", {"fsaverage5": 0, "fsaverage6": 0})


#: Millimetres on the left pial surface, and where it is seen: from left to right (in the left hemisphere; the right
#: one's are mirrored) and from top to bottom. Anatomy: the occipital pole is the hindmost, the frontal the foremost
#: point, both near the midline, which is at the bottom of the ventral views; the fusiform gyrus lies below; the hand
#: area on top, seen from outside.
PLACES = {
    "occipital pole": ((-13, -105, 0), {"lateral": (0.97, 0.6), "medial": (0.03, 0.6), "ventral": (0.95, 0.7)}),
    "frontal pole": ((-10, 69, 9), {"lateral": (0.05, 0.55), "medial": (0.95, 0.55), "ventral": (0.05, 0.7)}),
    "fusiform": ((-38, -50, -22), {"lateral": None, "medial": None, "ventral": (0.65, 0.3)}),
    "hand area": ((-38, -22, 62), {"lateral": (0.55, 0.1), "medial": None, "ventral": None}),
    "cingulate": ((-5, 10, 35), {"lateral": None, "medial": (0.65, 0.4), "ventral": None}),
}


def rgb(colour: str) -> tuple[int, int, int]:
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)


def test_places_appear_where_they_should() -> None:
    maps = {}
    for hemi in ("lh", "rh"):
        maps[hemi] = np.full(N_VERTICES, np.nan)
        for number, (middle, _) in enumerate(PLACES.values()):
            maps[hemi][around(hemi, middle, 12)] = number
    scale = Scale("", -0.5, len(PLACES) - 0.5, "categorical", tuple(PLACES))
    found = panels(pixels(print_panels(maps, scale, PROVENANCE, threshold=0.5)))
    for (name, (_, expected)), colour in zip(PLACES.items(), map(rgb, CATEGORY_COLOURS), strict=False):
        for view, place in expected.items():
            for hemi in ("lh", "rh"):
                if place is None:
                    # At most an edge of it is seen.
                    assert where(found[view, hemi], colour).mean() < 0.004, (name, view, hemi)
                    continue
                x = place[0] if hemi == "lh" else 1 - place[0]
                assert centre(found[view, hemi], colour) == pytest.approx((x, place[1]), abs=0.16), (name, view, hemi)
        # Flat maps have their own geography, mirrored between the hemispheres.
        left, right = (centre(found["flat", hemi], colour) for hemi in ("lh", "rh"))
        if name != "cingulate":
            assert left is not None
            assert right is not None
            assert (1 - right[0], right[1]) == pytest.approx(left, abs=0.1)


@pytest.fixture(scope="module")
def rich() -> Figure:
    """Return a figure with map, threshold, outlines and title."""
    maps, rois = {}, {}
    for hemi in ("lh", "rh"):
        early, late = around(hemi, (-13, -105, 0), 35), around(hemi, (-38, -50, -22), 15)
        maps[hemi] = np.where(early, 0.3, np.where(late, 0.05, np.nan))
        rois[hemi] = {"V1": early, "FFA-1": late}
    return print_panels(maps, CORRELATION, PROVENANCE, rois=rois, threshold=0.1, title="A title")


def test_values_between_two_vertices_have_colours_of_the_scale_and_nothing_darkens_them() -> None:
    values = np.full(N_VERTICES, np.nan)
    values[around("lh", (-60, -20, 0), 45)] = 1
    values *= np.random.default_rng(0).uniform(-0.2, 0.8, N_VERTICES)
    figure = print_panels({"lh": values}, CORRELATION, PROVENANCE)
    found = panels(pixels(figure))
    known = {tuple(c) for c in (mpl.colormaps["viridis"](np.arange(256))[:, :3] * 255).round().astype(int).tolist()}
    colours, counts = np.unique(found["lateral", "lh"].reshape(-1, 3), axis=0, return_counts=True)
    of_scale = np.array([tuple(colour) in known for colour in colours.tolist()])
    of_paper = np.array([tuple(colour) in {GYRUS, SULCUS, (255, 255, 255)} for colour in colours.tolist()])
    assert of_scale.sum() > 200
    assert counts[of_scale].sum() > 50_000
    # What is neither is the edges of letters.
    assert counts[of_scale | of_paper].sum() > 0.998 * counts.sum()
    # The other hemisphere has no data: it is grey, and the page says so.
    assert "right hemisphere (no data)" in [text.get_text() for text in figure.texts]
    grey = where(found["lateral", "rh"], GYRUS) | where(found["lateral", "rh"], SULCUS)
    assert (grey | where(found["lateral", "rh"], (255, 255, 255))).mean() > 0.998


@pytest.fixture(scope="module")
def rich_picture(rich: Figure) -> np.ndarray:
    return pixels(rich)


def test_threshold_leaves_grey(rich_picture: np.ndarray) -> None:
    picture = rich_picture
    early = tuple(np.round(np.array(mpl.colormaps["viridis"](0.5)[:3]) * 255).astype(int))
    late = tuple(np.round(np.array(mpl.colormaps["viridis"](0.05 / 0.6)[:3]) * 255).astype(int))
    assert where(picture, early).sum() > 10_000
    assert where(picture[: int(0.88 * len(picture))], late).sum() == 0
    # In the bar, too, what is below the threshold is grey.
    bar = picture[int(0.88 * len(picture)) :]
    assert where(bar, late).sum() == 0
    assert where(bar, GYRUS).sum() > 500


def test_outlines_have_their_colours_in_both_hemispheres(rich_picture: np.ndarray) -> None:
    picture = rich_picture
    first, second = map(rgb, CATEGORY_COLOURS[:2])
    half = picture.shape[1] // 2
    page = picture[: int(0.88 * len(picture))]
    for columns in (page[:, :half], page[:, half:]):
        assert where(columns, first).sum() > 300
        assert where(columns, second).sum() > 100


@pytest.mark.parametrize(
    ("colours", "scale", "value", "expected"),
    [
        (None, CORRELATION, 0.0, PURPLE),
        ("cividis", CORRELATION, 0.6, (254, 232, 56)),
        (None, Scale("Δr", -0.2, 0.2, "diverging"), -0.5, unlabel_rgb(cmocean.balance[0])),
        (None, Scale("Δr", -0.2, 0.2, "diverging"), 0.5, unlabel_rgb(cmocean.balance[-1])),
        (None, Scale("", -0.5, 1.5, "categorical", ("A", "B")), 1.0, (0x56, 0xB4, 0xE9)),
    ],
)
@pytest.mark.usefixtures("coarse")
def test_colour_maps(colours, scale: Scale, value: float, expected: tuple[float, ...]) -> None:
    picture = pixels(print_panels({"rh": np.full(N_VERTICES, value)}, scale, PROVENANCE, colours=colours))
    right = picture[: len(picture) // 2, picture.shape[1] // 2 + 30 :]
    assert where(right, tuple(round(part) for part in expected)).mean() > 0.4


def test_png_is_180_mm_at_300_dpi_and_says_where_it_comes_from(rich: Figure) -> None:
    image = Image.open(io.BytesIO(panel_bytes(rich, "png")))
    assert image.width == pytest.approx(180 / 25.4 * 300, abs=2)
    assert image.height < 247 / 25.4 * 300  # a page of a journal
    assert image.info["dpi"] == pytest.approx((300, 300), abs=0.01)
    assert json.loads(image.info["Description"])["runs"] == ["ab" * 32]


def test_text_stays_text_in_svg(rich: Figure) -> None:
    content = panel_bytes(rich, "svg").decode()
    texts = re.findall(r"<text[^>]*>([^<]*)</text>", content)
    for text in ("A title", "Pearson r", "left hemisphere", "right hemisphere", *ROWS, "V1", "FFA-1", "0.6"):
        assert text in texts
    assert any("nearer to 0 than 0.1" in text for text in texts)
    assert any(PROVENANCE.line() in text for text in texts)
    assert "ab" * 32 in content
    # The painted surfaces are pictures, so that the file stays small.
    assert content.count("<image") >= 8
    assert len(content) < 5e6


def test_fonts_are_in_the_pdf(rich: Figure) -> None:
    content = panel_bytes(rich, "pdf")
    assert content.startswith(b"%PDF")
    assert b"/FontFile2" in content
    assert b"/Type3" not in content
    assert len(content) < 3e6


@pytest.mark.usefixtures("coarse")
def test_pyplot_and_its_settings_are_left_alone() -> None:
    before = dict(mpl.rcParams)
    open_figures = plt.get_fignums()
    maps = {"lh": np.where(around("lh", (-13, -105, 0), 30), 0.5, np.nan)}
    with ThreadPoolExecutor(2) as pool:
        drawn = list(pool.map(lambda _: panel_bytes(print_panels(maps, CORRELATION, PROVENANCE), "svg"), range(2)))
    # The same figure makes the same file, in every thread.
    assert drawn[0] == drawn[1]
    assert plt.get_fignums() == open_figures
    assert dict(mpl.rcParams) == before


@pytest.mark.usefixtures("coarse")
def test_finer_mesh_without_flat_map_shows_fsaverage5s(shared_data: Path) -> None:
    folder = shared_data / "meshes"
    if not folder.exists():
        pytest.skip("needs the real meshes in ../shared/data/meshes, which are not here")
    maps = {hemi: np.full(40_962, 0.6) for hemi in ("lh", "rh")}
    masks = {hemi: {"V1": np.arange(40_962) < 20_000} for hemi in ("lh", "rh")}
    figure = print_panels(maps, CORRELATION, PROVENANCE, mesh="fsaverage6", folder=folder, surface="white", rois=masks)
    assert any("White surface of fsaverage6; flat map of fsaverage5" in text.get_text() for text in figure.texts)
    assert len(figure.axes) == 2 * len(ROWS) + 1


def test_map_of_another_mesh_is_refused() -> None:
    with pytest.raises(SpecError, match=r"(?s)The map \(rh\) is not on fsaverage5.*40,962 values.*10,242"):
        print_panels({"rh": np.zeros(40_962)}, CORRELATION, PROVENANCE)
    with pytest.raises(SpecError, match=r"ROI V1 \(lh\) is not on fsaverage5"):
        print_panels({}, CORRELATION, PROVENANCE, rois={"lh": {"V1": np.zeros(7, bool)}})


def test_surface_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="inflated surface of fsaverage6"):
        print_panels({}, CORRELATION, PROVENANCE, mesh="fsaverage6", folder=tmp_path)


def test_flat_map_cannot_be_seen_from_the_side() -> None:
    with pytest.raises(SpecError, match="flat"):
        print_panels({}, CORRELATION, PROVENANCE, surface="flat")
