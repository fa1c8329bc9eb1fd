"""Order of names on the axes, and the columns that all bar charts share."""

import pandas as pd
import pytest

from brainviz.figures.panels import appearance, in_order, keyed


@pytest.mark.parametrize(
    ("sequences", "order"),
    [
        ([], []),
        ([["V1", "V2"], ["V1", "V2"]], ["V1", "V2"]),
        # What the first subject lacks stands where the second has it.
        ([["V1", "hV4"], ["V1", "V2", "V3", "hV4"]], ["V1", "V2", "V3", "hV4"]),
        ([["V2"], ["V1", "V2", "V3"]], ["V1", "V2", "V3"]),
        ([["V1", "V1", "V2"]], ["V1", "V2"]),
    ],
)
def test_names_keep_the_order_of_every_sequence(sequences: list[list[str]], order: list[str]) -> None:
    assert appearance(sequences) == order


def test_in_order_leaves_out_what_is_absent() -> None:
    assert in_order(["rh", "lh", "rh"], ["lh", "rh", "both"]) == ["lh", "rh"]


def test_keyed_names_the_columns_and_fills_the_missing_ones() -> None:
    frame = pd.DataFrame({"hemi": ["lh"], "roi": ["V1"], "improved": [0.5]})
    renamed = keyed(frame, one="a > b", value="improved")
    assert renamed.to_dict("records") == [{"panel": "lh", "place": "V1", "value": 0.5, "series": "a > b"}]
    assert list(frame.columns) == ["hemi", "roi", "improved"]
    groups = pd.DataFrame({"group": ["early"], "method": ["untuned"], "r": [0.4]})
    assert keyed(groups, place="group", series="method", value="r")["panel"].tolist() == [""]
