"""Published values: as the source has them, in the shapes that figures take, and under the names that results have."""

import subprocess
import sys

import pytest

from brainviz.encoding import published


def test_rois_have_both_methods_in_both_hemispheres() -> None:
    frame = published.published_rois()
    assert list(frame.columns) == ["hemi", "roi", "method", "r"]
    assert len(frame) == 2 * 10 * 2
    assert not frame.duplicated(["hemi", "roi", "method"]).any()
    assert set(frame["method"]) == {"untuned", "contrastive"}


@pytest.mark.parametrize(
    ("hemi", "roi", "method", "r"),
    [("lh", "V1v", "untuned", 0.434), ("rh", "V1v", "contrastive", 0.471), ("lh", "V1d", "contrastive", 0.478),
     ("rh", "EBA", "untuned", 0.410), ("rh", "OPA", "contrastive", 0.370), ("lh", "RSC", "contrastive", 0.384)],
)  # fmt: skip
def test_values_per_roi(hemi: str, roi: str, method: str, r: float) -> None:
    frame = published.published_rois().set_index(["hemi", "roi", "method"])["r"]
    assert frame[hemi, roi, method] == r


def test_contrastive_is_above_untuned_in_every_roi() -> None:
    wide = published.published_rois().pivot_table(index=["hemi", "roi"], columns="method", values="r")
    assert (wide["contrastive"] > wide["untuned"]).all()


def test_groups_rise_from_untuned_to_pooled() -> None:
    frame = published.published_groups()
    assert list(frame.columns) == ["group", "method", "r"]
    for _, rows in frame.groupby("group"):
        assert list(rows["method"]) == ["untuned", "regression", "contrastive", "pooled"]
        assert rows["r"].is_monotonic_increasing
    assert frame.set_index(["group", "method"])["r"]["early", "regression"] == 0.409


def test_groups_carry_the_names_of_the_summaries() -> None:
    from brainviz.encoding.summaries import GROUPS

    groups = published.published_groups()["group"]
    assert set(groups) == {"all ROIs", "early", "higher"}
    assert set(groups) <= set(GROUPS)
    assert set(published.published_improved()["group"]) == set(groups)


def test_the_mean_over_all_rois_lies_between_early_and_higher() -> None:
    r = published.published_groups().set_index(["method", "group"])["r"]
    share = published.published_improved().set_index("group")["improved"]
    for values in [share, *(r[method] for method in ("untuned", "regression", "contrastive", "pooled"))]:
        assert values["higher"] < values["all ROIs"] < values["early"]


def test_information_is_positive_and_below_the_logarithm_of_a_test_set() -> None:
    frame = published.published_information()
    assert list(frame.columns) == ["hemi", "roi", "nats"]
    # 15 % of about 10,000 pictures: log 1500 = 7.3 nats.
    assert frame["nats"].between(0, 7.3).all()
    assert frame.set_index(["hemi", "roi"])["nats"]["rh", "RSC"] == 0.85


def test_challenge_scores_put_the_winners_first() -> None:
    frame = published.published_algonauts().sort_values("score", ascending=False)
    assert list(frame["model"])[:4] == ["winner, 1st", "winner, 2nd", "winner, 3rd", "F-BNet"]
    assert frame["score"].between(0, 100).all()


def test_reading_the_words_imports_no_pandas() -> None:
    code = "import sys, brainviz.encoding.published as p; assert p.LABEL and p.PROTOCOL and 'pandas' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
