"""Words and captions: brainviz's own, those of a user's files, and what is said of files that hold none."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from brainviz.config import load_config
from brainviz.datasets.demo.plan import PICTURES, scene_of
from brainviz.datasets.demo.scenes import CATEGORIES, COLOURS, PLACES_TO_BE
from brainviz.datasets.texts import NSD_STIMULI, OWN_TEXTS, Texts, open_texts, text_names
from brainviz.errors import ConfigError, DatasetError, SpecError


@pytest.fixture
def written(tmp_path: Path) -> Callable[[str, str | bytes], str]:
    """Return a function that writes a file and returns its path."""

    def write(name: str, content: str | bytes) -> str:
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return str(path)

    return write


# --- brainviz's own ---------------------------------------------------------------------------------------------------


def test_own_words_are_many_and_each_once() -> None:
    words = open_texts("words", allow_path=False)
    assert len(words.texts) > 500
    assert len(set(words.texts)) == len(words.texts)
    assert {"food", "hands", "face", "house"} <= set(words.texts)
    assert set(words.pictures) == {()}


def test_the_demos_words_are_what_its_scenes_are_made_of() -> None:
    words = open_texts("demo-words").texts
    kinds = {kind for kinds in CATEGORIES.values() for kind in kinds}
    assert set(words) == kinds | set(CATEGORIES) | set(COLOURS) | set(PLACES_TO_BE)
    assert len(set(words)) == len(words)


@pytest.mark.slow
def test_the_demos_captions_are_about_its_pictures() -> None:
    captions = open_texts("demo-captions")
    about = dict(zip(captions.texts, captions.pictures, strict=True))
    assert sum(len(pictures) for pictures in captions.pictures) == PICTURES
    for number in (0, 13, PICTURES - 1):
        assert f"nsd-{number:05d}" in about[scene_of(number).caption]


# --- files ------------------------------------------------------------------------------------------------------------


def test_lines_are_texts(written: Callable[..., str]) -> None:
    path = written("mine.txt", "# my words\n\n dog \r\na  red\thouse\ndog\n#no word\ncafé\n")
    assert open_texts(path) == Texts(path, ("dog", "a red house", "café"), ((), (), ()))


@pytest.mark.parametrize("column", ["caption", "text"])
def test_a_table_may_say_what_a_text_is_about(written: Callable[..., str], column: str) -> None:
    path = written(
        "mine.csv",
        f'picture,{column},more\nnsd-00001,"a dog, a cat",x\n,a tree,\nnsd-00002,"a dog, a cat",\nnsd-00001,"a dog, '
        'a cat",\nnsd-00003,,\nnsd-00004\n',
    )
    texts = open_texts(path)
    assert texts.texts == ("a dog, a cat", "a tree")
    assert texts.pictures == (("nsd-00001", "nsd-00002"), ())


def test_a_table_without_pictures(written: Callable[..., str]) -> None:
    texts = open_texts(written("mine.csv", "text\ndog\ncat\n"))
    assert (texts.texts, texts.pictures) == (("dog", "cat"), ((), ()))


@pytest.mark.parametrize("name", ["mine.txt", "mine.csv", "mine.json"])
def test_what_a_spreadsheet_writes_before_the_first_letter_is_no_text(written: Callable[..., str], name: str) -> None:
    """Excel's UTF-8 begins with a byte order mark."""
    content = {"mine.txt": "dog\n", "mine.csv": "caption\ndog\n", "mine.json": json.dumps(coco((1, "dog")))}[name]
    assert open_texts(written(name, b"\xef\xbb\xbf" + content.encode())).texts == ("dog",)


def coco(*about: tuple[int, str]) -> dict[str, list[dict[str, object]]]:
    """Return annotations as COCO writes them: pictures' numbers and captions."""
    return {"annotations": [{"image_id": image, "id": n, "caption": text} for n, (image, text) in enumerate(about)]}


CAPTIONS = coco((9, "a dog on a lawn \n"), (25, "two giraffes"), (9, "a brown dog"), (30, "two giraffes"))
STIMULI = ",cocoId,cocoSplit,nsdId\n0,30,train2017,4\n1,9,val2017,73000\n2,77,train2017,5\n"


def test_cocos_captions_are_taken_as_they_are_without_nsds_table(written: Callable[..., str]) -> None:
    texts = open_texts(written("captions_train2017.json", json.dumps(CAPTIONS)))
    assert texts.texts == ("a dog on a lawn", "two giraffes", "a brown dog")
    assert set(texts.pictures) == {()}


def test_cocos_captions_belong_to_nsds_pictures_beside_nsds_table(written: Callable[..., str]) -> None:
    written(NSD_STIMULI, STIMULI)
    texts = open_texts(written("captions_train2017.json", json.dumps(CAPTIONS)))
    assert dict(zip(texts.texts, texts.pictures, strict=True)) == {
        "a dog on a lawn": ("nsd-73000",),
        "a brown dog": ("nsd-73000",),
        "two giraffes": ("nsd-00004",),
    }


def test_a_table_that_comes_later_counts(written: Callable[..., str]) -> None:
    path = written("captions.json", json.dumps(CAPTIONS))
    without = open_texts(path)
    written(NSD_STIMULI, STIMULI)
    named = open_texts(path)
    assert (set(without.pictures), len(set(named.pictures))) == ({()}, 2)
    written(NSD_STIMULI, STIMULI.replace("4\n", "40\n"))
    assert ("nsd-00040",) in open_texts(path).pictures


def test_a_file_that_changes_is_read_again(written: Callable[..., str]) -> None:
    path = written("mine.txt", "dog\n")
    assert open_texts(path).texts == ("dog",)
    written("mine.txt", "zebra\n")
    assert open_texts(path).texts == ("zebra",)


# --- what cannot be read ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("mine.txt", "", "holds no text"),
        ("mine.txt", "# only\n\n  \n", "holds no text"),
        ("mine.txt", b"caf\xe9\n", "UnicodeDecodeError"),
        ("mine.csv", "", "no column caption or text, but none"),
        ("mine.csv", "captoin,picture\ndog,1\n", "no column caption or text, but captoin, picture"),
        ("mine.csv", "caption\n", "holds no text"),
        ("mine.csv", 'caption\n"' + "x" * 200_000 + '"\n', "field larger"),
        ("mine.json", "", "JSONDecodeError"),
        ("mine.json", '{"annotations": [{"image_id": 9, "capt', "JSONDecodeError"),
        ("mine.json", "[]", "TypeError"),
        ("mine.json", "{}", "annotations"),
        ("mine.json", '{"annotations": null}', "TypeError"),
        ("mine.json", '{"annotations": ["dog"]}', "TypeError"),
        ("mine.json", '{"annotations": [{"image_id": 9}]}', "caption"),
        ("mine.json", '{"annotations": [{"image_id": 9, "caption": null}]}', "no text"),
        ("mine.json", '{"annotations": []}', "holds no text"),
    ],
)
def test_a_damaged_or_empty_file_is_named(written: Callable[..., str], name: str, content: str, words: str) -> None:
    with pytest.raises(DatasetError, match=words) as caught:
        open_texts(written(name, content))
    assert name in str(caught.value)


@pytest.mark.parametrize(
    ("stimuli", "words"), [("cocoId\n9\n", "nsdId"), ("cocoId,nsdId\nnine,1\n", "nine"), ("", "holds no text")]
)
def test_a_damaged_table_beside_the_captions_is_told(written: Callable[..., str], stimuli: str, words: str) -> None:
    written(NSD_STIMULI, stimuli)
    with pytest.raises(DatasetError, match=words):
        open_texts(written("captions.json", json.dumps(CAPTIONS)))


def test_files_that_are_absent_or_of_another_kind(written: Callable[..., str], tmp_path: Path) -> None:
    (tmp_path / "folder.txt").mkdir()
    for name in (str(tmp_path / "nothing.txt"), str(tmp_path / "folder.txt"), written("mine.doc", "dog"), "wrods", ""):
        with pytest.raises(DatasetError, match=r"no texts .*(?s:.*)words, demo-words, demo-captions"):
            open_texts(name)


# --- names ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Return a function that writes the table [texts] of brainviz.toml."""

    def write(table: str) -> None:
        path = tmp_path / "brainviz.toml"
        path.write_text(f"[texts]\n{table}\n")
        monkeypatch.setenv("BRAINVIZ_CONFIG", str(path))

    return write


def test_a_name_in_brainviz_toml_stands_for_a_file(written: Callable[..., str], config: Callable[[str], None]) -> None:
    path = written("mine.txt", "dog\n")
    config('animals = "mine.txt"\nlost = "nowhere.txt"')
    assert dict(load_config().texts) == {"animals": Path(path), "lost": Path(path).with_name("nowhere.txt")}
    assert text_names() == (*OWN_TEXTS, "animals", "lost")
    assert open_texts("animals", allow_path=False).texts == ("dog",)
    assert open_texts("animals").name == "animals"
    with pytest.raises(DatasetError, match=r"nowhere\.txt"):
        open_texts("lost", allow_path=False)


def test_a_form_cannot_name_a_file(written: Callable[..., str], config: Callable[[str], None]) -> None:
    path = written("mine.txt", "dog\n")
    config('animals = "mine.txt"')
    for name in (path, "mine.txt", "../mine.txt"):
        with pytest.raises(SpecError, match="no such texts"):
            open_texts(name, allow_path=False)
    with pytest.raises(SpecError, match="did you mean 'animals'"):
        open_texts("animal", allow_path=False)


@pytest.mark.parametrize(
    ("table", "words"), [('words = "mine.txt"', "keeps for itself"), ("animals = 3", "path in quotes")]
)
def test_a_wrong_name_in_brainviz_toml(config: Callable[[str], None], table: str, words: str) -> None:
    config(table)
    with pytest.raises(ConfigError, match=words):
        open_texts("animals")


# --- digests ----------------------------------------------------------------------------------------------------------


def test_the_digest_is_of_the_texts_and_what_they_are_about() -> None:
    one = Texts("one", ("dog", "cat"), ((), ()))
    assert one.digest == Texts("other", ("dog", "cat"), ((), ())).digest
    others = [
        Texts("one", ("cat", "dog"), ((), ())),
        Texts("one", ("dog", "cat"), (("nsd-1",), ())),
        Texts("one", ("dog",), ((),)),
        Texts("one", ("dogcat",), ((),)),
    ]
    assert len({one.digest, *(other.digest for other in others)}) == 5
    assert len(one.digest) == 64
    assert set(one.digest) <= set("0123456789abcdef")
