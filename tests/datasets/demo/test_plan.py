"""The plan: which pictures are shared, numbered and listed as the Algonauts layout wants."""

from __future__ import annotations

from brainviz.datasets.demo.areas import SUBJECTS
from brainviz.datasets.demo.plan import OWN_PICTURES, PICTURES, SHARED_PICTURES, TEST_PICTURES, plan_pictures, scene_of


def test_a_part_of_the_pictures_is_shared_by_all_and_the_rest_is_a_subjects_own() -> None:
    plan = plan_pictures()
    seen = {subject: {shown.number for shown in plan[subject].training} for subject in SUBJECTS}
    assert all(len(numbers) == SHARED_PICTURES + OWN_PICTURES for numbers in seen.values())
    assert len(set.intersection(*seen.values())) == SHARED_PICTURES
    assert len(set.union(*seen.values())) == SHARED_PICTURES + OWN_PICTURES * len(SUBJECTS) == PICTURES - TEST_PICTURES
    assert len(seen["subj01"] & seen["subj02"]) == SHARED_PICTURES


def test_test_pictures_are_nobodys_training_pictures() -> None:
    for lists in plan_pictures().values():
        assert len(lists.test) == TEST_PICTURES
        assert not {shown.number for shown in lists.test} & {shown.number for shown in lists.training}


def test_file_names_sort_in_the_order_of_the_rows_and_carry_the_picture() -> None:
    for lists in plan_pictures().values():
        files = [shown.file for shown in lists.training]
        assert files == sorted(files)
        assert files[0].startswith("training_split/training_images/train-0001_nsd-")
        assert all(shown.file.endswith(f"_{shown.name}.png") for shown in lists.training)


def test_no_two_pictures_show_the_same() -> None:
    assert len({scene_of(number) for number in range(400)}) == 400
