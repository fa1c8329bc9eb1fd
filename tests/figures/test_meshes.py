"""The cortex as triangles: facts about fsaverage, files in every form, and paint whose area is known in closed form."""

import gzip
import shutil
from pathlib import Path

import nibabel
import numpy as np
import pytest

from brainviz.datasets.base import MESH_VERTICES
from brainviz.errors import DatasetError
from brainviz.figures.meshes import (
    SURFACES,
    Mesh,
    load_mesh,
    normals,
    onto,
    resolution,
    spread,
    surfaces,
)

N_VERTICES = MESH_VERTICES["fsaverage5"]

#: Vertices of the icosahedron's subdivisions in nilearn's and FreeSurfer's names.
FINER = {"fsaverage6": 40_962, "fsaverage": 163_842}


@pytest.fixture(autouse=True)
def no_downloads_of_the_user(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Nilearn's folder of downloads is an empty one."""
    folder = tmp_path_factory.mktemp("nilearn")
    monkeypatch.setenv("NILEARN_SHARED_DATA", str(folder))
    monkeypatch.setenv("NILEARN_DATA", str(folder))
    monkeypatch.setenv("HOME", str(folder))
    return folder


@pytest.fixture
def real(shared_data: Path) -> Path:
    """Return the folder of real fsaverage6 surfaces, or skip the test."""
    if not (shared_data / "meshes").exists():
        pytest.skip("needs the real meshes in ../shared/data/meshes, which are not here")
    return shared_data / "meshes"


@pytest.fixture(scope="module")
def tetrahedron() -> tuple[np.ndarray, np.ndarray]:
    """Return a surface of as many vertices as fsaverage6 has, of which only four are in triangles."""
    coordinates = np.zeros((FINER["fsaverage6"], 3), np.float32)
    coordinates[:4] = [[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]]
    return coordinates, np.array([[0, 1, 2], [0, 3, 1], [0, 2, 3], [1, 3, 2]], np.int32)


def write_gifti(path: Path, coordinates: np.ndarray, faces: np.ndarray) -> None:
    arrays = [
        nibabel.gifti.GiftiDataArray(coordinates, "NIFTI_INTENT_POINTSET", "NIFTI_TYPE_FLOAT32"),
        nibabel.gifti.GiftiDataArray(faces, "NIFTI_INTENT_TRIANGLE", "NIFTI_TYPE_INT32"),
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    content = nibabel.gifti.GiftiImage(darrays=arrays).to_bytes()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)


def write_depth(path: Path, depth: np.ndarray) -> None:
    array = nibabel.gifti.GiftiDataArray(depth.astype(np.float32), "NIFTI_INTENT_SHAPE", "NIFTI_TYPE_FLOAT32")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(nibabel.gifti.GiftiImage(darrays=[array]).to_bytes())


def write_both(folder: Path, pattern: str, surface: tuple[np.ndarray, np.ndarray]) -> None:
    """Write a surface under a name in which {side} or {hemi} stands for the hemisphere."""
    for hemi, side in (("lh", "left"), ("rh", "right")):
        write_gifti(folder / pattern.format(hemi=hemi, side=side), *surface)


@pytest.fixture
def octahedron() -> Mesh:
    """Return the octahedron with corners on the unit axes: 8 equal faces, outward."""
    corners = np.array([[1, 0, 0], [-1, 0, 0], [0, 1, 0], [0, -1, 0], [0, 0, 1], [0, 0, -1]], np.float32)
    upper = [[0, 2, 4], [2, 1, 4], [1, 3, 4], [3, 0, 4]]
    lower = [[b, a, 5] for a, b, _ in upper]
    return Mesh(corners, np.array(upper + lower, np.int32), np.zeros(6, np.float32))


@pytest.mark.parametrize("surface", [surface for surface in SURFACES if surface != "flat"])
def test_fsaverage5_has_the_size_of_a_subdivided_icosahedron(surface: str) -> None:
    meshes = load_mesh("fsaverage5", surface)
    assert list(meshes) == ["lh", "rh"]
    for mesh in meshes.values():
        assert mesh.coordinates.shape == (N_VERTICES, 3)
        assert mesh.coordinates.dtype == np.float32
        assert mesh.faces.dtype == np.int32
        # Euler: V - E + F = 2 with 3F = 2E.
        assert len(mesh.faces) == 2 * (N_VERTICES - 2)
        assert mesh.sulcal_depth.min() < 0 < mesh.sulcal_depth.max()


def test_flat_map_is_flat_and_cut_open() -> None:
    for mesh in load_mesh("fsaverage5", "flat").values():
        assert mesh.coordinates.shape == (N_VERTICES, 3)
        assert (mesh.coordinates[:, 2] == 0).all()
        assert len(mesh.faces) < 2 * (N_VERTICES - 2)


def test_sphere_has_freesurfers_radius() -> None:
    for mesh in load_mesh("fsaverage5", "sphere").values():
        np.testing.assert_allclose(np.linalg.norm(mesh.coordinates, axis=1), 100, atol=0.1)


@pytest.mark.parametrize("surface", ["pial", "white"])
@pytest.mark.parametrize("name", ["fsaverage5", "fsaverage6"])
def test_right_front_and_up(name: str, surface: str, request: pytest.FixtureRequest) -> None:
    """A brain is longer than high, wider at the back, and its lowest part, the temporal lobe, is outside the middle."""
    folder = None if name == "fsaverage5" else request.getfixturevalue("real")
    meshes = load_mesh(name, surface, folder)
    assert meshes["lh"].coordinates[:, 0].mean() < 0 < meshes["rh"].coordinates[:, 0].mean()
    for mesh in meshes.values():
        x, y, z = mesh.coordinates.T
        assert np.ptp(y) > np.ptp(z) > np.ptp(x)
        lowest = z < np.percentile(z, 2)
        assert np.abs(x[lowest]).mean() > 20
        # The temporal lobe and what lies below it are in front of the occipital pole and behind the frontal pole.
        assert y.min() + 30 < y[lowest].mean() < y.max() - 50


@pytest.mark.parametrize("surface", ["pial", "white"])
def test_first_vertices_of_fsaverage6_are_those_of_fsaverage5(surface: str, real: Path) -> None:
    coarse, fine = load_mesh("fsaverage5", surface), load_mesh("fsaverage6", surface, real)
    for hemi, mesh in fine.items():
        assert mesh.coordinates.shape == (FINER["fsaverage6"], 3)
        distance = np.linalg.norm(mesh.coordinates[:N_VERTICES] - coarse[hemi].coordinates, axis=1)
        assert np.median(distance) < 1


def test_spheres_of_fsaverage_and_fsaverage5_share_their_first_vertices(real: Path) -> None:
    coarse, fine = load_mesh("fsaverage5", "sphere"), load_mesh("fsaverage", "sphere", real)
    for hemi, mesh in fine.items():
        np.testing.assert_allclose(mesh.coordinates[:N_VERTICES], coarse[hemi].coordinates, atol=0.1)


def test_depth_without_a_file_is_fsaverage5s_between_its_vertices(real: Path) -> None:
    coarse, fine = load_mesh("fsaverage5", "pial"), load_mesh("fsaverage6", "pial", real)
    for hemi, mesh in fine.items():
        np.testing.assert_array_equal(mesh.sulcal_depth[:N_VERTICES], coarse[hemi].sulcal_depth)
        # Each later vertex of a subdivision halves an edge of the coarser mesh: the mean of that edge's ends.
        ends = mesh.faces[(mesh.faces < N_VERTICES).sum(axis=1) == 1]
        later = N_VERTICES + 1000
        around = np.unique(ends[(ends == later).any(axis=1)])
        two = around[around < N_VERTICES]
        assert len(two) == 2
        assert mesh.sulcal_depth[later] == pytest.approx(coarse[hemi].sulcal_depth[two].mean(), abs=1e-5)


def test_what_is_at_hand(real: Path, no_downloads_of_the_user: Path) -> None:
    assert surfaces("fsaverage5") == SURFACES
    assert surfaces("fsaverage6") == surfaces("fsaverage") == ()
    assert surfaces("fsaverage6", real) == ("inflated", "pial", "white")
    assert surfaces("fsaverage", real) == ("sphere",)
    assert resolution("fsaverage") == "fsaverage5"
    assert resolution("fsaverage", real) == "fsaverage"
    assert resolution("fsaverage", real, surface="pial") == "fsaverage6"
    assert resolution("fsaverage", real, surface="flat") == "fsaverage5"
    assert resolution("fsaverage6", real) == "fsaverage6"
    assert resolution("fsaverage5", real) == "fsaverage5"


@pytest.mark.parametrize(
    "pattern",
    [
        "fsaverage6/infl_{side}.gii.gz",
        "fsaverage6/infl_{side}.gii",
        "fsaverage6.{hemi}.inflated.gii",
        "fsaverage6.{hemi}.inflated.gii.gz",
    ],
)
def test_names_in_a_folder(pattern: str, tmp_path: Path, tetrahedron: tuple[np.ndarray, np.ndarray]) -> None:
    folder = tmp_path / "of [the] lab"
    write_both(folder, pattern, tetrahedron)
    assert surfaces("fsaverage6", folder) == ("inflated",)
    mesh = load_mesh("fsaverage6", "inflated", folder)["rh"]
    np.testing.assert_array_equal(mesh.coordinates, tetrahedron[0])
    np.testing.assert_array_equal(mesh.faces, tetrahedron[1])


@pytest.mark.filterwarnings("ignore:Unknown extension code", "ignore:No volume information")
def test_freesurfers_own_files(tmp_path: Path, tetrahedron: tuple[np.ndarray, np.ndarray]) -> None:
    depth = np.arange(FINER["fsaverage6"], dtype=np.float32)
    (tmp_path / "fsaverage6/surf").mkdir(parents=True)
    for hemi in ("lh", "rh"):
        nibabel.freesurfer.write_geometry(str(tmp_path / f"fsaverage6/surf/{hemi}.white"), *tetrahedron)
        nibabel.freesurfer.write_morph_data(str(tmp_path / f"fsaverage6/surf/{hemi}.sulc"), depth)
    assert surfaces("fsaverage6", tmp_path) == ("white",)
    mesh = load_mesh("fsaverage6", "white", tmp_path)["lh"]
    np.testing.assert_array_equal(mesh.coordinates, tetrahedron[0])
    np.testing.assert_array_equal(mesh.faces, tetrahedron[1])
    np.testing.assert_array_equal(mesh.sulcal_depth, depth)


def test_nilearns_downloads_are_found(
    no_downloads_of_the_user: Path, tmp_path: Path, tetrahedron: tuple[np.ndarray, np.ndarray]
) -> None:
    write_both(no_downloads_of_the_user, "fsaverage6/pial_{side}.gii.gz", tetrahedron)
    assert surfaces("fsaverage6") == ("pial",)
    assert resolution("fsaverage") == "fsaverage6"
    # A folder that is named is the only one that counts.
    assert surfaces("fsaverage6", tmp_path) == ()


def test_one_hemisphere_is_not_enough(tmp_path: Path, tetrahedron: tuple[np.ndarray, np.ndarray]) -> None:
    write_gifti(tmp_path / "fsaverage6.lh.pial.gii", *tetrahedron)
    assert surfaces("fsaverage6", tmp_path) == ()
    with pytest.raises(DatasetError, match=r"(?s)pial surface of fsaverage6.*\(rh\).*fsaverage6\.rh\.pial\.gii"):
        load_mesh("fsaverage6", "pial", tmp_path)


def test_file_of_another_mesh_is_refused(tmp_path: Path, real: Path) -> None:
    for hemi in ("lh", "rh"):
        shutil.copy(real / f"fsaverage6.{hemi}.pial.gii", tmp_path / f"fsaverage.{hemi}.pial.gii")
    with pytest.raises(
        DatasetError, match=r"(?s)does not fit fsaverage\..*40,962 vertices, as many as fsaverage6.*163,842"
    ):
        load_mesh("fsaverage", "pial", tmp_path)


def test_depths_of_another_mesh_are_refused(tmp_path: Path, tetrahedron: tuple[np.ndarray, np.ndarray]) -> None:
    write_both(tmp_path, "fsaverage6/pial_{side}.gii", tetrahedron)
    write_depth(tmp_path / "fsaverage6/sulc_left.gii", np.zeros(7))
    with pytest.raises(DatasetError, match=r"(?s)sulc_left.gii does not fit fsaverage6.*7 vertices"):
        load_mesh("fsaverage6", "pial", tmp_path)


def test_faces_must_be_among_the_vertices(tmp_path: Path, tetrahedron: tuple[np.ndarray, np.ndarray]) -> None:
    coordinates, faces = tetrahedron
    write_both(
        tmp_path, "fsaverage6/pial_{side}.gii", (coordinates, np.where(faces == 3, 40_962, faces).astype(np.int32))
    )
    with pytest.raises(DatasetError, match=r"(?s)pial_left.gii cannot be read.*40962"):
        load_mesh("fsaverage6", "pial", tmp_path)


@pytest.mark.parametrize("name", ["pial_{}.gii", "pial_{}.gii.gz"])
def test_damaged_file_is_named(name: str, tmp_path: Path) -> None:
    for side in ("left", "right"):
        path = tmp_path / "fsaverage6" / name.format(side)
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"no mesh")
    with pytest.raises(DatasetError, match=r"(?s)pial_left.*cannot be read"):
        load_mesh("fsaverage6", "pial", tmp_path)


def test_nobody_changes_a_shared_mesh() -> None:
    mesh = load_mesh("fsaverage5", "pial")["lh"]
    for array in (mesh.coordinates, mesh.faces, mesh.sulcal_depth):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 0


@pytest.mark.parametrize("n", [*MESH_VERTICES.values()])
def test_values_go_to_their_positions_and_later_ones_are_left_out(n: int) -> None:
    full = onto(np.array([0.5, -0.25, 9.0]), np.array([3, n - 1, n]), n)
    assert full.shape == (n,)
    assert full.dtype == np.float32
    assert full[3] == 0.5
    assert full[n - 1] == -0.25
    assert np.isfinite(full).sum() == 2


def test_spread_along_a_strip() -> None:
    # 0 - 1 - 2 - 3 above, 4 - 5 - 6 - 7 below; 8 is on its own.
    faces = np.array([[0, 4, 1], [1, 4, 5], [1, 5, 2], [2, 5, 6], [2, 6, 3], [3, 6, 7]], np.int32)
    values = np.full(9, np.nan, np.float32)
    values[[0, 7]] = 1, 4
    # First 1 and 4 from 0, 3 and 6 from 7; then 2 from 1, 3 and 6, and 5 from 1, 4 and 6.
    np.testing.assert_allclose(spread(values, faces), [1, 1, 3, 4, 1, 2, 4, 4, 0])


def test_normals_of_an_octahedron_are_its_corners(octahedron: Mesh) -> None:
    np.testing.assert_allclose(normals(octahedron), octahedron.coordinates, atol=1e-6)
