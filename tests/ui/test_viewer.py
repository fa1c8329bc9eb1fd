"""What the viewer is sent: files that unpack to the meshes, maps and areas on the page, and code that finds itself."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pandas as pd
import pytest
import streamlit as st
from streamlit.runtime.media_file_manager import MediaFileManager
from streamlit.testing.v1 import AppTest

from brainviz.datasets.base import HEMISPHERES, MESH_VERTICES
from brainviz.figures.meshes import SURFACES, load_mesh
from brainviz.figures.style import CATEGORY_COLOURS
from brainviz.figures.surface import correlation_scale, difference_scale, palettes, roi_scale
from brainviz.ui.viewer_plan import ASSETS, DIGEST_BYTES, MODULES, BrainMap, Regions
from brainviz.ui.viewer_plan import Tested as OnlyTested  # pytest takes what begins with Test for tests
from tests.component import plan_of, tell

N_VERTICES = MESH_VERTICES["fsaverage5"]


def viewer(maps: list, scale: object, options: dict) -> None:
    """Mount a viewer that notes what it is told; runs as a script of its own."""
    import streamlit as st

    from brainviz.ui.look import Look
    from brainviz.ui.viewer import show_viewer, told_look

    told = st.session_state.setdefault("told", [])
    show_viewer(
        maps,
        **{"mesh": "fsaverage5", "look": Look(), "key": "viewer", "summary": "in words"} | options,
        scale=scale,
        on_picked=lambda hemi, vertices: told.append((hemi, vertices)),
    )
    st.session_state["look"] = told_look("viewer")


Show = Callable[..., dict[str, Any]]


@pytest.fixture
def files(monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """Return what the server was given to send, by its address; files without the digest at their beginning."""
    sent: dict[str, bytes] = {}
    add = MediaFileManager.add

    def noted(self: MediaFileManager, content: bytes, *rest: Any, **more: Any) -> str:
        address = add(self, content, *rest, **more)
        if not content.lstrip().startswith(b"//"):  # a file, not a module
            digest, content = content[:DIGEST_BYTES], content[DIGEST_BYTES:]
            assert digest == hashlib.sha256(content).digest()[:DIGEST_BYTES]
        sent[address] = content
        return address

    monkeypatch.setattr(MediaFileManager, "add", noted)
    return sent


@pytest.fixture
def show(files: dict[str, bytes]) -> Show:
    """Return a function that mounts the viewer and returns the plan that it is sent."""
    return lambda maps, scale=None, **options: plan_of(mounted(maps, scale, **options))


def mounted(maps: Sequence[BrainMap], scale: Any = None, **options: Any) -> AppTest:
    scale = scale or correlation_scale([one.values["value"].to_numpy(float) for one in maps])
    at = AppTest.from_function(viewer, args=(maps, scale, options), default_timeout=60).run()
    assert not at.exception, [error.message for error in at.exception]
    return at


def some(title: str = "r", seed: int = 0, *, hemispheres: Sequence[str] = HEMISPHERES, n: int = 300) -> BrainMap:
    """Return a map with values at `n` vertices of each hemisphere."""
    rng = np.random.default_rng(seed)
    frames = [
        pd.DataFrame(
            {
                "hemi": hemi,
                "column": np.arange(n),
                "position": np.sort(rng.choice(N_VERTICES, n, replace=False)),
                "value": rng.uniform(-0.2, 0.7, n),
            }
        )
        for hemi in hemispheres
    ]
    return BrainMap(title, pd.concat(frames, ignore_index=True))


def at_vertices(values: Sequence[float], positions: Sequence[int] | None = None) -> BrainMap:
    """Return a map of the left hemisphere."""
    positions = range(len(values)) if positions is None else positions
    return BrainMap(
        "r", pd.DataFrame({"hemi": "lh", "column": range(len(values)), "position": positions}).assign(value=values)
    )


def numbers(content: bytes, low: float, high: float) -> np.ndarray:
    """Return a map's values, unpacked as `brainviz.figures.packing.pack_values` says."""
    steps = np.frombuffer(content, "<u2").astype(float)
    return np.where(steps == 65_535, np.nan, low + steps / 65_534 * (high - low))


def values_in(files: dict[str, bytes], sent: dict[str, Any], hemi: str = "lh") -> np.ndarray:
    both = numbers(files[sent["file"]], sent["low"], sent["high"])
    return both.reshape(len(sent["hemispheres"]), -1)[sent["hemispheres"].index(hemi)]


def surface_in(files: dict[str, bytes], surface: dict[str, Any]) -> dict[str, tuple[np.ndarray, ...]]:
    """Return hemisphere -> steps of the positions, faces, sulci; as `viewer.js` reads them."""
    parts = surface["parts"]
    width = 4 if surface["wide"] else 2
    n_faces = parts["lh"]["faces"] if surface["twins"] else sum(part["faces"] for part in parts.values())
    assert len(files[surface["shape"]]) == 3 * width * n_faces + sum(part["vertices"] for part in parts.values())
    faces = np.frombuffer(files[surface["shape"]], f"<u{width}", 3 * n_faces).reshape(-1, 3)
    sulci = np.frombuffer(files[surface["shape"]], np.uint8, offset=3 * width * n_faces)
    steps = np.frombuffer(files[surface["positions"]], "<u2").reshape(-1, 3)
    found, face, vertex = {}, 0, 0
    for hemi, part in parts.items():
        own = slice(vertex, vertex + part["vertices"])
        found[hemi] = steps[own], faces[face : face + part["faces"]], sulci[own]
        vertex, face = own.stop, face if surface["twins"] else face + part["faces"]
    return found


# --- the code ---------------------------------------------------------------------------------------------------------


def test_every_import_resolves(show: Show, files: dict[str, bytes]) -> None:
    first = show([some()])["code"][-1]
    waiting, seen = [first], set()
    while waiting:
        address = waiting.pop()
        seen.add(address)
        text = files[address].decode()
        imports = re.findall(r"""(?:from|import)\s*\(?\s*["']([^"']+)["']""", text)
        assert all(name.startswith("./") for name in imports)
        named = {f"{address.rsplit('/', 1)[0]}/{name[2:]}" for name in imports}
        assert named <= set(files)
        waiting += named - seen
        assert not re.search(r"""["']\./\w+\.js["']""", text)
    code = [address for address in files if files[address].lstrip().startswith(b"//")]
    assert seen == set(code)
    assert len(seen) == len(MODULES)
    assert set(show([some()])["code"]) == seen


def test_every_module_is_sent_after_those_it_imports() -> None:
    assert set(MODULES) == {path.name for path in ASSETS.glob("*.js")}
    for place, module in enumerate(MODULES):
        imported = re.findall(r'from "\./([^"]+)"', (ASSETS / module).read_text("utf-8"))
        assert set(imported) <= set(MODULES[:place])


def test_the_last_module_shows_a_plan() -> None:
    assert re.search(r"^export (async )?function show\(", (ASSETS / MODULES[-1]).read_text("utf-8"), re.MULTILINE)


def test_addresses_are_below_the_servers_base(
    show: Show, files: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    usual = st.get_option
    monkeypatch.setattr(st, "get_option", lambda name: "/lab/brain/" if name == "server.baseUrlPath" else usual(name))
    plan = show([some()])
    for address in (*plan["code"], plan["maps"][0]["file"], plan["mesh"]["surfaces"]["pial"]["shape"]):
        assert address.startswith("/lab/brain/")
        assert address.removeprefix("/lab/brain") in files
    # Modules name each other relative to themselves.
    assert b"/lab/brain" not in files[plan["code"][-1].removeprefix("/lab/brain")]


# --- the meshes -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("surface", SURFACES)
def test_meshes_unpack_to_nilearns(show: Show, files: dict[str, bytes], surface: str) -> None:
    sent = show([some()])["mesh"]["surfaces"]
    assert list(sent) == list(SURFACES)
    for hemi, mesh in load_mesh("fsaverage5", surface).items():
        part = sent[surface]["parts"][hemi]
        low, high = np.array(part["low"]), np.array(part["high"])
        steps, faces, sulci = surface_in(files, sent[surface])[hemi]
        coordinates = low + steps / 65_535 * (high - low)
        assert (np.abs(coordinates - mesh.coordinates) <= (high - low) / 65_535 / 2 + 1e-9).all()
        assert not sent[surface]["wide"]
        np.testing.assert_array_equal(faces, mesh.faces)
        np.testing.assert_array_equal(sulci == 255, mesh.sulcal_depth > 0)


def test_folded_surfaces_share_their_triangles(show: Show) -> None:
    """So that going from one to another fetches places alone."""
    sent = show([some()])["mesh"]["surfaces"]
    assert len({sent[surface]["shape"] for surface in SURFACES if surface != "flat"}) == 1
    assert sent["flat"]["shape"] != sent["pial"]["shape"]
    # Both hemispheres of fsaverage5 have the same ones, but for the flat maps, which are cut.
    assert sent["pial"]["twins"]
    assert not sent["flat"]["twins"]
    assert len({each["positions"] for each in sent.values()}) == len(SURFACES)


@pytest.fixture
def finer(tmp_path: Path) -> Path:
    """Return a folder with a sphere of fsaverage6 and one of fsaverage: random places, few triangles."""
    rng = np.random.default_rng(0)
    for mesh in ("fsaverage6", "fsaverage"):
        n = MESH_VERTICES[mesh]
        for hemi in HEMISPHERES:
            write(tmp_path / f"{mesh}.{hemi}.sulc.gii", "NIFTI_INTENT_SHAPE", rng.standard_normal(n))
            places = rng.uniform(-100, 100, (n, 3))
            write(tmp_path / f"{mesh}.{hemi}.sphere.gii", "NIFTI_INTENT_POINTSET", places, np.array([[0, 1, n - 1]]))
    return tmp_path


def write(path: Path, intent: str, numbers: np.ndarray, faces: np.ndarray | None = None) -> None:
    arrays = [nibabel.gifti.GiftiDataArray(numbers.astype(np.float32), intent, "NIFTI_TYPE_FLOAT32")]
    if faces is not None:
        arrays.append(nibabel.gifti.GiftiDataArray(faces.astype(np.int32), "NIFTI_INTENT_TRIANGLE", "NIFTI_TYPE_INT32"))
    path.write_bytes(nibabel.gifti.GiftiImage(darrays=arrays).to_bytes())


@pytest.mark.parametrize("mesh", ["fsaverage5", "fsaverage6", "fsaverage"])
def test_a_finer_mesh_is_sent_where_it_is_at_hand(show: Show, files: dict[str, bytes], finer: Path, mesh: str) -> None:
    n = MESH_VERTICES[mesh]
    last = n - 1
    regions = Regions({"Areas": ("A",)}, {("lh", "A"): np.array([0, last])})
    plan = show([at_vertices([0.25, 0.5], [7, last])], mesh=mesh, folder=finer, regions=regions)
    sphere, inflated = (plan["mesh"]["surfaces"][surface] for surface in ("sphere", "inflated"))
    assert sphere["wide"] == (n > 2**16)
    steps, triangles, _ = surface_in(files, sphere)["rh"]
    assert len(steps) == n
    assert (triangles[0].max() == last) == (mesh != "fsaverage5")
    # Surfaces of which only fsaverage5 is at hand are of its resolution; values and areas are of the finest.
    assert len(surface_in(files, inflated)["lh"][0]) == N_VERTICES
    values = values_in(files, plan["maps"][0])
    assert len(values) == n
    np.testing.assert_allclose(values[[7, last]], [0.25, 0.5])
    assert np.flatnonzero(np.frombuffer(files[plan["rois"]["file"]], "<u4")).tolist() == [0, last]


def test_another_mesh_has_another_name(show: Show, finer: Path) -> None:
    """The viewer keeps surfaces under the mesh's name."""
    names = {show([some()], mesh=mesh, folder=finer)["mesh"]["name"] for mesh in MESH_VERTICES}
    assert len(names) == 3


# --- the maps ---------------------------------------------------------------------------------------------------------


def test_values_are_where_they_belong(show: Show, files: dict[str, bytes]) -> None:
    one = some()
    (sent,) = show([one])["maps"]
    assert sent["title"] == "r"
    for hemi, rows in one.values.groupby("hemi"):
        full = np.full(N_VERTICES, np.nan)
        full[rows["position"]] = rows["value"]
        np.testing.assert_allclose(values_in(files, sent, str(hemi)), full, atol=0.9 / 65_534)


def test_two_maps_share_their_steps(show: Show, files: dict[str, bytes]) -> None:
    first, second = show([at_vertices([0.1, 0.2]), at_vertices([-0.4, 0.9])])["maps"]
    assert (first["low"], first["high"]) == (second["low"], second["high"]) == (-0.4, 0.9)
    np.testing.assert_allclose(values_in(files, first)[:2], [0.1, 0.2], atol=1e-4)
    np.testing.assert_allclose(values_in(files, second)[:2], [-0.4, 0.9], atol=1e-4)


def test_a_hemisphere_without_data_is_not_in_the_file(show: Show, files: dict[str, bytes]) -> None:
    (sent,) = show([some(hemispheres=["rh"])])["maps"]
    assert sent["hemispheres"] == ["rh"]
    assert len(files[sent["file"]]) == 2 * N_VERTICES


def test_what_lies_beyond_the_mesh_is_left_out(show: Show, files: dict[str, bytes], tmp_path: Path) -> None:
    values = [0.1, 0.2, 0.3]
    (sent,) = show([at_vertices(values, [5, N_VERTICES, 150_000])], mesh="fsaverage", folder=tmp_path)["maps"]
    got = values_in(files, sent)
    assert len(got) == N_VERTICES
    assert np.flatnonzero(np.isfinite(got)).tolist() == [5]


@pytest.mark.parametrize("values", [[np.nan, np.nan], [np.inf, np.nan], []])
def test_a_map_without_numbers(show: Show, files: dict[str, bytes], values: list[float]) -> None:
    (sent,) = show([at_vertices(values)])["maps"]
    assert np.isfinite([sent["low"], sent["high"]]).all()
    assert all(np.isnan(values_in(files, sent, hemi)).all() for hemi in sent["hemispheres"])


@pytest.mark.filterwarnings("error::RuntimeWarning")
@pytest.mark.parametrize("values", [[0.1, 0.1], [0.1, np.nextafter(0.1, 1)], [1 / 3, 1 / 3 + 1e-12, 1 / 3 - 1e-12]])
def test_a_map_that_is_the_same_everywhere(show: Show, files: dict[str, bytes], values: list[float]) -> None:
    """Differences may be constant but for rounding; 32 bits then say more than the range is wide."""
    (sent,) = show([at_vertices(values)])["maps"]
    np.testing.assert_allclose(values_in(files, sent)[: len(values)], values, rtol=1e-6)


def test_a_link_shows_the_same_addresses_and_another_map_others(show: Show) -> None:
    again, same, other = show([some()]), show([some()]), show([some(seed=1)])
    assert again == same
    assert other["maps"] != again["maps"]
    assert {name: part for name, part in other.items() if name not in ("maps", "scale")} == {
        name: part for name, part in again.items() if name not in ("maps", "scale")
    }


def test_a_plan_is_small(show: Show) -> None:
    assert len(json.dumps(show([some("A"), some("B", 1)]))) < 16_000


# --- scale, areas, ceiling, tests -------------------------------------------------------------------------------------


@pytest.mark.parametrize("scale", [correlation_scale([]), difference_scale([], "Δr"), roi_scale(["V1", "V2", "V3"])])
def test_colours_are_those_of_the_figures(show: Show, scale: Any) -> None:
    sent = show([at_vertices([0.0, 1.0])], scale)["scale"]
    assert {name: sent[name] for name in ("label", "kind", "low", "high")} == {
        name: getattr(scale, name) for name in ("label", "kind", "low", "high")
    }
    assert sent["names"] == list(scale.names)
    assert list(sent["palettes"]) == list(palettes(scale))
    for name, colours in palettes(scale).items():
        got = np.frombuffer(base64.b64decode(sent["palettes"][name]), np.uint8).reshape(-1, 3)
        np.testing.assert_array_equal(got, colours)
        assert len(got) == (len(scale.names) or 256)


def test_areas_are_bits_of_every_vertex(show: Show, files: dict[str, bytes]) -> None:
    names = tuple(f"area {number}" for number in range(40))
    rng = np.random.default_rng(0)
    positions = {("lh", name): np.flatnonzero(rng.random(N_VERTICES) < 0.01) for name in names[:35]}
    positions |= {("rh", names[-1]): np.array([4, 9, N_VERTICES, 150_000])}
    regions = Regions({"first": names[:20], "second": names[20:], "again": names[:2]}, positions)
    rois = show([some()], regions=regions)["rois"]
    assert rois["names"] == list(names)
    assert rois["sets"]["again"] == list(names[:2])
    assert rois["words"] == 2
    assert len(rois["tints"]) == 40
    assert rois["tints"][12] == rois["tints"][2] == [int(CATEGORY_COLOURS[2][at : at + 2], 16) for at in (1, 3, 5)]
    assert rois["hemispheres"] == list(HEMISPHERES)
    both = np.unpackbits(np.frombuffer(files[rois["file"]], np.uint8), bitorder="little").reshape(2, N_VERTICES, 64)
    for hemi, bits in zip(HEMISPHERES, both, strict=True):
        for number, name in enumerate(names):
            inside = positions.get((hemi, name), np.empty(0, int))
            assert np.flatnonzero(bits[:, number]).tolist() == inside[inside < N_VERTICES].tolist()
        assert not bits[:, 40:].any()


def test_a_subject_without_areas(show: Show) -> None:
    rois = show([some()], regions=Regions({}, {}))["rois"]
    assert (rois["names"], rois["sets"], rois["tints"]) == ([], {}, [])


def test_ceiling_and_tested_vertices(show: Show, files: dict[str, bytes]) -> None:
    ceiling = pd.DataFrame({"hemi": ["lh", "lh", "rh"], "position": [2, 5, 3], "value": [0.25, np.nan, 0.75]})
    tested = OnlyTested("Only these", "Why", {"lh": np.array([1, 8]), "rh": np.empty(0, np.int64)})
    plan = show([some()], ceiling=ceiling, tested=tested)
    left = values_in(files, plan["ceiling"])
    assert np.flatnonzero(np.isfinite(left)).tolist() == [2]
    np.testing.assert_allclose(left[2], 0.25)
    np.testing.assert_allclose(values_in(files, plan["ceiling"], "rh")[3], 0.75)
    assert (plan["tested"]["label"], plan["tested"]["help"]) == ("Only these", "Why")
    assert np.flatnonzero(values_in(files, plan["tested"]) == 1).tolist() == [1, 8]
    assert np.isnan(values_in(files, plan["tested"], "rh")).all()


def test_what_is_not_there_is_none(show: Show) -> None:
    plan = show([some()])
    assert [plan[name] for name in ("rois", "ceiling", "tested", "picked")] == [None] * 4
    assert plan["summary"] == "in words"


def test_picked_vertices_are_marked(show: Show) -> None:
    assert show([some()], picked=("rh", (3, 4)))["picked"] == {"hemi": "rh", "vertices": [3, 4]}


# --- what it tells ----------------------------------------------------------------------------------------------------


def test_a_look_stays_told_and_picked_vertices_are_told_once(files: dict[str, bytes]) -> None:
    at = mounted([some()])
    assert at.session_state["look"] is None
    look = {"surface": "pial", "threshold": 0.1}
    tell(at, look=look)
    assert at.session_state["look"] == look
    tell(at, look=look, picked={"hemi": "rh", "vertices": [7, 9]})
    tell(at, look=look, picked={"hemi": "rh", "vertices": [7, 9]})
    assert at.session_state["told"] == [("rh", (7, 9))]
    assert at.session_state["look"] == look
