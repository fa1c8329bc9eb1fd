"""Parts of the Classification page: accuracy per model, the trade-off with r, confusions, and pictures."""

from __future__ import annotations

from dataclasses import replace

import pandas as pd
import streamlit as st

from brainviz.figures.accuracy import accuracy_bars, confusion_heatmap, trade_off
from brainviz.figures.style import PLOTLY_CONFIG
from brainviz.runs.network_specs import UNTUNED
from brainviz.runs.store import Run, Store
from brainviz.ui.binding import bound, keep_among, say_unknown
from brainviz.ui.classified import Answers, Classified, answers_of, once
from brainviz.ui.comparison import finished
from brainviz.ui.downloads import csv_text, download, figure_downloads
from brainviz.ui.errors import plain
from brainviz.ui.run_controls import start_button
from brainviz.ui.tasks import classes_of
from brainviz.ui.words import count

#: Pictures that one model gets and another does not, shown at a time.
PICTURES, PER_ROW, THUMBNAIL = 24, 8, 160

#: Below this many test pictures an interval of 95 % spans up to twenty points of accuracy.
FEW_PICTURES = 100

#: What of two models' answers is shown.
TRUTH = "true class"


def show_accuracy(shown: Classified) -> None:
    """Draw the accuracy of every model per ROI, with the untuned network's as a line."""
    table = shown.accuracies
    figure = accuracy_bars(table, shown.provenance, chance=shown.chance)
    st.plotly_chart(figure, config=PLOTLY_CONFIG, theme=None, key="accuracy", alt="Accuracy per ROI and method")
    st.caption(
        f"{count(int(table['n_test'].iloc[0]), 'test picture')} of {plain(shown.task.task.name)}, classified from "
        f"{plain(shown.readout)}. Intervals of single models: 95 % (Wilson 1927). Chance: always saying the commonest "
        "class."
    )
    if int(table["n_test"].iloc[0]) < FEW_PICTURES:
        st.caption("With so few test pictures only large differences between models can be told from chance.")
    say_convergence(table)
    figure_downloads("Accuracy", table, figure, shown.specs(), shown.stem, shown.provenance)


def say_convergence(table: pd.DataFrame) -> None:
    """Say so where classifiers were stopped before they had settled."""
    stopped = int((~table["converged"].astype(bool)).sum())
    if stopped:
        st.caption(
            f"{stopped} of {count(len(table), 'classifier')} stopped before the fit had settled: column “converged” of "
            "the table. Their probabilities would still change a little."
        )


def show_trade_off(shown: Classified) -> None:
    """Draw what each tuned network lost in accuracy over what it gained in r."""
    if shown.untuned is None:
        chosen = UNTUNED in (method for method, _ in shown.choice.asked)
        how = "press “Start classification”" if chosen else "choose it among the methods"
        st.info(f"The trade-off needs the untuned network: {how}.", icon=":material/arrow_upward:")
        return
    start_button(shown.encodings.specs, "encoding, for r", key="start_encoding")
    table = shown.trade
    if table.empty:
        st.info(
            "The trade-off sets the drop in accuracy against the gain in r, and no network here has been encoded yet.",
            icon=":material/hourglass_empty:",
        )
        return
    encoded = len(table)
    tuned = int((shown.accuracies["roi"] != "").sum())
    if encoded < tuned:
        st.caption(f"{encoded} of {count(tuned, 'tuned model')} are drawn: the others have not been encoded yet.")
    subjects = ", ".join(dict.fromkeys(table["subject"]))
    encodings = (run.id for _, run in once(finished(shown.encodings, Store())))
    provenance = replace(shown.provenance, subject=subjects, runs=(*table["run"], shown.untuned.id, *encodings))
    figure = trade_off(table, provenance)
    st.plotly_chart(figure, config=PLOTLY_CONFIG, theme=None, key="trade", alt="Drop in accuracy over gain in r")
    st.caption(
        "Gain: mean r over the ROI's vertices on test pictures of the data set, tuned minus untuned; bootstrapped. "
        "Drop: accuracy, untuned minus tuned, on the same test pictures of the task; interval of Newcombe (1998), p of "
        "McNemar's exact test in the CSV."
    )
    figure_downloads("Trade-off", table, figure, [*shown.specs(), *shown.encodings.specs], shown.stem, provenance)


def show_confusion(shown: Classified) -> None:
    """Draw the confusions of a model, or two models' answers against each other."""
    pair = _pick_two(shown, optional=True)
    if pair is None:
        return
    (first, one), second = pair
    from brainviz.analyses.classification import accuracy_difference, confusion

    classes = classes_of(one)
    mine = answers_of(one, shown.readout)
    if second is None:
        counts = confusion(mine.labels, mine.predicted, len(classes))
        names = (TRUTH, first)
    else:
        other = answers_of(second[1], shown.readout)
        counts = confusion(mine.predicted, other.predicted, len(classes))
        names = (first, second[0])
        found = accuracy_difference(mine.correct, other.correct)
        st.markdown(
            f"**{plain(first)}** is right in {mine.correct.mean():.1%}, **{plain(second[0])}** in "
            f"{other.correct.mean():.1%} of {len(mine.labels):,} pictures: a difference of "
            f"{100 * found.difference:+.1f} percentage points, 95 % interval {100 * found.low:+.1f} to "
            f"{100 * found.high:+.1f}, p {found.p:.3g}."
        )
    figure = confusion_heatmap(counts, classes, shown.provenance, names=names)
    st.plotly_chart(figure, config=PLOTLY_CONFIG, theme=None, key="confusion", alt=" against ".join(names))
    table = pd.DataFrame(counts, index=pd.Index(classes, name=f"{names[0]} / {names[1]}"), columns=classes)
    runs = tuple(run.id for run in (one, second[1] if second else None) if run is not None)
    about = replace(shown.provenance, method=f"{names[0]} against {names[1]}, {shown.readout}", runs=runs)
    stem = f"{shown.stem}_{'_'.join(names).replace(' ', '-')}"
    figure_downloads("Confusion", table.reset_index(), figure, shown.specs(), stem, about)


def show_pictures(shown: Classified) -> None:
    """Draw the pictures that one of two models gets and the other does not."""
    pair = _pick_two(shown)
    if pair is None or pair[1] is None:
        return
    (first, one), (second, other) = pair[0], pair[1]
    mine, theirs = answers_of(one, shown.readout), answers_of(other, shown.readout)
    groups = {
        f"only {first}": mine.correct & ~theirs.correct,
        f"only {second}": theirs.correct & ~mine.correct,
        "neither": ~mine.correct & ~theirs.correct,
    }
    keep_among("gets", list(groups), next(iter(groups)))
    # Numbers in the options would get into the link, which then fits no other layer.
    chosen = st.segmented_control("Right in", list(groups), default=next(iter(groups)), required=True, **bound("gets"))
    counts = ", ".join(f"{plain(name)} {int(which.sum()):,}" for name, which in groups.items())
    st.caption(f"Of {count(len(mine.labels), 'test picture')}: {counts}.")
    which = groups[chosen or next(iter(groups))].nonzero()[0]
    classes = classes_of(one)
    # The most certain answers first: there the models disagree most.
    order = which[(-(mine.certainty + theirs.certainty)[which]).argsort(kind="stable")]
    if not len(order):
        st.info("There is no such picture.", icon=":material/check_circle:")
        return
    for start in range(0, min(len(order), PICTURES), PER_ROW):
        for column, row in zip(st.columns(PER_ROW), order[start : start + PER_ROW], strict=False):
            picture = shown.task.task.images[int(mine.rows[row])]
            picture.thumbnail((THUMBNAIL, THUMBNAIL))
            words = f"{classes[mine.labels[row]]}: {_says(classes, mine, row)}, {_says(classes, theirs, row)}"
            column.image(picture, caption=plain(words), width="stretch", alt=f"picture of {classes[mine.labels[row]]}")
    st.caption(
        f"True class: answer of {plain(first)}, answer of {plain(second)}, with their probabilities. "
        f"{min(len(order), PICTURES)} of {count(len(order), 'picture')}, the most certain answers first."
    )
    table = pd.DataFrame(
        {
            "picture": [shown.task.task.images.ids[int(row)] for row in mine.rows],
            "class": [classes[label] for label in mine.labels],
            first: [classes[label] for label in mine.predicted],
            second: [classes[label] for label in theirs.predicted],
            "right_in_first": mine.correct,
            "right_in_second": theirs.correct,
        }
    )
    download("Answers, CSV", lambda: csv_text(table, shown.provenance), f"{shown.stem}_answers.csv", key="csv_answers")


def _says(classes: list[str], answers: Answers, row: int) -> str:
    return f"{classes[answers.predicted[row]]} {answers.certainty[row]:.0%}"


def _pick_two(shown: Classified, *, optional: bool = False) -> tuple[tuple[str, Run], tuple[str, Run] | None] | None:
    """Draw the choice of two models; None, with a word, where there are not two."""
    runs = {run.id: run for _, run in shown.runs}
    table = shown.accuracies
    models = dict(zip(table["model"], table["run"].map(runs), strict=True))
    names = list(models)
    if len(names) < (1 if optional else 2):
        st.info("This needs two models with results.", icon=":material/arrow_upward:")
        return None
    control = names.index(UNTUNED) if UNTUNED in names else 0
    with st.container(horizontal=True):
        keep_among("one", names, names[control])
        say_unknown("one", names, "model")
        first = st.selectbox("Model", names, index=control, **bound("one"), width=330)
        others = [name for name in names if name != first]
        keep_among("other", others, None if optional else others[0])
        say_unknown("other", others, "model")
        second = st.selectbox(
            "Against",
            others,
            index=None if optional else 0,
            **bound("other"),
            placeholder=TRUTH if optional else "",
            width=330,
        )
    return (str(first), models[first]), (str(second), models[second]) if second else None


def show_table(shown: Classified) -> None:
    """Draw all models as a table."""
    first = ["model", "accuracy", "low", "high", "n_test", "converged"]
    rest = [name for name in shown.accuracies if name not in (*first, "finetune", "placed")]
    shares = {name: st.column_config.NumberColumn(format="percent") for name in ("accuracy", "low", "high")}
    st.dataframe(shown.accuracies[[*first, *rest]], hide_index=True, column_config=shares)
    download(
        "Models, CSV",
        lambda: csv_text(shown.accuracies, shown.provenance),
        f"{shown.stem}_models.csv",
        key="csv_models",
    )
