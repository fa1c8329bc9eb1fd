"""Drawing a part: the right pictures reach everyone who sees them, and the energy maps are theirs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from brainviz.datasets.demo.drawing import draw_scene
from brainviz.datasets.demo.energy import energy_maps
from brainviz.datasets.demo.pictures import draw_part, luminance
from brainviz.datasets.demo.plan import PICTURES, energy_file, plan_pictures, scene_of


def test_a_part_is_drawn_for_everyone_who_sees_it(tmp_path: Path) -> None:
    plan, parts, done = plan_pictures(), 1000, []
    for subject, lists in plan.items():
        for shown in (lists.training[0], lists.test[0]):
            (tmp_path / subject / shown.file).parent.mkdir(parents=True)
    draw_part(tmp_path, 2, parts, done.append)
    numbers = list(range(2, PICTURES, parts))
    assert done == [len(numbers)]
    wanted = {
        subject: {shown.file for shown in (*lists.training, *lists.test) if shown.number in numbers}
        for subject, lists in plan.items()
    }
    for subject, files in wanted.items():
        assert {
            path.relative_to(tmp_path / subject).as_posix() for path in (tmp_path / subject).rglob("*.png")
        } == files
    first = next(tmp_path.rglob(f"*_nsd-{numbers[0]:05d}.png"))
    picture = Image.open(first)
    assert picture.tobytes() == draw_scene(scene_of(numbers[0])).tobytes()
    maps = np.load(energy_file(tmp_path, 2))
    np.testing.assert_allclose(maps[0], energy_maps(luminance(picture)[None])[0], atol=1e-3)


def test_luminance_is_scaled_and_halved() -> None:
    white = luminance(Image.new("RGB", (96, 96), "white"))
    assert white.shape == (48, 48)
    np.testing.assert_allclose(white, 1.0)
