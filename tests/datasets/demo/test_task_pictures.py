"""The demo's task pictures: what the labels say is drawn, no subject has seen them, and writing is repeatable."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from brainviz.datasets.demo import task_pictures
from brainviz.datasets.demo.drawing import draw_scene
from brainviz.datasets.demo.plan import PICTURES, scene_of
from brainviz.datasets.demo.scenes import KINDS
from brainviz.datasets.demo.task_pictures import QUARTERS, quarter_of, task_scene, write_task_pictures
from brainviz.datasets.images import decode


def rows_of(folder: Path) -> list[dict[str, str]]:
    with (folder / "labels.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_pictures_are_those_of_their_scenes(tmp_path: Path) -> None:
    out = write_task_pictures(tmp_path / "a" / "tasks", count=12)
    rows = rows_of(out)
    assert [row["file"] for row in rows] == [f"pictures/{number:04d}.png" for number in range(12)]
    for number, row in enumerate(rows):
        scene = task_scene(number)
        assert (row["object"], row["quarter"]) == (scene.things[0].kind, quarter_of(scene.things[0]))
        assert decode(out / row["file"]).tobytes() == draw_scene(scene).tobytes()
    again = write_task_pictures(tmp_path / "b", count=12)
    for path in out.rglob("*.*"):
        assert path.read_bytes() == (again / path.relative_to(out)).read_bytes()


def test_no_scene_is_one_of_the_subjects() -> None:
    """Objects have seeds of 31 bits of their own, so that equal scenes would be no chance."""
    seen = {scene_of(number).main.variant for number in range(PICTURES)}
    own = [task_scene(number).main.variant for number in range(task_pictures.PICTURES)]
    assert len(seen & set(own)) <= 1  # 3000 * 4030 / 2^31: one in 180 that two agree
    assert len(set(own)) > len(own) - 3


def test_every_class_is_about_equally_frequent() -> None:
    scenes = [task_scene(number) for number in range(task_pictures.PICTURES)]
    for names, drawn in ((KINDS, [s.main.kind for s in scenes]), (QUARTERS, [quarter_of(s.main) for s in scenes])):
        expected = len(scenes) / len(names)
        assert all(abs(drawn.count(name) - expected) < 4 * expected**0.5 for name in names)


def test_an_existing_folder_is_left_alone_and_a_failure_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = write_task_pictures(tmp_path / "tasks", count=2)
    times = {path: path.stat().st_mtime_ns for path in out.rglob("*")}
    assert write_task_pictures(out, count=5) == out
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*")} == times

    def fail(_scene: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(task_pictures, "draw_scene", fail)
    with pytest.raises(OSError, match="disk full"):
        write_task_pictures(tmp_path / "other", count=2)
    assert [path.name for path in tmp_path.iterdir()] == ["tasks"]


def test_of_two_writers_the_first_to_finish_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out, draw = tmp_path / "tasks", task_pictures.draw_scene

    def meanwhile(scene: object) -> object:
        monkeypatch.setattr(task_pictures, "draw_scene", draw)
        write_task_pictures(out, count=1)
        return draw(scene)

    monkeypatch.setattr(task_pictures, "draw_scene", meanwhile)
    write_task_pictures(out, count=2)
    assert len(rows_of(out)) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["tasks"]
