"""The errors brainviz raises on purpose: what is wrong, what was found, what was expected and how to mend it."""

from __future__ import annotations


class BrainvizError(Exception):
    """An error a user can act on.

    Parameters
    ----------
    wrong : str
        What is wrong, one sentence.
    got, expected : str, optional
        What was found, and what would have been right.
    mend : str, optional
        What to do about it.
    """

    def __init__(
        self, wrong: str, *, got: str | None = None, expected: str | None = None, mend: str | None = None
    ) -> None:
        self.wrong, self.got, self.expected, self.mend = wrong, got, expected, mend
        parts = [wrong]
        if got is not None:
            parts.append(f"Got: {got}")
        if expected is not None:
            parts.append(f"Expected: {expected}")
        if mend is not None:
            parts.append(f"To mend it: {mend}")
        super().__init__("\n".join(parts))


class ConfigError(BrainvizError):
    """`brainviz.toml` or an environment variable cannot be used."""


class DatasetError(BrainvizError):
    """A data set is missing, incomplete or inconsistent."""


class SpecError(BrainvizError):
    """What was asked for is not possible: an unknown field, or a value out of range."""


class WeightsError(BrainvizError):
    """Network weights are missing, or do not fit the network."""


class RunError(BrainvizError):
    """A run does not exist, or is not in a state that allows what was asked."""
