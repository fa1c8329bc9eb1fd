"""Contact sheets: every picture is where it belongs, to the pixel; labels are readable and stay in their strip."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from brainviz.errors import SpecError
from brainviz.figures.contact_sheet import LABEL_PIXELS, NAME_GAP, NAME_PIXELS, binned_sheet, contact_sheet

#: Of these no two are alike, and none is white or the ink of letters.
COLOURS = np.array([[200, 0, 0], [0, 200, 0], [0, 0, 200], [200, 200, 0], [0, 200, 200]], np.uint8)
LONG = "a very long label that cannot fit below a picture of this size"


def solid(n: int, side: int = 10) -> NDArray[np.uint8]:
    return np.broadcast_to(COLOURS[:n, None, None], (n, side, side, 3)).copy()


def is_white(part: NDArray[np.uint8]) -> bool:
    return bool((part == 255).all())


@pytest.mark.parametrize("side", [10, 16, 33])
def test_every_picture_is_at_its_place_and_the_rest_is_background(side: int) -> None:
    sheet = contact_sheet(solid(5, side), columns=3, gap=2, size=16)
    expected = np.full((16 + 2 + 16, 3 * 16 + 2 * 2, 3), 255, np.uint8)
    for at, colour in enumerate(COLOURS):
        top, left = at // 3 * 18, at % 3 * 18
        expected[top : top + 16, left : left + 16] = colour
    assert sheet.dtype == np.uint8
    np.testing.assert_array_equal(sheet, expected)


def test_pictures_of_the_right_size_are_copied_to_the_bit() -> None:
    pictures = np.random.default_rng(0).integers(0, 256, (2, 8, 8, 3), dtype=np.uint8)
    np.testing.assert_array_equal(contact_sheet(pictures, columns=2, gap=0, size=8), np.concatenate(pictures, axis=1))


def test_fewer_pictures_than_columns_make_a_narrower_sheet() -> None:
    assert contact_sheet(solid(2), columns=5, gap=4, size=10).shape == (10, 24, 3)
    assert contact_sheet(solid(1), columns=5, gap=4, size=10).shape == (10, 10, 3)


def test_labels_are_in_a_strip_below_their_pictures() -> None:
    plain = contact_sheet(solid(4), columns=2, gap=3, size=60)
    labelled = contact_sheet(solid(4), columns=2, gap=3, size=60, labels=["0.31", "", LONG, "é – …"])
    assert labelled.shape == (plain.shape[0] + 2 * LABEL_PIXELS, *plain.shape[1:])
    down = 60 + LABEL_PIXELS + 3
    for at, has_label in enumerate((True, False, True, True)):
        top, left = at // 2 * down, at % 2 * 63
        assert (labelled[top : top + 60, left : left + 60] == COLOURS[at]).all()
        strip = labelled[top + 60 : top + 60 + LABEL_PIXELS, left : left + 60]
        assert is_white(strip) != has_label
    # Nothing is written between the columns.
    assert is_white(labelled[:, 60:63])


def test_letters_beyond_ascii_are_drawn() -> None:
    strips = [contact_sheet(solid(1), columns=1, size=60, labels=[text])[60:] for text in ("é", "–", "…", "\uffff")]
    for number, strip in enumerate(strips):
        assert not any((strip == other).all() for other in strips[:number])


def test_the_background_has_a_name_and_labels_can_be_read_on_it() -> None:
    sheet = contact_sheet(solid(3), columns=2, gap=2, size=40, labels=["a"] * 3, background="#102030")
    assert (sheet[-LABEL_PIXELS - 40 :, 42:] == (16, 32, 48)).all()
    assert sheet[40 : 40 + LABEL_PIXELS, :40].max() > 200
    with pytest.raises(SpecError, match="mauvelous"):
        contact_sheet(solid(1), columns=1, background="mauvelous")


@pytest.mark.parametrize(
    "settings", [{"columns": 0}, {"columns": 1, "size": 0}, {"columns": 1, "gap": -1}, {"columns": 1, "labels": ["a"]}]
)
def test_impossible_sheets_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(SpecError):
        contact_sheet(solid(2), **settings)


@pytest.mark.parametrize(
    "pictures",
    [solid(2).astype(float), solid(2)[..., :1], solid(2)[:, :5], solid(2)[0]],
    ids=["not uint8", "grey", "not square", "one without its axis"],
)
def test_what_are_no_pictures_are_refused(pictures: Any) -> None:
    with pytest.raises(SpecError, match="square"):
        contact_sheet(pictures, columns=2)
    with pytest.raises(SpecError, match="square"):
        binned_sheet([("1–8", pictures)])


@pytest.mark.parametrize("pictures", [np.empty((0, 8, 8, 3), np.uint8), np.empty(0), []], ids=["none", "flat", "list"])
def test_no_picture_is_no_sheet(pictures: Any) -> None:
    with pytest.raises(SpecError, match="at least one picture"):
        contact_sheet(pictures, columns=2)
    with pytest.raises(SpecError, match="at least one picture"):
        binned_sheet([("1–8", pictures), ("last 8", pictures)])
    with pytest.raises(SpecError, match="at least one picture"):
        binned_sheet([])


def test_rows_of_bins_begin_at_one_place_with_their_names_on_the_left() -> None:
    pictures = solid(5, 30)
    sheet = binned_sheet([("1–3", pictures[:3]), ("middle", pictures[:0]), ("last 2", pictures[3:])], size=30, gap=2)
    across = 3 * 30 + 2 * 2
    aside = sheet.shape[1] - across
    assert sheet.shape[0] == 3 * 30 + 2 * 2
    expected = np.full((sheet.shape[0], across, 3), 255, np.uint8)
    for colour, (row, column) in zip(COLOURS, [(0, 0), (0, 1), (0, 2), (2, 0), (2, 1)], strict=True):
        expected[row * 32 : row * 32 + 30, column * 32 : column * 32 + 30] = colour
    np.testing.assert_array_equal(sheet[:, aside:], expected)
    assert is_white(sheet[:, aside - NAME_GAP // 2 : aside])
    for row in range(3):
        assert not is_white(sheet[row * 32 : row * 32 + 30, :aside])
    assert is_white(sheet[30:32])


def test_long_names_of_bins_are_cut_and_names_may_be_missing() -> None:
    assert binned_sheet([(LONG * 3, solid(1))], size=20).shape == (20, NAME_PIXELS + 2 * NAME_GAP + 20, 3)
    np.testing.assert_array_equal(
        binned_sheet([("", solid(2))], size=10, gap=1), contact_sheet(solid(2), columns=2, gap=1, size=10)
    )
