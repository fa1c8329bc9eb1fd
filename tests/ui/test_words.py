"""Numbers in words."""

import pytest

from brainviz.ui.words import count, duration, unit_noun


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.2, "under 1 s"), (12.4, "12 s"), (89.4, "89 s"), (90, "2 min"), (600, "10 min"), (9000, "2.5 h")],
)
def test_duration(seconds: float, words: str) -> None:
    assert duration(seconds) == words


def test_count() -> None:
    assert [count(n, "run") for n in (0, 1, 1234)] == ["0 runs", "1 run", "1,234 runs"]


def test_unit() -> None:
    assert (unit_noun("vertex"), unit_noun("neuron"), unit_noun("vertex", 1)) == ("vertices", "neurons", "vertex")
