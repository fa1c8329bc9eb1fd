"""Fixtures of the figure tests."""

import pytest

from brainviz.figures.style import Provenance


@pytest.fixture
def provenance() -> Provenance:
    return Provenance("demo", "subj01", ("V1v", "V1d"), "15% test pictures", "contrastive", ("ab" * 32,))
