"""Maps on the cortex for print: lateral, medial, ventral and flat, both hemispheres, by nilearn's matplotlib engine.

No browser and no display is needed, and nothing of pyplot's state is touched: a server draws in many threads.
"""

from __future__ import annotations

import io
import json
import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from textwrap import wrap
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from brainviz.datasets.base import HEMISPHERE_NAMES, HEMISPHERES, MESH_VERTICES
from brainviz.errors import SpecError
from brainviz.figures.meshes import Mesh, load_mesh, normals, surfaces
from brainviz.figures.pieces import Booleans, Front, Line, Numbers, Pieces, barycentric, cut, outlines
from brainviz.figures.style import CATEGORY_COLOURS, INK, MUTED, Provenance
from brainviz.figures.surface import Scale, palettes

if TYPE_CHECKING:
    from matplotlib.colors import Colormap
    from matplotlib.figure import Figure


VIEWS = ("lateral", "medial", "ventral")
#: Per view of the left hemisphere, the directions that are right, up and towards the viewer on paper. The right
#: hemisphere is seen from the mirrored place.
LOOKING: dict[str, NDArray[np.float64]] = {
    "lateral": np.array([[0, -1, 0], [0, 0, 1], [-1, 0, 0]], float),
    "medial": np.array([[0, 1, 0], [0, 0, 1], [1, 0, 0]], float),
    "ventral": np.array([[0, -1, 0], [-1, 0, 0], [0, 0, -1]], float),
    "flat": np.eye(3),
}
#: What is on the left and on the right of each row, left hemisphere: anterior, posterior.
ENDS = {"lateral": "AP", "medial": "PA", "ventral": "AP", "flat": "AP"}

#: Surfaces without folds, on which two greys say it all. On the others, what is turned away is darker by so much.
SMOOTH = ("inflated", "sphere")
SHADOW = 0.35

#: Gyrus and sulcus: two greys leave every colour to the data.
GREYS = ("#DEDEDE", "#A3A3A3")

#: Inches: the width of two columns in a journal (180 mm), and what is around the pictures.
WIDTH, SIDE, GAP = 7.09, 0.22, 0.12
TITLE, HEADING, BAR, LEGEND_LINE, PRINT_LINE = 0.28, 0.2, 0.52, 0.14, 0.105
#: The upper pictures are not wider and the flat maps not higher than this, so that all fit on a page.
UPPER_WIDTH, FLAT_HEIGHT = 3.0, 2.4
DPI = 300
#: Points.
FONT, SMALL = 8, 6
#: Letters of small print in a line.
CHARACTERS = 150
#: Points: width of outlines and of what is around them.
OUTLINE, CASING = 0.9, 1.9
#: Outlines beyond the tenth repeat the colours, in another style.
STYLES: tuple[Any, ...] = ("solid", (0, (3.5, 1.2)), (0, (1, 1)))

#: How often a triangle is cut into four, so that colours step finely and end where they should. Pieces of fsaverage5's
#: are then 1 mm long, or 5 dots.
CUTS = {"fsaverage5": 2, "fsaverage6": 1, "fsaverage": 1}
#: Triangles are cut until a piece's colour differs from the next by less than the colour bar's length over this.
STEPS = 40

FONTS: dict[Any, Any] = {
    "font.family": "sans-serif",
    "font.sans-serif": ["Arial", "Helvetica", "Liberation Sans", "DejaVu Sans"],
    "svg.fonttype": "none",  # text stays text
    "pdf.fonttype": 42,  # TrueType, embedded
    "svg.hashsalt": "brainviz",  # the same file for the same figure
}
#: matplotlib's settings and its font cache belong to the whole process.
_LOCK = threading.Lock()


def print_panels(
    maps: Mapping[str, NDArray[np.floating]],
    scale: Scale,
    provenance: Provenance,
    *,
    mesh: str = "fsaverage5",
    folder: Path | None = None,
    surface: str = "inflated",
    rois: Mapping[str, Mapping[str, Booleans]] | None = None,
    roi_order: Sequence[str] = (),
    threshold: float = 0.0,
    title: str = "",
    colours: str | None = None,
) -> Figure:
    """Draw a map for a publication: lateral, medial, ventral and flat views of both hemispheres, 180 mm wide.

    The three upper rows have one scale, in which inflated hemispheres of different size can be compared; the flat maps
    are as large as fits. Between vertices values are interpolated; a vertex with a value paints its half of the way to
    a neighbour without one. Painted colours are exactly those of the colour bar.

    Parameters
    ----------
    maps : mapping of (n,) arrays
        Keys ``"lh"`` and/or ``"rh"``; one value per vertex of `mesh`, NaN where there is none, which stays grey.
    scale : Scale
    provenance : Provenance
        Printed below, and written into the file by `panel_bytes`.
    mesh : {"fsaverage5", "fsaverage6", "fsaverage"}
        Without a flat map of a finer mesh, the flat row is of fsaverage5, its first vertices, and says so.
    folder : Path, optional
        As for `brainviz.figures.meshes.load_mesh`.
    surface : {"inflated", "pial", "white", "sphere"}
        Of the three upper rows.
    rois : mapping of mappings of (n,) bool arrays, optional
        Hemisphere -> name -> the ROI's vertices, which are outlined.
    roi_order : sequence of str
        All ROIs in the order of their colours, so that a ROI has the same one whichever others are outlined; by default
        those that are.
    threshold : float
        Values nearer to 0 than this are left grey. Has no meaning for names.
    title : str, optional
    colours : str, optional
        A name of `brainviz.figures.surface.palettes`; its first where nothing is said.

    Returns
    -------
    matplotlib Figure
        For `panel_bytes`.

    Raises
    ------
    DatasetError
        The surface is not at hand, or its file is damaged.
    SpecError
        A map or a ROI is not on `mesh`, or `surface` cannot be seen from the side.
    """
    from matplotlib.figure import Figure

    if surface == "flat":
        raise SpecError(
            "The upper rows need a surface in space.", got="flat", expected="inflated, pial, white or sphere"
        )
    rois = {hemi: dict(rois[hemi]) for hemi in HEMISPHERES if hemi in rois} if rois else {}
    has_flat = "flat" in surfaces(mesh, folder)
    flat_mesh = mesh if has_flat else "fsaverage5"
    upper, flat = load_mesh(mesh, surface, folder), load_mesh(flat_mesh, "flat", folder)
    _refuse_other_size(maps, rois, mesh)

    if scale.kind == "categorical":
        threshold = 0.0  # names are not near to or far from 0
    outlined = list(dict.fromkeys(name for names in rois.values() for name in names))
    all_styles = _outline_styles(dict.fromkeys([*roi_order, *outlined]))
    styles = {name: style for name, style in all_styles.items() if name in outlined}
    shades = colour_map(scale, colours)
    nothing = np.full(MESH_VERTICES[mesh], np.nan)
    shown = {hemi: _visible(maps.get(hemi, nothing), threshold) for hemi in HEMISPHERES}
    pictures = [
        [
            _Picture.of(
                (flat if view == "flat" else upper)[hemi],
                view,
                hemi,
                shown[hemi],
                rois.get(hemi, {}),
                cuts=CUTS[flat_mesh if view == "flat" else mesh],
                smooth=surface in SMOOTH,
                step=0.0 if scale.kind == "categorical" else (scale.high - scale.low) / STEPS,
            )
            for hemi in HEMISPHERES
        ]
        for view in (*VIEWS, "flat")
    ]
    small_print = _small_print(provenance, threshold, surface, mesh, flat_mesh)
    layout = _Layout.of(pictures, list(scale.names), list(styles), len(small_print), bool(title))
    figure = Figure(figsize=(WIDTH, layout.height), facecolor="white")
    figure.set_label(json.dumps(provenance.fields(), ensure_ascii=False))
    for row, both in enumerate(pictures):
        for column, picture in enumerate(both):
            axes = figure.add_axes(
                layout.square(row, column),
                projection="3d",
                proj_type="ortho",
                computed_zorder=False,
            )
            picture.draw(axes, layout.half(row), shades, scale, styles)
    layout.write(figure, title, [hemi for hemi in HEMISPHERES if hemi not in maps])
    _colour_bar(figure, layout, scale, shades, threshold, maps)
    _legend(figure, layout, scale, styles)
    layout.text(figure, SIDE, GAP / 2, "\n".join(small_print), size=SMALL, color=MUTED, ha="left", va="bottom")
    return figure


def panel_bytes(figure: Figure, format: Literal["png", "svg", "pdf"]) -> bytes:
    """Return a figure of `print_panels` as a file of 300 dpi.

    In SVG and PDF the painted surfaces are pictures of 300 dpi, and outlines, colour bar and text are vectors; text
    stays text. The provenance is in the file's metadata.

    Parameters
    ----------
    figure : matplotlib Figure
    format : {"png", "svg", "pdf"}

    Returns
    -------
    bytes
    """
    from matplotlib import rc_context

    facts = str(figure.get_label())
    metadata: dict[str, dict[str, Any]] = {
        "png": {"Description": facts, "Software": "brainviz"},
        "svg": {"Description": facts, "Creator": "brainviz", "Date": None},
        "pdf": {"Subject": facts, "Creator": "brainviz", "CreationDate": None},
    }
    content = io.BytesIO()
    with _LOCK, rc_context(FONTS):
        figure.savefig(content, format=format, dpi=DPI, metadata=metadata[format])
    return content.getvalue()


def _refuse_other_size(maps: Mapping[str, NDArray[Any]], rois: Mapping[str, Mapping[str, Booleans]], mesh: str) -> None:
    arrays = [(f"The map ({hemi})", values) for hemi, values in maps.items()]
    arrays += [(f"ROI {roi} ({hemi})", mask) for hemi, masks in rois.items() for roi, mask in masks.items()]
    for what, array in arrays:
        if len(array) != MESH_VERTICES[mesh]:
            raise SpecError(
                f"{what} is not on {mesh}.",
                got=f"{len(array):,} values",
                expected=f"{MESH_VERTICES[mesh]:,}, one per vertex",
            )


def _visible(values: NDArray[np.floating], threshold: float) -> Numbers:
    """Return the values that are painted; NaN elsewhere."""
    return np.where(np.abs(values) >= threshold, values, np.nan).astype(np.float64)


def colour_map(scale: Scale, colours: str | None) -> Colormap:
    """Return a scale's colours for matplotlib, by a name of `brainviz.figures.surface.palettes`; None: its first."""
    from matplotlib.colors import ListedColormap

    known = palettes(scale)
    name = colours or next(iter(known))
    if name not in known:
        raise SpecError(f"This map has no colours of the name {name!r}.", got=name, expected=", ".join(known))
    rows = known[name] if len(known[name]) else np.zeros((1, 3), np.uint8)  # a map of no areas has no colours either
    return ListedColormap(rows / 255)


@dataclass(frozen=True)
class _Picture:
    """One hemisphere from one side, ready to be drawn.

    Attributes
    ----------
    pieces : Pieces
        What faces the viewer; millimetres from the picture's middle.
    lines : dict of lists of (k, 3) arrays
        Name of the ROI -> what can be seen of its outline.
    size : (2,) array
        Width and height, millimetres.
    view, hemi : str
    """

    pieces: Pieces
    lines: dict[str, list[Line]]
    size: Numbers
    view: str
    hemi: str

    @classmethod
    def of(
        cls,
        mesh: Mesh,
        view: str,
        hemi: str,
        values: Numbers,
        rois: Mapping[str, Booleans],
        *,
        cuts: int,
        step: float,
        smooth: bool,
    ) -> _Picture:
        """Turn a hemisphere so that a view's right, up and near are x, y and z; keep what faces the viewer.

        Parameters
        ----------
        mesh : Mesh
        view, hemi : str
        values : (at least n,) array
            On the flat map of a coarser mesh, values (and ROIs) go on after its last vertex.
        rois : mapping of (at least n,) bool arrays
        cuts, step
            As ``finest`` and ``step`` of `brainviz.figures.pieces.cut`.
        smooth : bool
            The surface has no folds that need light and shadow to be seen.
        """
        mirror = np.diag([-1, 1, 1]) if hemi == "rh" and view != "flat" else np.eye(3)
        looking = mirror @ LOOKING[view] @ mirror
        points = mesh.coordinates.astype(np.float64) @ looking.T
        used = points[np.unique(mesh.faces)]
        points -= np.append((used[:, :2].min(axis=0) + used[:, :2].max(axis=0)) / 2, 0)
        faces = mesh.faces
        if view != "flat":
            a, b, c = (points[faces[:, corner], :2] for corner in range(3))
            (x1, y1), (x2, y2) = (b - a).T, (c - a).T
            faces = faces[x1 * y2 > x2 * y1]

        front = Front.of((barycentric(cuts).mean(axis=1) @ points[faces]).reshape(-1, 3))
        lines = {
            name: [seen for line in outlines(points, mesh.faces, mask) for seen in front.seen(line)]
            for name, mask in rois.items()
        }
        shadow = np.zeros(len(points)) if smooth or view == "flat" else 1 - (normals(mesh) @ looking[2]).clip(0, 1)
        pieces = cut(points, faces, values, mesh.sulcal_depth, shadow, finest=cuts, step=step)
        shown = {name: parts for name, parts in lines.items() if parts}
        return cls(pieces, shown, np.ptp(used[:, :2], axis=0), view, hemi)

    def draw(
        self, axes: Any, half: float, colour_map: Colormap, scale: Scale, styles: Mapping[str, tuple[str, Any]]
    ) -> None:
        """Draw into square axes that reach `half` millimetres from the middle to each side."""
        from mpl_toolkits.mplot3d.art3d import Line3DCollection  # type: ignore[import-untyped]
        from nilearn.plotting import plot_surf

        points = self.pieces.corners.reshape(-1, 3)
        middle = points.mean(axis=0)  # nilearn moves it to the origin
        plot_surf(
            [points.copy(), np.arange(len(points)).reshape(-1, 3)],
            surf_map=np.repeat(self.pieces.values, 3),
            bg_map=np.repeat(_greys()[self.pieces.deep.astype(int)] + SHADOW * self.pieces.shadow, 3),
            hemi={"lh": "left", "rh": "right"}[self.hemi],
            view=(90, -90),
            engine="matplotlib",
            cmap=colour_map,
            colorbar=False,
            vmin=scale.low,
            vmax=scale.high,
            axes=axes,
        )
        axes.collections[0].set(rasterized=True, edgecolor="none")
        # All casings first: the outline of a neighbour must not be hidden by one.
        strokes = {name: _strokes(styles[name]) for name in self.lines}
        for stroke in range(2):
            for name, lines in self.lines.items():
                colour, dashes, width = strokes[name][stroke]
                drawn = Line3DCollection(
                    [line - middle for line in lines], colors=colour, linewidths=width, linestyles=[dashes]
                )
                axes.add_collection3d(drawn, autolim=False)
        # nilearn leaves the third axis to itself and the box at 4:4:3, which distorts a brain.
        axes.set_xlim(-half - middle[0], half - middle[0])
        axes.set_ylim(-half - middle[1], half - middle[1])
        axes.set_zlim(-half, half)
        axes.set_box_aspect((1, 1, 1))
        axes.patch.set_visible(False)
        # matplotlib leaves room for labels, more on one side: the picture is to fill its axes, from edge to edge.
        ends = axes.get_proj() @ np.append(np.array([[-half], [half]]) - middle, [[1], [1]], axis=1).T
        axes.viewLim.intervalx, axes.viewLim.intervaly = ends[:2] / ends[3]


def _greys() -> Numbers:
    """Return where matplotlib's ``gray_r``, which nilearn paints the background with, has our greys."""
    from matplotlib.colors import to_rgb

    return np.array([1 - to_rgb(grey)[0] for grey in GREYS])


@dataclass(frozen=True)
class _Layout:
    """Where everything is on the page, in inches from the lower left.

    Attributes
    ----------
    pictures : list of rows of `_Picture`
    inches : tuple of float
        Of a millimetre, per row.
    middles : tuple of float
        Height of the middle of each row.
    bar, legend, height : float
        Upper edge of the colour bar and of the legend; height of the page.
    """

    pictures: list[list[_Picture]]
    inches: tuple[float, ...]
    middles: tuple[float, ...]
    bar: float
    legend: float
    height: float

    COLUMN = (WIDTH - SIDE - 2 * GAP) / 2

    @classmethod
    def of(
        cls, pictures: list[list[_Picture]], coloured: list[str], outlined: list[str], printed: int, titled: bool
    ) -> _Layout:
        """Reserve what the pictures, the legend's names and the lines of small print take."""
        largest = [np.max([picture.size for picture in both], axis=0) for both in pictures]
        upper = min(UPPER_WIDTH / width for width, _ in largest[:-1])
        flat = min(cls.COLUMN / largest[-1][0], FLAT_HEIGHT / largest[-1][1])
        inches = (*[upper] * len(VIEWS), flat)
        heights = [GAP + inch * height for inch, (_, height) in zip(inches, largest, strict=True)]
        lines = sum(len(_legend_rows(names, names)) for names in (coloured, outlined))
        bar = 1.5 * GAP + PRINT_LINE * printed + LEGEND_LINE * lines + (0 if coloured else BAR)
        legend = bar - (0 if coloured else BAR)
        top = bar + sum(heights)
        middles = tuple(float(top - sum(heights[:row]) - heights[row] / 2) for row in range(len(heights)))
        return cls(pictures, inches, middles, bar, legend, float(top + HEADING + (TITLE if titled else 0)))

    def half(self, row: int) -> float:
        """Millimetres from the middle of the row's pictures to the edges of their axes."""
        return float(max(picture.size.max() for picture in self.pictures[row]) / 2 + 2)

    def middle(self, column: int) -> float:
        """Return where the middle of a column is."""
        return SIDE + self.COLUMN / 2 + column * (self.COLUMN + GAP)

    def square(self, row: int, column: int) -> tuple[float, float, float, float]:
        """Left, bottom, width and height of the axes of a picture, as parts of the page."""
        half = self.half(row) * self.inches[row]
        x, y = self.middle(column) - half, self.middles[row] - half
        return (x / WIDTH, y / self.height, 2 * half / WIDTH, 2 * half / self.height)

    def write(self, figure: Figure, title: str, without: Iterable[str]) -> None:
        """Write title, names of hemispheres and views, and what is in front and behind."""
        top = self.height - (TITLE if title else 0)
        if title:
            self.text(figure, SIDE, self.height - 0.06, title, size=FONT + 2, weight="bold", va="top", ha="left")
        for column, hemi in enumerate(HEMISPHERES):
            name = HEMISPHERE_NAMES[hemi] + (" (no data)" if hemi in without else "")
            self.text(figure, self.middle(column), top - HEADING / 2, name, size=FONT)
        for row, both in enumerate(self.pictures):
            view = both[0].view
            self.text(figure, SIDE / 2, self.middles[row], view, size=FONT, rotation=90)
            for column, picture in enumerate(both):
                low = self.middles[row] - picture.size[1] / 2 * self.inches[row]
                reach = picture.size[0] / 2 * self.inches[row]
                ends = ENDS[view][:: 1 if picture.hemi == "lh" else -1]
                for end, x in zip(ends, (-reach, reach), strict=True):
                    self.text(figure, self.middle(column) + x, low, end, size=SMALL, color=MUTED)

    def text(self, figure: Figure, x: float, y: float, text: str, **look: Any) -> None:
        """Write at a place in inches."""
        figure.text(
            x / WIDTH, y / self.height, text, parse_math=False, **{"color": INK, "ha": "center", "va": "center"} | look
        )


def _outline_styles(names: Iterable[str]) -> dict[str, tuple[str, Any]]:
    """Return colour and line style per ROI."""
    count = len(CATEGORY_COLOURS)
    return {
        name: (CATEGORY_COLOURS[number % count], STYLES[number // count % len(STYLES)])
        for number, name in enumerate(names)
    }


def _strokes(style: tuple[str, Any]) -> tuple[tuple[str, Any, float], ...]:
    """Return colour, dashes and width of the two lines an outline is drawn with.

    It stands out from any colour of a map: a light one on something dark, a dark one on white.
    """
    from matplotlib.colors import to_rgb

    colour, dashes = style
    casing = INK if np.dot(to_rgb(colour), (0.299, 0.587, 0.114)) > 0.5 else "white"
    return ((casing, "solid", CASING), (colour, dashes, OUTLINE))


def _colour_bar(
    figure: Figure,
    layout: _Layout,
    scale: Scale,
    colour_map: Colormap,
    threshold: float,
    maps: Mapping[str, NDArray[np.floating]],
) -> None:
    """Draw the colour bar, with arrows where values go beyond it and grey below the threshold."""
    if scale.kind == "categorical":
        return
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    known = [values[np.isfinite(values)] for values in maps.values()]
    below = any((values < scale.low).any() for values in known)
    above = any((values > scale.high).any() for values in known)
    width, height = 2.4, 0.09
    middle = SIDE + layout.COLUMN + GAP / 2
    axes = figure.add_axes(
        ((middle - width / 2) / WIDTH, (layout.bar - 0.14) / layout.height, width / WIDTH, height / layout.height)
    )
    bar = figure.colorbar(
        ScalarMappable(Normalize(scale.low, scale.high), colour_map),
        cax=axes,
        orientation="horizontal",
        extend={(False, False): "neither", (True, False): "min", (False, True): "max", (True, True): "both"}[
            below, above
        ],
        extendfrac=0.04,
    )
    if bar.solids is not None:
        bar.solids.set_rasterized(True)  # as vectors, its 256 steps have gaps in some viewers
    bar.outline.set_linewidth(0.5)
    bar.outline.set_edgecolor(MUTED)
    axes.tick_params(labelsize=FONT - 1, width=0.5, length=2, pad=1.5, color=MUTED, labelcolor=INK)
    bar.set_label(scale.label, size=FONT, color=INK, labelpad=2)
    if threshold > 0:
        axes.axvspan(max(-threshold, scale.low), min(threshold, scale.high), color=GREYS[0], linewidth=0, zorder=2)


def _legend(figure: Figure, layout: _Layout, scale: Scale, styles: Mapping[str, tuple[str, Any]]) -> None:
    """Name the outlines, and the colours of a map of names."""
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    named = [Patch(color=CATEGORY_COLOURS[number % len(CATEGORY_COLOURS)]) for number in range(len(scale.names))]
    lines = [
        tuple(
            Line2D([], [], color=drawn, linestyle=dashes, linewidth=width) for drawn, dashes, width in _strokes(style)
        )
        for style in styles.values()
    ]
    rows = [*_legend_rows(list(scale.names), named), *_legend_rows(list(styles), lines)]
    for number, (names, handles) in enumerate(rows):
        figure.legend(
            handles,
            names,
            loc="upper center",
            bbox_to_anchor=(
                (SIDE + layout.COLUMN + GAP / 2) / WIDTH,
                (layout.legend - number * LEGEND_LINE) / layout.height,
            ),
            ncols=len(names),
            frameon=False,
            fontsize=FONT - 1,
            labelcolor=INK,
            handlelength=1.6,
            handletextpad=0.5,
            columnspacing=1.4,
            borderpad=0,
            borderaxespad=0,
        )


def _legend_rows(names: list[str], handles: list[Any]) -> list[tuple[list[str], list[Any]]]:
    """Break a legend into lines that are not wider than the page."""
    columns = int((WIDTH - 2 * SIDE) / (0.42 + 0.058 * max(map(len, names), default=0)))
    return [(names[k : k + columns], handles[k : k + columns]) for k in range(0, len(names), columns)]


def _small_print(provenance: Provenance, threshold: float, surface: str, mesh: str, flat_mesh: str) -> list[str]:
    """Return the lines below: how to read the figure, then where its numbers come from."""
    flat = "" if flat_mesh == mesh else f"; flat map of {flat_mesh}, whose vertices are the first of {mesh}"
    grey = f" or nearer to 0 than {threshold:g}" if threshold > 0 else ""
    note = f"{surface.capitalize()} surface of {mesh}{flat}. Grey: no value{grey}; sulci are darker."
    return [*wrap(note, CHARACTERS), *wrap(provenance.line(), CHARACTERS)]
