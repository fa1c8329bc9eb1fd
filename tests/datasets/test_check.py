"""Tests of brainviz.datasets.check: every kind of damage is named, all at once, and nothing makes it crash."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import nibabel
import numpy as np
import pytest
from PIL import Image

from brainviz.datasets import open_dataset
from brainviz.datasets.check import Report, check_dataset
from brainviz.datasets.index import build_index
from brainviz.errors import BrainvizError

FMRI = "subj01/training_split/training_fmri/lh_training_fmri.npy"
IMAGES = "subj01/training_split/training_images"
MASKS = "subj01/roi_masks"


@pytest.fixture
def check(tiny_copy, tmp_path):
    return lambda: check_dataset(tiny_copy, tmp_path / "memo")


def _only(report: Report, level: str = "error"):
    """Return the one problem of this level that is not the fixture's shared picture."""
    found = [
        problem
        for problem in report.problems
        if problem.level == level and "more than one subject" not in problem.message
    ]
    assert len(found) == 1, found
    return found[0]


def _edit(path: Path, change) -> None:
    np.save(path, change(np.load(path)))


def test_sound_data(check, tiny_copy, tmp_path):
    report = check()
    assert report.errors == []
    assert [problem.message.split(" (")[0] for problem in report.warnings] == [
        "1 picture shown to more than one subject"
    ]
    assert "all under one name, as in NSD" in report.warnings[0].message
    assert report.index == build_index(open_dataset(tiny_copy), tmp_path / "memo")
    assert [(row["subject"], row["hemi"], row["vertices"]) for row in report.table] == [
        ("subj01", "lh", 120),
        ("subj01", "rh", 120),
        ("subj02", "lh", 96),
        ("subj02", "rh", 120),
    ]
    first, *_, last = report.table
    assert first["rois"] == {"V1v": 30, "V1d": 28, "V2v": 26, "FFA-1": 24, "V1": 58}
    assert (first["images"], first["test_images"], first["on_mesh"]) == (40, 4, True)
    assert (first["noise_ceiling"], last["noise_ceiling"]) == (True, False)


def test_report_as_json(check):
    report = check()
    back = Report.from_json(json.loads(json.dumps(report.to_json())))
    assert back == Report(report.problems, report.table, None)
    assert report.to_json()["fingerprint"] == report.index.fingerprint


def test_truncated_and_missing_responses(check, tiny_copy):
    path = tiny_copy / FMRI
    data = path.read_bytes()
    path.write_bytes(data[:-1000])
    problem = _only(check())
    assert (problem.subject, problem.file) == ("subj01", FMRI)
    assert "truncated" in problem.message
    assert f"{len(data) - 1000:,} bytes" in problem.message
    assert f"{len(data):,} bytes" in problem.message
    path.unlink()
    assert "lh_training_fmri.npy is missing" in _only(check()).message
    report = check()
    assert [(row["subject"], row["hemi"]) for row in report.table] == [
        ("subj01", "rh"),
        ("subj02", "lh"),
        ("subj02", "rh"),
    ]
    assert "subj01" in report.index.subjects


def test_one_hemisphere_only_is_normal(check, tiny_copy):
    for path in tiny_copy.rglob("rh*"):
        path.unlink()
    assert check().errors == []


def test_rows_that_do_not_match_pictures(check, tiny_copy):
    sorted((tiny_copy / IMAGES).iterdir())[16].unlink()
    report = check()
    assert [problem.file.rpartition("/")[2] for problem in report.errors] == [
        "lh_training_fmri.npy",
        "rh_training_fmri.npy",
    ]
    message = report.errors[0].message
    assert "40 rows" in message
    assert "39 pictures" in message
    assert "No picture has the number 17." in message
    _edit(tiny_copy / FMRI, lambda values: values[:39])
    assert "rh_training_fmri" in _only(check()).file


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda values: values.astype(np.float64), "float64; expected float32"),
        (lambda values: values.astype(np.int16), "int16; expected float32"),
        (lambda values: values.astype(np.complex64), "complex64"),
        (lambda values: values.astype("U3"), "<U3"),
        (lambda values: values.ravel(), "4,800 float32"),
        (lambda values: values[None], "1 x 40 x 120"),
        (lambda values: values[:, :0], "40 x 0"),
    ],
)
def test_wrong_type_or_shape(check, tiny_copy, change, words):
    _edit(tiny_copy / FMRI, change)
    problem = _only(check())
    assert problem.file == FMRI
    assert words in problem.message


def test_nan_and_constant_vertices(check, tiny_copy):
    def damage(values):
        values[3, [5, 7]] = np.nan
        values[9, 11] = -np.inf
        values[:, 20:28] = 1.5
        return values

    _edit(tiny_copy / FMRI, damage)
    report = check()
    assert "3 of 120 vertices have NaN or infinite responses" in _only(report).message
    assert "columns 5, 7, 11, counted from 0" in _only(report).message
    assert "8 of 120 vertices have the same response to every picture" in _only(report, "warning").message
    assert "20, 21, 22, 23, 24, ..." in _only(report, "warning").message
    assert (report.table[0]["not_finite"], report.table[0]["constant"]) == (3, 8)
    assert check().problems == report.problems


def test_pictures_that_cannot_be_decoded(check, tiny_copy):
    pictures = sorted((tiny_copy / IMAGES).iterdir())
    pictures[4].write_bytes(pictures[4].read_bytes()[:200])
    pictures[9].unlink()
    pictures[9].symlink_to("/nowhere/at-all.png")
    test = sorted((tiny_copy / "subj02/test_split/test_images").iterdir())[1]
    test.write_bytes(b"")
    report = check()
    assert [Path(problem.file).name for problem in report.errors] == [pictures[4].name, pictures[9].name, test.name]
    assert "cannot be decoded" in report.errors[0].message
    assert "link to a file that is not there" in report.errors[1].message
    assert report.index.subjects["subj01"].image_digests[4] == ""


def test_equal_pictures(check, tiny_copy):
    pictures = sorted((tiny_copy / IMAGES).iterdir())
    Image.open(pictures[5]).save(pictures[8], compress_level=0)
    tests = sorted((tiny_copy / "subj01/test_split/test_images").iterdir())
    shutil.copy(pictures[1], tests[0])
    others = sorted((tiny_copy / "subj02/training_split/training_images").iterdir())
    shutil.copy(pictures[2], others[7])
    report = check()
    assert report.errors == []
    messages = [problem.message for problem in report.warnings]
    assert f"1 picture occurring more than once: {pictures[5].name} = {pictures[8].name}." in messages[0]
    assert f"1 test picture equal to a training picture: {tests[0].name}" in messages[1]
    assert f"{others[0].name} = {others[7].name}" in messages[2]


def test_pictures_shared_under_other_names(check, tiny_copy):
    shared = sorted((tiny_copy / "subj02/training_split/training_images").iterdir())[0]
    shared.rename(shared.with_name("train-0001_other.png"))
    message = check().warnings[0].message
    assert "1 under different names (pic-09999 = other)" in message


def test_order_by_name_that_is_not_by_number(check, tiny_copy):
    for number, path in enumerate(sorted((tiny_copy / IMAGES).iterdir()), start=1):
        path.rename(path.with_name(f"train-{number}_x{number}.png"))
    message = _only(check(), "warning").message
    assert "train-19_x19.png comes before train-1_x1.png" in message


def test_files_that_are_no_pictures(check, tiny_copy):
    (tiny_copy / IMAGES / "notes.txt").touch()
    (tiny_copy / IMAGES / ".hidden").touch()
    message = _only(check(), "warning").message
    assert "notes.txt" in message
    assert ".hidden" not in message


@pytest.mark.parametrize(
    ("name", "change", "words"),
    [
        ("prf-visualrois_challenge", lambda m: m[:-3], "117 values; expected: 120|Got: 117 values"),
        ("prf-visualrois_challenge", lambda m: m.astype(float), "not a mask"),
        ("prf-visualrois_challenge", lambda m: np.where(m == 2, 9, m), "value 9, which mapping_prf-visualrois.npy"),
        ("prf-visualrois_challenge", lambda m: np.roll(m, 4), "differs from lh.prf-visualrois_challenge_space.npy"),
        ("prf-visualrois_fsaverage", lambda m: m[:900], "900 values"),
        ("all-vertices_fsaverage", lambda m: np.where(np.cumsum(m) == 5, 0, m), "vertices marked"),
        ("all-vertices_fsaverage", lambda m: 2 * m, "the value 2"),
        ("all-vertices_fsaverage", lambda m: m[:-1], "10,241 values"),
    ],
)
def test_masks_that_do_not_match(check, tiny_copy, name, change, words):
    _edit(tiny_copy / MASKS / f"lh.{name}_space.npy", change)
    report = check()
    assert report.errors
    assert any(word in " ".join(problem.message for problem in report.errors) for word in words.split("|"))
    assert {problem.subject for problem in report.errors} == {"subj01"}
    assert len(report.table) == 4


def test_truncated_mask_and_damaged_mapping(check, tiny_copy):
    path = tiny_copy / MASKS / "rh.floc-faces_fsaverage_space.npy"
    path.write_bytes(path.read_bytes()[:5000])
    (tiny_copy / MASKS / "mapping_prf-visualrois.npy").write_bytes(b"junk")
    report = check()
    assert {Path(problem.file).name for problem in report.errors} == {path.name, "mapping_prf-visualrois.npy"}
    assert report.table[0]["rois"] == {"FFA-1": 24}


def test_missing_mask_files(check, tiny_copy):
    (tiny_copy / MASKS / "mapping_floc-faces.npy").unlink()
    (tiny_copy / MASKS / "lh.prf-visualrois_challenge_space.npy").unlink()
    (tiny_copy / MASKS / "rh.all-vertices_fsaverage_space.npy").unlink()
    report = check()
    assert "mapping_floc-faces.npy" in _only(report).message
    words = " ".join(problem.message for problem in report.warnings)
    assert "lh.prf-visualrois_challenge_space.npy is missing; the ROIs of this set are taken from" in words
    assert "rh.all-vertices_fsaverage_space.npy is missing" in words
    shutil.rmtree(tiny_copy / MASKS)
    report = check()
    assert report.errors == []
    assert "no ROI masks of the left hemisphere" in " ".join(problem.message for problem in report.warnings)


def test_mask_that_only_the_mapping_tells_of(check, tiny_copy):
    for path in (tiny_copy / MASKS).glob("lh.floc-faces*"):
        path.unlink()
    problem = _only(check(), "warning")
    assert "the left hemisphere has no mask of this set" in problem.message


def test_a_roi_in_two_sets_and_a_reserved_name(check, tiny_copy):
    mapping = np.array({0: "Unknown", 1: "all", 2: "V1v"}, dtype=object)
    np.save(tiny_copy / MASKS / "mapping_floc-faces.npy", mapping, allow_pickle=True)
    report = check()
    assert report.errors == []
    words = " ".join(problem.message for problem in report.warnings)
    assert "The ROI 'V1v' is also in the set 'prf-visualrois'" in words
    assert "No ROI can be called 'all'" in words
    assert report.table[0]["rois"]["V1v"] == 30


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda values: values * 100, "divide by 100"),
        (lambda values: values[:9], "array 9 float32"),
        (lambda values: values - 1, "from -0.2 to -0.2"),
        (lambda values: values * np.nan, "120 vertices"),
    ],
)
def test_noise_ceilings(check, tiny_copy, change, words):
    _edit(tiny_copy / "subj01/noise_ceiling/lh_noise_ceiling.npy", change)
    report = check()
    assert words in _only(report).message
    assert not report.table[0]["noise_ceiling"]


def _put_snr(root: Path, values: np.ndarray | bytes, name: str = "lh_ncsnr.npy", settings: str = "repeats = 3") -> None:
    """Give subj02, which has no noise ceiling, a file of noise-ceiling SNR."""
    (root / "dataset.toml").write_text(f'mesh = "fsaverage5"\n{settings}\n')
    (root / "subj02/noise_ceiling").mkdir()
    path = root / "subj02/noise_ceiling" / name
    if isinstance(values, bytes):
        path.write_bytes(values)
    elif name.endswith(".mgh"):
        nibabel.save(nibabel.MGHImage(values.astype(np.float32), np.eye(4)), path)
    else:
        np.save(path, values)


@pytest.mark.parametrize(("name", "shape"), [("lh_ncsnr.npy", (96,)), ("lh.ncsnr.mgh", (10_242, 1, 1))])
def test_signal_to_noise_and_repeats_make_a_noise_ceiling(check, tiny_copy, name, shape):
    _put_snr(tiny_copy, np.ones(shape), name)
    report = check()
    assert report.errors == []
    assert [row["noise_ceiling"] for row in report.table] == [True, True, True, False]
    (tiny_copy / "dataset.toml").write_text('mesh = "fsaverage5"\n')
    report = check()
    assert report.errors == []
    problem = _only(report, "warning")
    assert (problem.subject, Path(problem.file).name) == ("subj02", name)
    assert "repeats = 3" in problem.message
    assert [row["noise_ceiling"] for row in report.table] == [True, True, False, False]


@pytest.mark.parametrize(
    ("name", "values", "words"),
    [
        ("lh_ncsnr.npy", np.ones(95), "array 95 float64"),
        ("lh_ncsnr.npy", np.ones((96, 1)), "96 x 1 float64"),
        ("lh_ncsnr.npy", np.ones(96, complex), "complex128"),
        ("lh_ncsnr.npy", -np.ones(96), "96 negative or infinite values, the first in column 0"),
        ("lh_ncsnr.npy", np.where(np.arange(96) == 7, np.inf, 1.0), "1 negative or infinite values, the first in co"),
        ("lh_ncsnr.npy", np.full(96, np.nan), "NaN for all 96 columns"),
        ("lh_ncsnr.npy", b"junk", "not a whole NumPy file"),
        ("lh.ncsnr.mgh", np.ones((40_962, 1, 1)), "40,962 values. Expected: 10,242, one per vertex of fsaverage5"),
        ("lh.ncsnr.mgh", np.ones((10_242, 1, 2)), "10,242 x 1 x 2 x 1"),
        ("lh.ncsnr.mgh", np.full((10_242, 1, 1), -1.0), "96 negative or infinite values"),
        ("lh.ncsnr.mgh", b"", "not an MGH file"),
        ("lh.ncsnr.mgh", bytes(5000), "not an MGH file"),
    ],
)
def test_wrong_signal_to_noise(check, tiny_copy, name, values, words):
    _put_snr(tiny_copy, values, name)
    report = check()
    problem = _only(report)
    assert words in problem.message
    assert (problem.subject, Path(problem.file).name) == ("subj02", name)
    assert not report.table[2]["noise_ceiling"]
    with pytest.raises(BrainvizError, match=name):
        open_dataset(tiny_copy).noise_ceiling("subj02", "lh")


def test_doubtful_signal_to_noise(check, tiny_copy):
    _put_snr(tiny_copy, np.where(np.arange(96) < 3, np.nan, 1.0))
    report = check()
    assert "3 of 96 vertices have NaN" in _only(report, "warning").message
    assert report.table[2]["noise_ceiling"]
    np.save(tiny_copy / "subj02/noise_ceiling/lh_ncsnr.npy", np.linspace(0, 85, 96))
    assert "up to 85" in _only(check(), "warning").message


def test_signal_to_noise_on_a_mesh_without_positions(check, tiny_copy):
    _put_snr(tiny_copy, np.ones((10_242, 1, 1)), "lh.ncsnr.mgh")
    (tiny_copy / "dataset.toml").write_text('mesh = "none"\nrepeats = 3\n')
    message = _only(check()).message
    assert "lh_ncsnr.npy" in message
    assert "where the columns sit" in message


def test_every_file_is_looked_at_and_the_first_counts(check, tiny_copy):
    _put_snr(tiny_copy, np.ones(5))
    np.save(tiny_copy / "subj02/noise_ceiling/lh_noise_ceiling.npy", np.full(96, 0.5))
    report = check()
    assert Path(_only(report).file).name == "lh_ncsnr.npy"
    assert report.table[2]["noise_ceiling"]


def test_repeats_of_a_subject_that_is_not_there(check, tiny_copy):
    (tiny_copy / "dataset.toml").write_text('mesh = "fsaverage5"\n[repeats]\nsubj09 = 3\n')
    problem = _only(check(), "warning")
    assert (problem.subject, problem.file) == ("subj09", "dataset.toml")


def test_mesh_that_does_not_fit(check, tiny_copy):
    (tiny_copy / "dataset.toml").write_text('mesh = "fsaverage6"\n')
    report = check()
    assert report.errors
    assert all('mesh = "fsaverage5"' in p.message or "expected 40,962" in p.message for p in report.errors)
    (tiny_copy / "dataset.toml").write_text('mesh = "my own"\n')
    assert "'my own' is unknown" in _only(check(), "warning").message


def test_settings_are_checked_and_defaults_used_meanwhile(check, tiny_copy):
    (tiny_copy / "dataset.toml").write_text(
        'mesh = "fsaverage5"\nunits = "x"\nhemispheres = "lh"\n[subjects]\nsubj07 = "?"\n'
    )
    report = check()
    assert "'hemispheres' must be" in _only(report).message
    words = " ".join(problem.message for problem in report.warnings)
    assert "Did you mean 'unit'?" in words
    assert "has no folder" in words
    assert len(report.table) == 4


def test_subject_without_anything(check, tiny_copy):
    (tiny_copy / "subj03").mkdir()
    report = check()
    assert {problem.subject for problem in report.errors} == {"subj03"}
    words = " ".join(problem.message for problem in report.errors)
    assert "There are no responses" in words
    assert "There are no pictures" in words
    assert list(report.index.subjects) == ["subj01", "subj02"]


def test_everything_at_once(check, tiny_copy):
    """Damage of many kinds in one data set: each is named in one report."""
    path = tiny_copy / FMRI
    path.write_bytes(path.read_bytes()[:-1])
    _edit(tiny_copy / FMRI.replace("lh_", "rh_"), lambda values: np.where(np.arange(120) == 3, np.nan, values))
    sorted((tiny_copy / IMAGES).iterdir())[0].write_bytes(b"x")
    _edit(tiny_copy / "subj02/roi_masks/lh.floc-faces_challenge_space.npy", lambda mask: mask[:-1])
    _edit(tiny_copy / "subj02/training_split/training_fmri/rh_training_fmri.npy", lambda values: values[:-2])
    (tiny_copy / "subj02/roi_masks/mapping_prf-visualrois.npy").unlink()
    np.save(tiny_copy / "subj01/noise_ceiling/rh_noise_ceiling.npy", np.full(120, 3, np.float32))
    (tiny_copy / "dataset.toml").write_text('mesh = "fsaverage5"\nunit = 3\n')
    report = check()
    words = " ".join(problem.message for problem in report.errors)
    named = ("truncated", "NaN", "cannot be decoded", "95 values", "38 rows", "is missing", "divide by 100", "'unit'")
    assert [each for each in named if each not in words] == []
    assert all(problem.level == "warning" for problem in report.problems[len(report.errors) :])


@pytest.mark.parametrize("root", ["nothing", "empty", "file", "no usable subject"])
def test_roots_that_cannot_be_used(tmp_path, root):
    path = tmp_path / "root"
    if root == "file":
        path.touch()
    elif root != "nothing":
        path.mkdir()
    if root == "no usable subject":
        (path / "subj01/training_split/training_fmri").mkdir(parents=True)
    report = check_dataset(path, tmp_path / "memo")
    assert report.index is None
    assert report.table == []
    assert report.errors
    words = {
        "nothing": "no such folder",
        "empty": "no subjects",
        "file": "not a file",
        "no usable subject": "no responses",
    }
    assert words[root] in " ".join(problem.message for problem in report.errors)


@pytest.mark.parametrize("seed", range(12))
def test_random_damage_never_crashes(tiny_copy, tmp_path, seed):
    """Any file may be cut, emptied, overwritten, replaced or gone; the rest of the data set opens."""
    rng = np.random.default_rng(seed)
    files = sorted(path for path in tiny_copy.rglob("*") if path.is_file())
    contents = [path.read_bytes() for path in files]
    for number in rng.choice(len(files), 12, replace=False):
        path, data = files[number], contents[number]
        match rng.integers(6):
            case 0:
                path.unlink()
            case 1:
                path.write_bytes(data[: rng.integers(len(data))])
            case 2:
                path.write_bytes(b"")
            case 3:
                path.write_bytes(rng.bytes(200))
            case 4:
                path.write_bytes(contents[rng.integers(len(contents))])
            case 5:
                path.unlink()
                path.mkdir()
    report = check_dataset(tiny_copy, tmp_path / "memo")
    assert report.problems
    try:
        data = open_dataset(tiny_copy)
    except BrainvizError:
        return
    for subject in data.subjects:
        for hemi in data.hemispheres(subject):
            for roi in data.rois(subject, hemi):
                assert data.columns(subject, hemi, roi).size


def test_real_neurons_have_only_their_duplicates(shared_data, tmp_path):
    report = check_dataset(shared_data / "macaque_v4", tmp_path / "memo")
    assert report.errors == []
    assert [problem.subject for problem in report.warnings] == ["subj03", ""]
    assert "2 pictures occurring more than once" in report.warnings[0].message
    assert "train-0101_v4-210621-0101.jpg = train-0536_v4-210621-0536.jpg" in report.warnings[0].message
    assert "train-0425_v4-210621-0425.jpg = train-0697_v4-210621-0697.jpg" in report.warnings[0].message
    assert [row["vertices"] for row in report.table] == [33, 55, 51]
