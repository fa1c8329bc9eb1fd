"""Training curves: what is drawn is what the epochs said."""

from brainviz.figures.curves import training_curves
from brainviz.figures.style import Provenance


def test_curves_leave_out_what_an_epoch_does_not_say(provenance: Provenance) -> None:
    epochs = [{"epoch": 1, "loss": 2.0, "retrieval_top1": 0.1}, {"epoch": 2, "loss": 1.0, "retrieval_top1": None}]
    loss, retrieval = training_curves({"subj01 lh V1": epochs}, provenance).data
    assert (list(loss.x), list(loss.y)) == ([1, 2], [2.0, 1.0])
    assert (list(retrieval.x), list(retrieval.y)) == ([1], [0.1])
    assert loss.line.color == retrieval.line.color
