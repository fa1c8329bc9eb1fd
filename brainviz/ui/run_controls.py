"""Starting runs, watching them and cancelling them: the same on every page."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import streamlit as st

from brainviz.errors import RunError
from brainviz.figures.curves import training_curves
from brainviz.figures.style import PLOTLY_CONFIG, Provenance
from brainviz.runs import queue
from brainviz.runs.estimate import estimate_seconds, likeness, missing
from brainviz.runs.spec_base import Spec
from brainviz.runs.store import Run, Store
from brainviz.ui.choices import ACTIVE, Choice, states
from brainviz.ui.errors import errors_shown, plain
from brainviz.ui.words import count, duration

#: How often the page looks at runs that are going on.
POLL_SECONDS = 1.5

#: Curves drawn, waiting runs named, and reasons of failures given, at most.
MOST_CURVES, MOST_NAMED, MOST_REASONS = 8, 6, 3


def show_plan(choice: Choice) -> None:
    """Show how many of the chosen runs are there and how long the rest will take."""
    store = Store()
    known = states(choice.specs, store)
    if choice.left_out:
        st.caption(f"Left out, as the data set has too few vertices there: {', '.join(choice.left_out)}.")
    if known.count("done") == len(known):
        st.caption(f":material/check_circle: Done: {count(len(known), 'run')} of this choice.")
        return
    seconds = estimate_seconds(choice.specs, store)
    columns = st.columns(4)
    columns[0].metric("Runs chosen", len(choice.specs))
    columns[1].metric("Already done", known.count("done"))
    columns[2].metric("In progress", sum(state in ACTIVE for state in known))
    columns[3].metric(
        "Time for the rest",
        "not known yet" if seconds is None else duration(seconds),
        help="Judged from runs that this computer finished before, with the same network and image size.",
    )
    runs = (store.find(spec) for spec in missing(choice.specs, store))
    found = (run.status() for run in runs if run is not None)
    unlucky = [status for status in found if status.state in ("failed", "lost")]
    if unlucky:
        # What a run builds on comes before it, so the cause comes first; and each reason once.
        reasons = list(dict.fromkeys(plain(status.reason) for status in unlucky))[:MOST_REASONS]
        why = "\n\n".join(reasons).replace("\n", "  \n")
        st.warning(
            f"{count(len(unlucky), 'run')} failed or got lost; starting again tries once more.  \n{why}",
            icon=":material/warning:",
        )


def start_button(specs: Sequence[Spec], verb: str, key: str = "start") -> None:
    """Draw the button that starts what is neither there nor on its way; none when there is nothing to start.

    Parameters
    ----------
    specs : sequence of Spec
    verb : str
        What starting does, e.g. ``"fine-tuning"``.
    key : str
        Of the button.
    """
    left = to_start(specs)
    if left:
        st.button(
            f"Start {verb} ({count(len(left), 'run')})",
            type="primary",
            icon=":material/play_arrow:",
            key=key,
            on_click=submit,
            args=(left,),
        )


def say_nothing_yet(specs: Sequence[Spec], how: str) -> None:
    """Say why there is nothing to see: that the runs are on their way, or how to start them.

    Parameters
    ----------
    specs : sequence of Spec
    how : str
        What to press, and what that does.
    """
    if active_runs(specs, Store()):
        st.info(
            "Nothing to show for this choice yet: its runs are on their way, and what they find is shown as it comes.",
            icon=":material/hourglass_empty:",
        )
    else:
        st.info(f"Nothing to show for this choice yet. {how}", icon=":material/rocket_launch:")


def encode_button(comparison: Choice) -> None:
    """Draw the button that starts the encoding runs, untuned and tuned, which the next page shows."""
    left = to_start(comparison.specs)
    st.button(
        "Encode these",
        key="encode",
        icon=":material/compare:",
        disabled=not left,
        help="Fit encoding models on the untuned and on the tuned networks, at the logits, for the next page to "
        "compare. "
        "Networks that are not tuned yet are tuned first.",
        on_click=submit,
        args=(left,),
    )


def to_start(specs: Sequence[Spec]) -> list[Spec]:
    """Return the specs whose runs are neither done nor on their way."""
    known = states(specs, Store())
    return [spec for spec, state in zip(specs, known, strict=True) if state not in ("done", *ACTIVE)]


def asked_for(specs: Sequence[Spec]) -> list[Spec]:
    """Return the specs whose runs somebody has asked for, done or not."""
    return [spec for spec, state in zip(specs, states(specs, Store()), strict=True) if state]


def submit(specs: Sequence[Spec]) -> None:
    """Ask for runs and what they build on; done by the workers, never by the page."""
    for spec in specs:
        queue.submit(spec)


def cancel(run_ids: Sequence[str]) -> None:
    """Cancel runs; one that has just ended is left as it is."""
    for run_id in run_ids:
        try:
            queue.cancel(run_id)
        except RunError:
            # It ended between the drawing of the button and the click, which is what was wanted.
            continue


def active_runs(specs: Sequence[Spec], store: Store) -> list[Run]:
    """Return the queued and running runs among these and what they build on, in the order they are computed."""
    found = (store.find(spec) for spec in missing(specs, store))
    return [run for run in found if run is not None and run.state in ACTIVE]


def live_progress(specs: Sequence[Spec], provenance: Provenance) -> None:
    """Show the runs that are going on, with curves, time left and a way to cancel; redraws itself while there are any.

    Call it at the top level of a page, once.
    """
    store = Store()
    active = active_runs(specs, store)
    st.fragment(_live, run_every=POLL_SECONDS if active else None)(
        tuple(specs), tuple(run.id for run in active), provenance
    )


def _live(specs: tuple[Spec, ...], at_first: tuple[str, ...], provenance: Provenance) -> None:
    with errors_shown():
        store = Store()
        active = active_runs(specs, store)
        if tuple(run.id for run in active) != at_first:
            # Something ended or began: tables, maps and counts elsewhere on the page change too.
            st.rerun()
        if active:
            # Who asked for these may be gone, and the worker with them: after a restart of the machine, say.
            queue.ensure_worker(store)
            _show_active(active, specs, store)
        _show_curves(specs, store, provenance)


def _show_active(active: Sequence[Run], specs: Sequence[Spec], store: Store) -> None:
    left = time_left(active, specs, store)
    with st.container(border=True):
        words, button = st.columns([4, 1], vertical_alignment="center")
        remaining = "time left not known yet" if left is None else f"about {duration(left)} left"
        words.markdown(f"**{count(len(active), 'run')} in progress** · {remaining}")
        button.button(
            "Cancel",
            key="cancel",
            icon=":material/stop_circle:",
            on_click=cancel,
            args=([run.id for run in reversed(active)],),
            help="Stop these runs. What is done stays.",
            width="stretch",
        )
        waiting = [run for run in active if run.state == "queued"]
        for run in active:
            if run not in waiting:
                progress = run.progress()
                st.progress(min(progress.share or 0.0, 1.0), text=f"{plain(run.label)}: {plain(progress.text)}")
        if waiting:
            named = ", ".join(plain(run.label) for run in waiting[:MOST_NAMED])
            st.caption(
                f"Waiting: {named}{f' and {len(waiting) - MOST_NAMED} more' if len(waiting) > MOST_NAMED else ''}."
            )
        st.caption("You may close this page: the runs go on, and their results stay.")


def time_left(active: Sequence[Run], specs: Sequence[Spec], store: Store) -> float | None:
    """Return the seconds until the runs have ended, or None where nothing tells.

    Judged from finished runs like them; without any, from how far the running one is, if those that wait are like it.
    """
    running = [(run, time.time() - (run.status().started or time.time())) for run in active if run.state == "running"]
    estimate = estimate_seconds(specs, store)
    if estimate is not None:
        return max(estimate - sum(elapsed for _, elapsed in running), 1.0)
    if len(running) != 1 or any(likeness(run.spec) != likeness(running[0][0].spec) for run in active):
        return None
    run, elapsed = running[0]
    epochs = epochs_of(run)
    share = epochs[-1]["epoch"] / epochs[-1]["epochs"] if epochs else 0.0
    return elapsed / share * (len(active) - share) if share else None


def epochs_of(run: Run) -> list[dict[str, Any]]:
    """Return what a run said at the end of each epoch so far; empty for runs without epochs."""
    return [event for event in run.events() if event["event"] == "epoch"]


def _show_curves(specs: Sequence[Spec], store: Store, provenance: Provenance) -> None:
    curves = {}
    for spec in specs:
        run = store.find(spec) if spec.kind == "finetune" else None
        epochs = [] if run is None else epochs_of(run)
        if epochs:
            curves[spec.label] = epochs
    if not curves:
        return
    shown = dict(list(curves.items())[:MOST_CURVES])
    st.plotly_chart(
        training_curves(shown, provenance),
        config=PLOTLY_CONFIG,
        theme=None,
        key="curves",
        alt="Loss and retrieval per epoch",
    )
    if len(curves) > len(shown):
        st.caption(f"The first {len(shown)} of {len(curves)} runs are drawn.")
