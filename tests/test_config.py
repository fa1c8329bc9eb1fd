"""Tests of brainviz.config: the cache folder, and what brainviz.toml may say."""

from __future__ import annotations

from pathlib import Path

import pytest

from brainviz.config import Config, cache_dir, load_config, mesh_folder, nearest
from brainviz.errors import ConfigError


@pytest.fixture
def write_config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def write(text: str) -> Path:
        path = tmp_path / "lab.toml"
        path.write_text(text)
        monkeypatch.setenv("BRAINVIZ_CONFIG", str(path))
        return path

    return write


def test_cache_dir_is_made_where_the_variable_says(tmp_path, monkeypatch):
    monkeypatch.setenv("BRAINVIZ_CACHE", str(tmp_path / "a" / "b"))
    assert cache_dir() == tmp_path / "a" / "b"
    assert cache_dir().is_dir()


def test_cache_dir_defaults_to_the_repository(monkeypatch):
    monkeypatch.delenv("BRAINVIZ_CACHE", raising=False)
    assert cache_dir() == Path(__file__).resolve().parents[1] / "cache"


def test_cache_dir_that_cannot_be_made(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("BRAINVIZ_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(ConfigError, match="BRAINVIZ_CACHE"):
        cache_dir()


def test_names_and_paths(write_config, tmp_path):
    path = write_config(
        '[datasets]\nnsd = "data/nsd"\nfar = "/mnt/far"\nhome = "~/d"\n[weights]\nmine = "../w.pth"\n'
        '[tasks]\nplaces365 = "data/places"\n'
    )
    config = load_config()
    assert config.path == path
    assert config.datasets == {"nsd": tmp_path / "data/nsd", "far": Path("/mnt/far"), "home": Path.home() / "d"}
    assert config.weights == {"mine": tmp_path.parent / "w.pth"}
    assert config.tasks == {"places365": tmp_path / "data/places"}


def test_no_file_is_an_empty_config(monkeypatch, tmp_path):
    monkeypatch.delenv("BRAINVIZ_CONFIG")
    monkeypatch.setattr("brainviz.config.REPOSITORY", tmp_path)
    assert load_config() == Config()
    (tmp_path / "brainviz.toml").write_text('[datasets]\nx = "y"\n')
    assert load_config().datasets == {"x": tmp_path / "y"}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('[dataset]\nx = "y"', "dataset.*write 'datasets' instead"),
        ('[qwertz]\nx = "y"', "qwertz.*remove it"),
        ("[datasets]\nx = 3", "must be a path in quotes"),
        ('[datasets]\nx = ""', "must be a path in quotes"),
        ('datasets = "x"', "must be a table"),
        ('[datasets]\ndemo = "x"', "keeps for itself"),
        ('[weights]\nimagenet = "x"', "keeps for itself"),
        ('[task]\nx = "y"', "unknown table 'task'.*write 'tasks' instead"),
        ("[tasks]\nx = 3", r"\[tasks\] x.*must be a path in quotes"),
        ('tasks = "x"', "'tasks'.*must be a table"),
        ('[tasks]\ndemo-objects = "x"', "demo-objects.*keeps for itself"),
        ('[tasks]\ndemo-quarters = "x"', "demo-quarters.*keeps for itself"),
        ("[datasets", "not a TOML file"),
        ('[mesh]\nfolder = "x"', "mesh.*write 'meshes' instead"),
        ('[meshes]\nfoldr = "x"', r"key in \[meshes\] 'foldr'.*write 'folder' instead"),
        ("[meshes]\nfolder = true", "must be a path in quotes"),
    ],
)
def test_mistakes_are_named(write_config, text, words):
    write_config(text)
    with pytest.raises(ConfigError, match=f"(?s){words}"):
        load_config()


def test_meshes_are_in_a_folder_beside_the_file(write_config, tmp_path):
    write_config('[meshes]\nfolder = "surfaces"\n[datasets]\nnsd = "x"\n')
    assert load_config().meshes == tmp_path / "surfaces"
    assert load_config().datasets == {"nsd": tmp_path / "x"}
    (tmp_path / "surfaces").mkdir()
    assert mesh_folder() == tmp_path / "surfaces"


def test_a_folder_of_meshes_must_exist_when_it_is_needed(write_config, tmp_path):
    write_config('[meshes]\nfolder = "surfaces"\n')
    with pytest.raises(ConfigError, match=f"(?s)lab.toml names does not exist.*{tmp_path / 'surfaces'}"):
        mesh_folder()


def test_no_folder_of_meshes(write_config):
    write_config("")
    assert mesh_folder() is None


def test_a_named_file_must_exist(monkeypatch, tmp_path):
    monkeypatch.setenv("BRAINVIZ_CONFIG", str(tmp_path / "none.toml"))
    with pytest.raises(ConfigError, match="BRAINVIZ_CONFIG"):
        load_config()


def test_nearest():
    assert nearest("learning_rat", ["learning_rate", "epochs"]) == "learning_rate"
    assert nearest("zzz", ["learning_rate", "epochs"]) is None
