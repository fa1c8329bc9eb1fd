"""What the Encoding page shows: the finished runs of a choice with all that its views have in common."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import pandas as pd

from brainviz.figures.style import Provenance
from brainviz.runs.compare import FALSE_DISCOVERY_RATE
from brainviz.runs.spec_base import Spec
from brainviz.runs.specs import ComparisonSpec
from brainviz.ui.choices import Choice
from brainviz.ui.comparison import (
    AREA_METHOD,
    TEST_R,
    Finished,
    How,
    Summary,
    layers_fitted,
    permutation_results,
    roi_table,
    rows_at,
    summary,
)
from brainviz.ui.sources import Source


@dataclass(frozen=True)
class Shown:
    """The results on the page.

    Attributes
    ----------
    source : Source
    choice : Choice
        What is asked for, done or not.
    runs : tuple of (str, Run)
        What is done.
    how : How
        How it is compared.
    tests : tuple of ComparisonSpec
        The permutation tests of the pair, one per subject.
    provenance : Provenance
    """

    source: Source
    choice: Choice
    runs: tuple[Finished, ...]
    how: How
    tests: tuple[ComparisonSpec, ...]
    provenance: Provenance

    @cached_property
    def methods(self) -> list[str]:
        """Methods that have results, in the order in which they were asked for."""
        done = {method for method, _ in self.runs}
        return [method for method in dict.fromkeys(method for method, _ in self.choice.asked) if method in done]

    @cached_property
    def subjects(self) -> list[str]:
        """Subjects that have results."""
        return list(dict.fromkeys(run.spec.subject for _, run in self.runs))

    @cached_property
    def pair(self) -> tuple[str, str] | None:
        """The methods of which differences are taken, if both have results."""
        return self.how.pair if self.how.pair and set(self.how.pair) <= set(self.methods) else None

    @cached_property
    def layers(self) -> tuple[str, ...]:
        """Layers that encoding models are fitted on, in the network's order."""
        return layers_fitted(self.choice)

    @cached_property
    def table(self) -> pd.DataFrame:
        """Everything per ROI: `brainviz.ui.comparison.roi_table`."""
        return roi_table(self.runs)

    @cached_property
    def rows(self) -> pd.DataFrame:
        """The rows of the table at the layer that is compared, with the score as ``r``, ``low``, ``high``."""
        return rows_at(self.table, self.how)

    @cached_property
    def summary(self) -> Summary:
        return summary(self.runs, replace(self.how, pair=self.pair), self.source.dataset)

    @cached_property
    def tested(self) -> pd.DataFrame:
        """What the tests that are done found: `brainviz.ui.comparison.permutation_results`."""
        return permutation_results(self.tests)

    @cached_property
    def differences(self) -> pd.DataFrame:
        """Differences per ROI, with ``significant`` (NaN where nothing was tested) as `difference_bars` takes it."""
        frame = self.summary.differences
        keys = AREA_METHOD[:3]
        if self.tested.empty or self.how.score != TEST_R:
            return frame.assign(significant=float("nan"))
        said = self.tested.assign(significant=(self.tested["q"] < FALSE_DISCOVERY_RATE).astype(float))
        return frame.merge(said[[*keys, "significant"]], on=keys, how="left", validate="many_to_one")

    @property
    def stem(self) -> str:
        """Of file names."""
        whose = self.subjects[0] if len(self.subjects) == 1 else f"{len(self.subjects)}subjects"
        return f"{self.source.key}_{whose}"

    def about(self, methods: Sequence[str], words: str = "", subject: str = "", how: str = "") -> Provenance:
        """Return the provenance of a figure about these methods, and one subject if it is named.

        Parameters
        ----------
        methods : sequence of str
        words : str
            What is shown of them, unless each by itself.
        subject : str
        how : str
            Which score at which layer, unless the one that the page compares.
        """
        mine = {run.id: run for method, run in self.runs if method in methods}
        runs = tuple(id for id, run in mine.items() if subject in ("", run.spec.subject))
        named = f"{words or ', '.join(methods)}: {how or self.how.words}"
        return replace(self.provenance, subject=subject or ", ".join(self.subjects), method=named, runs=runs)

    def specs(self, subject: str = "") -> tuple[Spec, ...]:
        """Return what was asked for, of all subjects or of one."""
        return tuple(spec for spec in self.choice.specs if subject in ("", spec.subject))
