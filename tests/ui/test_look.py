"""How a visitor looks at the cortex, to the address and back; and what no address or browser may do to it."""

import json
from dataclasses import fields, replace
from typing import Any

import pytest

from brainviz.figures.meshes import SURFACES
from brainviz.ui.look import SIDES, VIEWS, Look, look_from, look_of, query_of

USUAL = Look(borders=("V1", "V2"))

#: The address's names of all that a look has.
KEYS = (
    *("surface", "camera", "side", "threshold", "limits", "colours", "borders", "names", "floor", "tested"),
    *("mirrored", "linked"),
)

LOOKS = {
    "usual": USUAL,
    "surface": replace(USUAL, surface="flat"),
    "view": replace(USUAL, cameras=("ventral",)),
    "camera": replace(USUAL, cameras=("-12.5,40,1.32,0,-7.25",)),
    "two cameras": replace(USUAL, cameras=("medial", "-170,-20,2,0,0"), linked=False),
    "side": replace(USUAL, side="rh"),
    "threshold": replace(USUAL, threshold=0.125),
    "limits": replace(USUAL, limits=(-0.05, 0.35)),
    "tiny limits": replace(USUAL, limits=(-1e-07, 1e-07)),
    "colours": replace(USUAL, colours="cividis"),
    "borders": replace(USUAL, borders=("FFA-1", "early-visual", "mfs words")),
    "no borders": replace(USUAL, borders=()),
    "no names": replace(USUAL, named=False),
    "floor": replace(USUAL, floor=0.3),
    "switches": replace(USUAL, tested=True, mirrored=False, linked=False),
}


def address(look: Look) -> dict[str, str]:
    """Return what stands in the address: all that is not as usual."""
    return query_of(look, USUAL, {})


@pytest.mark.parametrize("look", LOOKS.values(), ids=LOOKS)
def test_there_and_back(look: Look) -> None:
    assert look_from(address(look), USUAL) == (look, [])


def test_what_is_usual_is_not_in_the_address() -> None:
    assert address(USUAL) == {}


def test_what_is_in_the_address_stays_there_and_is_kept_up_to_date() -> None:
    """Taking one thing out and changing another would be two steps of the browser's history."""
    query = {"dataset": "demo", "surface": "pial", "threshold": "0.2", "limits": "0|1", "colours": "cividis"}
    look = replace(USUAL, threshold=0.3, surface="pial")
    anew = query_of(look, USUAL, query)
    assert anew == {"threshold": "0.3", "limits": "none", "colours": "none"}
    assert look_from(query | anew, USUAL) == (look, [])
    assert query_of(look, USUAL, query | anew) == {}


def test_names_that_are_not_offered_here() -> None:
    offered = {"colours": ("", "viridis"), "borders": ("V1", "V2"), "tested": ("0",)}
    query = {"colours": "delta", "borders": "V2|Nowhere|V1|there", "tested": "1", "names": "1"}
    look, misunderstood = look_from(query, Look(), offered)
    assert look == Look(borders=("V2", "V1"))
    assert misunderstood == ["colours=delta", "borders=Nowhere|there", "tested=1"]
    fine = {"colours": "viridis", "borders": "none", "tested": "0"}
    assert look_from(fine, USUAL, offered) == (Look(colours="viridis"), [])


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("surface", "flat"),
        ("two cameras", "medial|-170,-20,2,0,0"),
        ("limits", "-0.05|0.35"),
        ("borders", "FFA-1|early-visual|mfs words"),
        ("no borders", "none"),
        ("no names", "0"),
    ],
)
def test_the_address_can_be_written_by_hand(name: str, text: str) -> None:
    assert text in address(LOOKS[name]).values()


def test_other_parameters_of_a_page_are_passed_over() -> None:
    assert look_from({"dataset": "demo", "map": "contrastive", "view": "?"}, USUAL) == (USUAL, [])


@pytest.mark.parametrize(
    ("name", "text"),
    [
        *(("threshold", text) for text in ("nan", "1e999", "-inf", "much", "", "0,5", "0x1p3", "-5")),
        *(("floor", text) for text in ("nan", "none", "[]", "2", "-0.1")),
        *(("limits", text) for text in ("0.5", "0.5|0.1", "0|0", "0|nan", "0|1|2", "", "|", "0|1e999")),
        *(("camera", text) for text in ("", "none", "dorsal", "1,2,3,4", "1,2,0,4,5", "1,2,-1,4,5", "1,2,nan,4,5")),
        *(("camera", text) for text in ("lateral|", "toString", "0,0,1e999,0,0", "1,2,3,4,5,6", "0,99,1,0,0")),
        *(("camera", text) for text in ("0,0,1e300,0,0", "0,0,1,1e9,0", "medial|lateral|ventral")),
        *(("side", text) for text in ("left", "LH", "none", "both|lh")),
        *((name, text) for name in ("names", "tested", "mirrored", "linked") for text in ("yes", "2", "", "1|0")),
        *(("surface", text) for text in ("<script>alert(1)</script>", "toString", "", "none", "inflated|pial")),
    ],
)
def test_what_means_nothing_is_named_and_left_out(name: str, text: str) -> None:
    assert look_from({name: text, "dataset": "demo"}, USUAL) == (USUAL, [f"{name}={text}"])


def hostile() -> list[str]:
    """Return texts that no page writes."""
    texts = [
        "nan",
        "-inf",
        "1e999",
        "9" * 5000,
        "<script>alert(1)</script>",
        "null",
        "{}",
        "[[1]]",
        "__proto__",
        "\x00",
    ]
    texts += ["", " ", "|", "|" * 9000, ",", "," * 9000, "1,2,3,4,5|" * 3000, "0|" * 3000, "none|none", "٣", "²", "1_0"]
    return [*texts, "../../etc/passwd", "%s%n", "😀" * 100, "true", "None", "-0", "1e-320", "0.1|0.10000001"]


@pytest.mark.parametrize("key", KEYS)
def test_no_address_raises_or_gives_what_cannot_be_drawn(key: str) -> None:
    for text in hostile():
        look, misunderstood = look_from({key: text}, USUAL)
        assert set(misunderstood) <= {f"{key}={text}"}
        if misunderstood:
            assert look == USUAL
        assert_drawable(look)
        # A link that is handed on stays one that can be read.
        again, _ = look_from(address(look), USUAL)
        assert_drawable(again)


def test_no_browser_raises_or_gives_what_cannot_be_drawn() -> None:
    wrong: list[Any] = [None, True, 7, -1.5, "x", "", [], [None], [[1, 2], [3]], {}, {"a": [1]}, ["a"] * 5000]
    wrong += [float("nan"), float("inf"), 1e300, "9" * 5000, [float("nan"), 1], ["lateral", 5], [1, "0.5"], [0.5, 0.1]]
    for field in fields(Look):
        for value in wrong:
            assert_drawable(look_of({field.name: value}, USUAL))
    assert look_of({"nonsense": [1], "cameras": "?", "surface": "pial"}, USUAL) == replace(USUAL, surface="pial")


def assert_drawable(look: Look) -> None:
    """Check that a look is of the kinds that the viewer and the exports count on."""
    json.dumps(look.for_viewer(), allow_nan=False)
    assert look.side in SIDES
    assert look.cameras
    for camera in look.cameras:
        assert camera in VIEWS or len(camera.split(",")) == 5
    for switch in (look.named, look.tested, look.mirrored, look.linked):
        assert isinstance(switch, bool)
    assert isinstance(look.threshold, float)
    assert isinstance(look.floor, float)
    assert look.limits is None or look.limits[0] < look.limits[1]
    assert all(isinstance(name, str) for name in look.borders)
    assert look.surface in SURFACES


def test_what_the_viewer_tells_is_what_it_was_given() -> None:
    """The viewer tells all fields, as JSON: no limits and colours where they are the map's own."""
    for look in LOOKS.values():
        told = json.loads(json.dumps(look.for_viewer()))
        assert look_of(told, USUAL) == look


def test_the_maps_own_limits_are_back_when_the_viewer_tells_of_none() -> None:
    told = json.loads(json.dumps(USUAL.for_viewer()))
    assert look_of(told, replace(USUAL, limits=(0.0, 0.2))).limits is None


def test_whole_numbers_and_what_is_not_told() -> None:
    look = look_of({"threshold": 1, "limits": [0, 2]}, USUAL)
    assert (look.threshold, look.limits, look.borders) == (1.0, (0.0, 2.0), ("V1", "V2"))


def test_numbers_are_told_to_four_digits() -> None:
    assert address(replace(USUAL, threshold=0.123456)) == {"threshold": "0.1235"}
