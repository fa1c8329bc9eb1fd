"""The table of runs: what stands beside a contrastive run's information."""

from __future__ import annotations

import pandas as pd
from streamlit.testing.v1 import AppTest

from brainviz.encoding.published import published_information
from brainviz.ui.choices import RUN_COLUMNS


def script(rois: list[str]) -> None:
    import pandas as pd

    from brainviz.ui.choices import RUN_COLUMNS
    from brainviz.ui.runs_table import show_runs

    rows = [{"run": "ab" * 32, "hemi": "lh", "roi": roi, "information_nats": 1.5} for roi in rois]
    rows.append({"run": "cd" * 32, "hemi": "lh", "roi": "hV4", "method": "regression"})
    show_runs(pd.DataFrame(rows, columns=list(RUN_COLUMNS)))


def shown(*rois: str) -> pd.DataFrame:
    at = AppTest.from_function(script, args=(list(rois),)).run()
    assert not at.exception
    table: pd.DataFrame = at.dataframe[0].value
    return table


def test_published_information_is_beside_that_of_the_same_roi() -> None:
    values = published_information().set_index(["hemi", "roi"])["nats"]
    table = shown("V1v", "V1d")
    assert table["information_published"].iloc[0] == values["lh", "V1v"]
    assert table["information_published"].isna().to_list() == [False, True, True]  # unknown ROI; regression


def test_without_published_values_there_is_no_column() -> None:
    assert "information_published" not in shown("V1d")
    assert "information_published" not in RUN_COLUMNS
