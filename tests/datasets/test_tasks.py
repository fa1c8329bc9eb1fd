"""Tests of brainviz.datasets.tasks: every layout against torchvision, fingerprints, the split, and what is refused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from brainviz.datasets.base import Dataset
from brainviz.datasets.demo import task_pictures
from brainviz.datasets.demo.scenes import KINDS
from brainviz.datasets.images import decode
from brainviz.datasets.tasks import (
    Task,
    build_task_index,
    open_task,
    remembered_task_index,
    split,
    task_names,
    tasks_of,
)
from brainviz.errors import DatasetError, SpecError


def picture(path: Path, number: int = 0) -> Path:
    """Write a small picture that is another for every number, so that JPEG, too, keeps them apart."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(np.random.default_rng(number).integers(0, 256, (9, 12, 3), dtype=np.uint8))
    image.save(path, "PNG" if path.suffix == ".png" else "JPEG")
    return path


def pictures(root: Path, *files: str) -> Path:
    for number, file in enumerate(files):
        picture(root / file, number)
    return root


def listed(task: Task) -> list[tuple[str, int]]:
    return list(zip(map(str, task.images.paths), task.labels.tolist(), strict=True))


@pytest.fixture
def folders(tmp_path: Path) -> Path:
    """Return a collection with one folder per class."""
    root = pictures(
        tmp_path / "pets", "dog/b.jpg", "dog/a.png", "cat/1.JPEG", "cat/old/2.jpg", "cat/3.png", "bird/x.jpg"
    )
    (root / "dog" / "notes.txt").write_text("no picture")
    (root / "dog" / "._a.png").write_bytes(b"left by macOS")
    (root / ".hidden").mkdir()
    (root / "readme.md").touch()
    return root


@pytest.fixture
def caltech(tmp_path: Path) -> Path:
    base = tmp_path / "download" / "caltech256" / "256_ObjectCategories"
    pictures(
        base, "001.ak47/001_0001.jpg", "001.ak47/001_0002.jpg", "002.american-flag/002_0001.jpg", "257.clutter/3.jpg"
    )
    picture(base / "002.american-flag" / "greg" / "extra.jpg")
    (base / "001.ak47" / "RENAME2").touch()
    return base


@pytest.fixture
def places(tmp_path: Path) -> Path:
    root = pictures(tmp_path / "places", *(f"val_256/Places365_val_{n:08d}.jpg" for n in (1, 2, 3, 4)))
    (root / "categories_places365.txt").write_text("/a/airfield 0\n/a/apartment_building/outdoor 1\n/z/zen_garden 2\n")
    (root / "places365_val.txt").write_text(
        "".join(f"Places365_val_{n:08d}.jpg {c}\n" for n, c in ((1, 2), (2, 0), (3, 1), (4, 0)))
    )
    return root


@pytest.fixture
def imagenet(tmp_path: Path) -> Path:
    """Return a folder with ImageNet's two cranes and a tench, in the order in which nobody sorted them."""
    root = tmp_path / "imagenet"
    for number, wordnet in enumerate(("n03126707", "n01440764", "n02012849")):
        pictures(root / "val" / wordnet, *(f"ILSVRC2012_val_{number}{i}.JPEG" for i in range(2)))
    (root / "meta.bin").write_bytes(b"cos\nsystem\n(S'exit 1'\ntR.")
    return root


# --- layouts ----------------------------------------------------------------------------------------------------------


def test_folders_are_read_as_torchvision_does(folders: Path) -> None:
    from torchvision.datasets import ImageFolder

    shutil.rmtree(folders / ".hidden")  # which torchvision takes for a class
    (folders / "dog" / "._a.png").unlink()
    task, oracle = open_task(folders), ImageFolder(folders)
    assert (task.layout, task.classes, len(task)) == ("folders", ("bird", "cat", "dog"), 6)
    assert task.classes == tuple(oracle.classes)
    assert listed(task) == oracle.samples
    for number in range(len(task)):
        np.testing.assert_array_equal(np.asarray(task.images[number]), np.asarray(oracle[number][0]))


def test_hidden_files_are_no_pictures_and_hidden_folders_no_classes(folders: Path) -> None:
    task = open_task(folders)
    assert task.images.ids == ("bird/x.jpg", "cat/1.JPEG", "cat/3.png", "cat/old/2.jpg", "dog/a.png", "dog/b.jpg")
    assert task.labels.tolist() == [0, 1, 1, 1, 2, 2]
    assert task.labels.dtype == np.int64
    with pytest.raises(ValueError, match="read-only"):
        task.labels[0] = 1


def test_caltech256_is_read_as_torchvision_does_without_the_clutter(caltech: Path) -> None:
    from torchvision.datasets import Caltech256

    shutil.rmtree(caltech / "002.american-flag" / "greg")  # torchvision counts on files numbered without a gap
    oracle = Caltech256(str(caltech.parents[1]))
    kept = [number for number, label in enumerate(oracle.y) if oracle.categories[label] != "257.clutter"]
    for root in (caltech, caltech.parent, caltech.parents[1]):
        task = open_task(root)
        assert (task.layout, task.classes) == ("caltech256", ("ak47", "american-flag"))
        assert task.labels.tolist() == [oracle.y[number] for number in kept]
        for mine, theirs in enumerate(kept):
            np.testing.assert_array_equal(np.asarray(task.images[mine]), np.asarray(oracle[theirs][0]))


def test_caltech256_has_no_pictures_of_inner_folders(caltech: Path) -> None:
    assert [path.name for path in open_task(caltech).images.paths] == ["001_0001.jpg", "001_0002.jpg", "002_0001.jpg"]


def test_places365_is_read_as_torchvision_does(places: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from torchvision.datasets import Places365

    monkeypatch.setattr(Places365, "_check_integrity", lambda *_: True)  # these are not the official lists
    task, oracle = open_task(places), Places365(places, split="val", small=True)
    assert task.layout == "places365"
    assert task.classes == ("airfield", "apartment_building/outdoor", "zen_garden")
    assert listed(task) == [(str(path), label) for path, label in oracle.imgs]
    assert [f"/{title[0]}/{title}" for title in task.classes] == oracle.classes


def test_places365_prefers_the_small_pictures(places: Path) -> None:
    shutil.copytree(places / "val_256", places / "val_large")
    assert {path.parent.name for path in open_task(places).images.paths} == {"val_256"}
    shutil.rmtree(places / "val_256")
    assert {path.parent.name for path in open_task(places).images.paths} == {"val_large"}


@pytest.mark.parametrize("inside", [False, True])
def test_imagenet_without_a_list_has_wordnet_ids_for_names(imagenet: Path, inside: bool) -> None:
    """The order is that of the ids, as in torchvision; its pickled meta.bin is never touched."""
    task = open_task(imagenet / "val" if inside else imagenet)
    assert (task.layout, task.classes) == ("imagenet", ("n01440764", "n02012849", "n03126707"))
    assert task.labels.tolist() == [0, 0, 1, 1, 2, 2]
    assert all(path.parent.name == task.classes[c] for path, c in zip(task.images.paths, task.labels, strict=True))


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("LOC_synset_mapping.txt", "n01440764 tench, Tinca tinca\nn02012849 crane\nn03126707 crane\n"),
        ("synset_words.txt", "n03126707 crane\nn01440764 tench, Tinca tinca\nn02012849 crane\nn01443537 goldfish\n"),
        (
            "imagenet_class_index.json",
            json.dumps({"0": ["n01440764", "tench"], "134": ["n02012849", "crane"], "517": ["n03126707", "crane"]}),
        ),
    ],
)
@pytest.mark.parametrize("inside", [False, True])
def test_imagenet_takes_names_from_a_list(imagenet: Path, file: str, text: str, inside: bool) -> None:
    (imagenet / file).write_text(text)
    task = open_task(imagenet / "val" if inside else imagenet)
    assert task.classes == ("tench", "crane (n02012849)", "crane (n03126707)")


# --- names ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def name_tasks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    def write(**roots: Path) -> None:
        config = tmp_path / "lab.toml"
        config.write_text("[tasks]\n" + "".join(f"{name} = {str(root)!r}\n" for name, root in roots.items()))
        monkeypatch.setenv("BRAINVIZ_CONFIG", str(config))

    return write


@pytest.fixture
def few_pictures(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the demo's tasks have sixty pictures only."""
    write = task_pictures.write_task_pictures
    monkeypatch.setattr(task_pictures, "write_task_pictures", lambda out: write(out, count=60))


def test_tasks_are_opened_by_the_names_in_the_configuration(
    folders: Path, name_tasks: Callable[..., None], tiny_dataset: Dataset
) -> None:
    name_tasks(pets=folders, away=folders.parent / "not-mounted")
    assert task_names() == ("demo-objects", "demo-quarters", "pets", "away")
    assert tasks_of(tiny_dataset) == ("pets", "away")
    assert (open_task("pets").name, open_task("pets").root) == ("pets", folders)
    with pytest.raises(DatasetError, match=r"(?s)folder of the task 'away' does not exist.*not-mounted"):
        open_task("away")
    with pytest.raises(DatasetError, match=r"(?s)no classification task 'pest'.*did you mean 'pets'"):
        open_task("pest")


def test_the_demo_has_its_own_tasks_first(tiny_copy: Path, folders: Path, name_tasks: Callable[..., None]) -> None:
    from brainviz.datasets import open_dataset

    name_tasks(pets=folders)
    (tiny_copy / "demo.json").write_text('{"version": 1}')
    assert tasks_of(open_dataset(tiny_copy)) == ("demo-objects", "demo-quarters", "pets")


@pytest.mark.usefixtures("few_pictures")
def test_the_demos_tasks_have_the_labels_of_what_is_drawn(cache: Path) -> None:
    objects, quarters = open_task("demo-objects"), open_task("demo-quarters")
    scenes = [task_pictures.task_scene(number) for number in range(60)]
    assert objects.classes == KINDS
    assert [objects.classes[label] for label in objects.labels] == [scene.main.kind for scene in scenes]
    assert quarters.classes == ("upper left", "upper right", "lower left", "lower right")
    for label, scene in zip(quarters.labels, scenes, strict=True):
        vertical, horizontal = quarters.classes[label].split()
        assert (vertical == "lower", horizontal == "left") == (scene.main.y < 0, scene.main.x < 0)
    assert objects.images == quarters.images
    assert all(path.is_relative_to(cache) for path in objects.images.paths)
    assert objects.images[0].mode == "RGB"


# --- contents ---------------------------------------------------------------------------------------------------------


def test_the_fingerprint_is_that_of_the_contents(folders: Path, tmp_path: Path) -> None:
    def fingerprint(root: Path) -> str:
        return build_task_index(open_task(root), tmp_path / "memo").fingerprint

    first = fingerprint(folders)
    assert len(first) == 64
    moved = Path(shutil.copytree(folders, tmp_path / "elsewhere"))
    assert fingerprint(moved) == first
    (moved / "cat").rename(moved / "chat")
    assert fingerprint(moved) != first
    (moved / "chat").rename(moved / "cat")
    assert fingerprint(moved) == first
    picture(moved / "cat" / "3.png", 99)
    assert fingerprint(moved) != first
    shutil.copy(folders / "cat" / "3.png", moved / "cat" / "3.png")
    assert fingerprint(moved) == first
    (moved / "cat" / "3.png").rename(moved / "dog" / "3.png")
    assert fingerprint(moved) != first


def test_digests_are_remembered_and_mark_equal_pictures(
    folders: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copy(folders / "cat" / "3.png", folders / "dog" / "same.png")
    task, told = open_task(folders), []
    assert remembered_task_index(task, tmp_path / "memo") is None
    index = build_task_index(task, tmp_path / "memo", lambda done, total: told.append((done, total)))
    assert told[-1] == (7, 7)
    of = dict(zip(task.images.ids, index.image_digests, strict=True))
    assert of["cat/3.png"] == of["dog/same.png"]
    assert len(set(of.values())) == 6

    opened = []
    monkeypatch.setattr("brainviz.datasets.index.decode", lambda path: opened.append(path) or decode(path))
    assert build_task_index(task, tmp_path / "memo") == index
    assert remembered_task_index(task, tmp_path / "memo") == index
    assert opened == []
    picture(folders / "bird" / "x.jpg", 50)
    assert remembered_task_index(task, tmp_path / "memo") is None
    assert build_task_index(task, tmp_path / "memo") != index
    assert [path.name for path in opened] == ["x.jpg"]


def test_damaged_pictures_are_named(folders: Path, tmp_path: Path) -> None:
    (folders / "cat" / "3.png").write_bytes(b"no picture at all")
    (folders / "dog" / "b.jpg").write_bytes((folders / "dog" / "b.jpg").read_bytes()[:200])
    task = open_task(folders)
    with pytest.raises(DatasetError, match=r"(?s)2 of 6: .*cat/3.png, .*dog/b.jpg.*not PNG or JPEG"):
        build_task_index(task, tmp_path / "memo")
    with pytest.raises(DatasetError, match=r"3.png cannot be decoded"):
        task.images[task.images.ids.index("cat/3.png")]
    assert remembered_task_index(task, tmp_path / "memo") is None
    (folders / "dog" / "b.jpg").unlink()
    with pytest.raises(DatasetError, match=r"(?s)dog/b\.jpg"):
        build_task_index(task, tmp_path / "memo")


# --- the split --------------------------------------------------------------------------------------------------------


def test_the_split_is_a_seeded_shuffle() -> None:
    labels = np.arange(1000) % 10
    train, test = split(labels, 0)
    assert (len(train), len(test)) == (850, 150)
    np.testing.assert_array_equal(np.sort(np.concatenate([train, test])), np.arange(1000))
    np.testing.assert_array_equal(split(labels, 0)[1], test)
    assert not np.array_equal(split(labels, 1)[1], test)
    # Shuffled: places and classes of the test pictures are not those of one end, nor the same in number.
    assert 400 < test.mean() < 600
    assert len(set(np.bincount(labels[test]))) > 1
    assert len(split(labels, 0, test_share=0.4)[1]) == 400


def test_every_picture_is_as_likely_to_test() -> None:
    labels = np.zeros(40, int)
    share = np.mean([np.isin(np.arange(40), split(labels, seed)[1]) for seed in range(2000)], axis=0)
    assert np.abs(share - 0.15).max() < 5 * np.sqrt(0.15 * 0.85 / 2000)


def test_equal_pictures_are_in_one_part() -> None:
    rng = np.random.default_rng(0)
    groups = [f"digest {number}" for number in rng.integers(200, size=600)]
    labels = rng.integers(3, size=600)
    train, test = split(labels, 3, groups=groups)
    in_test = {groups[row] for row in test}
    assert not in_test & {groups[row] for row in train}
    assert len(in_test) == round(0.15 * len(set(groups)))
    assert len(train) + len(test) == 600


def test_every_class_is_trained_or_it_is_an_error() -> None:
    labels = np.array([0] * 20 + [1])
    alone = [20 in np.random.default_rng(seed).permutation(21)[:3] for seed in range(40)]  # the only one of its class
    assert 0 < sum(alone) < 40
    for seed, refused in enumerate(alone):
        if refused:
            with pytest.raises(DatasetError, match="1 classes are in the test part: 1"):
                split(labels, seed)
        else:
            assert set(labels[split(labels, seed)[0]]) == {0, 1}


@pytest.mark.parametrize(
    ("n", "share", "groups"), [(10, 0.0, None), (10, 1.0, None), (10, float("nan"), None), (10, 0.5, ["a"] * 9)]
)
def test_a_split_that_cannot_be_is_refused(n: int, share: float, groups: list[str] | None) -> None:
    with pytest.raises(SpecError, match="cannot be divided"):
        split(np.zeros(n, int), 0, share, groups=groups)


def test_too_few_pictures_are_refused() -> None:
    for labels, groups in ((np.zeros(1, int), None), (np.zeros(5, int), ["same"] * 5)):
        with pytest.raises(DatasetError, match="1 distinct"):
            split(labels, 0, groups=groups)


# --- what is refused --------------------------------------------------------------------------------------------------


def _empty(root: Path) -> None:
    root.mkdir()


def _flat(root: Path) -> None:
    pictures(root, "a.jpg", "b.jpg")


def _flat_imagenet(root: Path) -> None:
    pictures(root / "val", "ILSVRC2012_val_00000001.JPEG")


def _parts(root: Path) -> None:
    pictures(root, "train/cat/1.jpg", "train/dog/2.jpg", "val/cat/3.jpg", "val/dog/4.jpg")


def _one_class(root: Path) -> None:
    pictures(root, "cat/1.jpg", "cat/2.jpg")


def _empty_class(root: Path) -> None:
    pictures(root, "cat/1.jpg", "dog/2.jpg")
    (root / "fish").mkdir()


def _other_kind(root: Path) -> None:
    pictures(root, "cat/1.jpg", "dog/2.jpg", "dog/3.webp")


def _bad_names(root: Path) -> None:
    pictures(root, "val/n01440764/1.JPEG", "val/n01443537/2.JPEG")
    (root / "synset_words.txt").write_text("tench\ngoldfish and others\n")


def _bad_json(root: Path) -> None:
    pictures(root, "n01440764/1.JPEG", "n01443537/2.JPEG")
    (root / "imagenet_class_index.json").write_text('["tench"]')


def _short_names(root: Path) -> None:
    pictures(root, "val/n01440764/1.JPEG", "val/n01443537/2.JPEG")
    (root / "synset_words.txt").write_text("n01440764 tench\n")


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (_empty, "an empty folder.*256_ObjectCategories.*places365_val.txt.*n01440764.*cat/001.jpg"),
        (_flat, "a.jpg, b.jpg.*sort the pictures in .* into one folder per class"),
        (_flat_imagenet, "sort the pictures in .*val into one folder per class"),
        (_parts, "in no layout.*name one of its parts, such as .*train"),
        (_one_class, "at least two classes.*cat"),
        (_empty_class, "no PNG or JPEG picture.*1 of 3: fish"),
        (_other_kind, "does not read.*3.webp"),
        (_bad_names, "synset_words.txt is not a list of class names"),
        (_bad_json, "imagenet_class_index.json is not a list of class names"),
        (_short_names, "not complete.*n01443537"),
    ],
)
def test_wrong_folders_are_explained(make: Callable[[Path], None], words: str, tmp_path: Path) -> None:
    make(tmp_path / "root")
    with pytest.raises(DatasetError, match=f"(?s){words}"):
        open_task(tmp_path / "root")


@pytest.mark.parametrize(
    ("file", "text", "words"),
    [
        ("categories_places365.txt", None, "incomplete.*no categories_places365.txt"),
        ("places365_val.txt", None, "incomplete.*no places365_val.txt"),
        ("categories_places365.txt", "/a/airfield 0\n/b/bar 2\n", "not 0, 1, 2"),
        ("categories_places365.txt", "/a/airfield 0\n/a/airfield 1\n", "comes twice"),
        ("categories_places365.txt", "airfield\n", "the line 'airfield'"),
        ("places365_val.txt", "Places365_val_00000001.jpg 7\n", "Places365_val_00000001.jpg"),
        ("places365_val.txt", "../../etc/x.jpg 0\n", "etc/x.jpg"),
        ("places365_val.txt", "Places365_val_00000009.jpg 0\n", "1 of 1 are missing: Places365_val_00000009.jpg"),
        ("places365_val.txt", "Places365_val_00000001.jpg 0\n", "2 of 3: apartment_building/outdoor, zen_garden"),
        ("places365_val.txt", b"\xff\xfe", "cannot be read"),
    ],
)
def test_a_wrong_places365_is_explained(places: Path, file: str, text: str | bytes | None, words: str) -> None:
    if text is None:
        (places / file).unlink()
    else:
        (places / file).write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(DatasetError, match=f"(?s){words}"):
        open_task(places)


def test_places365_needs_its_pictures(places: Path) -> None:
    shutil.rmtree(places / "val_256")
    with pytest.raises(DatasetError, match="no val_256 or val_large"):
        open_task(places)


def test_nothing_heavy_is_imported_to_open_a_task() -> None:
    import subprocess
    import sys

    code = "import sys, brainviz.datasets.tasks; print(sorted({'torch', 'torchvision', 'sklearn'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
