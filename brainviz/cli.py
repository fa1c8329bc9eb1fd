"""The command line, ``python -m brainviz``: the same work as the pages, through the same queue, without a browser."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from brainviz import __version__
from brainviz.config import cache_dir, nearest
from brainviz.errors import BrainvizError, RunError, SpecError
from brainviz.runs import queue
from brainviz.runs.fields import BOTTLENECK_KINDS, IMAGE_TEXT_KINDS, SettingField, field_table
from brainviz.runs.remembered import memo_dir
from brainviz.runs.requests import make_spec
from brainviz.runs.specs import SPEC_CLASSES
from brainviz.runs.store import ENDED, STATES, Run, Store
from brainviz.runs.tables import ROIS

DONE, FAILED, BAD_INPUT, INTERRUPTED = 0, 1, 2, 130

#: Without a terminal, progress of one step is written at most so often.
SPARSE_SECONDS = 15.0

#: Steps that take less are not worth a word.
MOMENT_SECONDS = 0.5

#: Kinds of run that are about several subjects.
SEVERAL_SUBJECTS = ("landscape", "concepts", "joint-features", "pretraining", "submission")

#: How long `cancel` waits for a running run to go.
CANCEL_SECONDS = 20.0

#: What is printed of a ROI.
ROI_COLUMNS = (
    *("hemi", "roi", "layer", "n_vertices", "r_mean", "r_low", "r_high", "cv_r_mean", "r_over_ceiling"),
    *("layer_first", "layer_second", "r_first", "r_second", "difference", "low", "high", "improved", "p", "q"),
)

Options = argparse.Namespace


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status: 0 done, 1 the run failed, 2 bad arguments or bad data."""
    parser = _parser()
    try:
        options, unknown = parser.parse_known_args(arguments)
        if unknown:
            raise _unknown_argument(unknown[0], options)
        status: int = options.command(options)
    except BrainvizError as error:
        print(f"brainviz: {error}", file=sys.stderr)
        return BAD_INPUT
    except BrokenPipeError:  # `brainviz runs | head`
        sys.stderr.close()
        return DONE
    return status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="brainviz",
        description="Fine-tune image networks on fMRI responses, and look at what came out.",
        epilog="Results and settings are kept in the folder that BRAINVIZ_CACHE names, else in cache/ beside app.py.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"brainviz {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    check = _add(commands, "check", check_command, "validate a data set: exit status 2 when it has errors")
    check.add_argument("root", metavar="ROOT", help="folder, or name in brainviz.toml")
    check.add_argument("--json", action="store_true", help="print one JSON object instead of the tables")
    demo = _add(commands, "demo", demo_command, "write the demo data set")
    demo.add_argument("--out", metavar="DIR", type=Path, help="folder to write it to (default: in the cache)")
    for kind, cls in SPEC_CLASSES.items():
        _add_kind(commands, kind, (cls.__doc__ or kind).splitlines()[0])
    runs = _add(commands, "runs", runs_command, "list the runs there are, latest first")
    runs.add_argument("--state", choices=STATES)
    runs.add_argument("--kind", choices=tuple(SPEC_CLASSES))
    runs.add_argument("--json", action="store_true", help="print one JSON object instead of the table")
    cancel = _add(commands, "cancel", cancel_command, "stop a run and remove what it wrote so far")
    cancel.add_argument("run", metavar="RUN", help="its id, or enough of the first digits")
    worker = _add(
        commands, "worker", worker_command, "compute queued runs here; the other commands start one by themselves"
    )
    worker.add_argument("--idle-seconds", type=float, metavar="S", help="end after so long without work (default: 20)")
    return parser


def _add(
    commands: Any, name: str, command: Callable[[Options], int], summary: str, **more: Any
) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(
        name, help=summary, description=summary, allow_abbrev=False, **more
    )
    known = [name] if name in SPEC_CLASSES else []
    parser.set_defaults(command=command, parser=parser, kind=known[0] if known else None)
    return parser


def _add_kind(commands: Any, kind: str, summary: str) -> None:
    parser = _add(
        commands,
        kind,
        run_command,
        summary,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="A data set's dataset.toml and the network may suggest other defaults than those shown.",
    )
    data = parser.add_argument_group("data")
    data.add_argument("--dataset", required=True, metavar="ROOT", help="folder, or name in brainviz.toml, or demo")
    if kind != "texts":
        many = "; several with commas between them" if kind in SEVERAL_SUBJECTS else ""
        usual = " (default: all)" if many and kind != "landscape" else ""
        data.add_argument(
            "--subject", required=not usual, default="", help=f"name of the subject, e.g. subj01{many}{usual}"
        )
    if kind in ("texts", "embedding", "joint-features", "submission"):
        _add_settings(parser, kind)
        return
    needed = kind not in ("features", *IMAGE_TEXT_KINDS, *BOTTLENECK_KINDS)
    several = kind in ("encoding", "comparison", "decoder", "concepts", *BOTTLENECK_KINDS)
    hemispheres = "both, which is usual" if kind in BOTTLENECK_KINDS else f"lh{', rh or both' if several else ' or rh'}"
    data.add_argument("--hemi", required=needed, help=hemispheres)
    more = "; several with commas between them" if several else ""
    data.add_argument("--roi", required=needed, help=f"name of the ROI, a union such as V1, or all{more}")
    _add_settings(parser, kind)


def _add_settings(parser: argparse.ArgumentParser, kind: str) -> None:
    """Add the settings of a kind of run, and how it is run."""
    groups: dict[str, Any] = {}
    for field in field_table(kind):
        group = groups.setdefault(field.group, None) or parser.add_argument_group(field.group)
        groups[field.group] = group
        _add_field(group, field)
    running = parser.add_argument_group("running")
    running.add_argument("--device", default="auto", choices=queue.DEVICES, help="where to compute (default: auto)")
    waiting = running.add_mutually_exclusive_group()
    waiting.add_argument("--wait", action="store_true", help="wait for the result (the default)")
    waiting.add_argument("--detach", action="store_true", help="return at once with the run's id")
    running.add_argument("--json", action="store_true", help="print one JSON object: run, kind, state, path, result")


def _add_field(group: Any, field: SettingField) -> None:
    """Add one setting as an option; its value stays text, which the spec converts and checks."""
    names = dict.fromkeys([f"--{field.name.replace('_', '-')}", f"--{field.name}"])
    about = field.description
    if field.choices:
        about += f": {', '.join(field.choices)}"
    if field.default not in ((), ""):
        about += f" (default: {_shown(field.default)})"
    if field.tuning:
        about += f"; for the method {' or '.join(field.methods)}"
    flag: dict[str, Any] = {"nargs": "?", "const": "true"} if field.type == "flag" else {}
    group.add_argument(
        *names, dest=field.name, metavar=_METAVARS[field.type], help=about.replace("%", "%%"), default=None, **flag
    )


_METAVARS = {
    "int": "N",
    "float": "X",
    "text": "NAME",
    "flag": "true|false",
    "choice": "NAME",
    "texts": "NAME,...",
    "numbers": "X,...",
}


def _shown(value: Any) -> str:
    if isinstance(value, tuple):
        return ",".join(_shown(item) for item in value)
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value)


def _unknown_argument(argument: str, options: Options) -> SpecError:
    parser: argparse.ArgumentParser = options.parser
    known = [name for action in parser._actions for name in action.option_strings if name.startswith("--")]
    close = nearest(argument.split("=")[0], known)
    return SpecError(
        f"`{parser.prog}` has no argument {argument!r}.",
        got=argument,
        mend=(f"did you mean {close}? " if close else "") + f"`{parser.prog} --help` lists what there is.",
    )


# --- data sets --------------------------------------------------------------------------------------------------------


def check_command(options: Options) -> int:
    """Validate a data set; print what is there and every problem found."""
    from brainviz.datasets import dataset_folder
    from brainviz.datasets.check import check_dataset

    with Progress() as progress:
        report = check_dataset(dataset_folder(options.root), memo_dir(), progress.count("checking files"))
    errors = [problem for problem in report.problems if problem.level == "error"]
    fingerprint = report.index.fingerprint if report.index is not None else None
    if options.json:
        problems = [vars(problem) for problem in report.problems]
        print(json.dumps({"fingerprint": fingerprint, "problems": problems, "table": report.table}))
    else:
        print(table([{**row, "rois": len(row["rois"])} for row in report.table]))
        for row in report.table:
            counts = ", ".join(f"{roi} {count}" for roi, count in row["rois"].items())
            print(f"{row['subject']} {row['hemi']} ROIs: {counts or 'none'}")
        for problem in report.problems:
            where = " ".join(f"{part}:" for part in (problem.level, problem.subject, problem.file) if part)
            print(where, problem.message)
        warnings = len(report.problems) - len(errors)
        print(f"{len(errors)} errors, {warnings} warnings", file=sys.stderr)
    return BAD_INPUT if errors else DONE


def demo_command(options: Options) -> int:
    """Write the demo data set; print its folder."""
    from brainviz.datasets import DEMO
    from brainviz.datasets.demo import write_demo

    with Progress() as progress:
        print(write_demo(options.out or cache_dir() / DEMO, progress.count("writing")))
    return DONE


# --- runs -------------------------------------------------------------------------------------------------------------


def run_command(options: Options) -> int:
    """Ask for a run of any kind, wait for it unless told otherwise, and print its result."""
    from brainviz.datasets import open_dataset
    from brainviz.datasets.index import build_index

    given = {field.name: getattr(options, field.name) for field in field_table(options.kind)}
    with Progress() as progress:
        dataset = open_dataset(options.dataset)
        index = build_index(dataset, memo_dir(), progress.count("checking the data set"))
    spec = make_spec(
        options.kind,
        dataset,
        index,
        **{name: value for name in ("subject", "hemi", "roi") if (value := getattr(options, name, None)) is not None},
        allow_files=True,
        **{name: value for name, value in given.items() if value is not None},
    )
    run = queue.submit(spec, options.device)
    if not options.detach:
        try:
            with Progress() as progress:
                queue.wait(run, notice=lambda run: progress.run(active(run, Store())))
        except KeyboardInterrupt:
            print(
                f"\nThe run goes on. To stop it: python -m brainviz cancel {run.id[:12]}\n"
                "To see how far it is: python -m brainviz runs",
                file=sys.stderr,
            )
            return INTERRUPTED
    return print_run(run, options.json)


def active(run: Run, store: Store) -> Run:
    """Return the run that is being computed for `run`: itself, or one that it waits for."""
    while run.state == "queued":
        waiting_for = [
            found for spec in run.spec.dependencies() if (found := store.find(spec)) and found.state not in ENDED
        ]
        if not waiting_for:
            break
        run = waiting_for[0]
    return run


def print_run(run: Run, as_json: bool) -> int:
    """Print how a run stands, with its result if it is done; return the exit status."""
    status = run.status()
    result = run.result() if status.state == "done" else None
    if as_json:
        answer = {"run": run.id, "kind": run.kind, "state": status.state, "path": str(run.path), "result": result}
        if status.reason:
            answer["reason"] = status.reason
        print(json.dumps(answer))
    else:
        print(f"{run.kind} {run.spec.label}: {status.state}\nrun   {run.id}\npath  {run.path}")
        for name, value in (result or {}).items():
            print(f"  {name:20} {value:.4g}" if isinstance(value, float) else f"  {name:20} {value}")
        if result is not None and run.has(ROIS):
            print(table(roi_lines(run)))
    if status.state in _ENDED_BADLY:
        print(f"brainviz: the run {_ENDED_BADLY[status.state]}. {status.reason}", file=sys.stderr)
        return FAILED
    return DONE


def roi_lines(run: Run) -> list[dict[str, Any]]:
    """Return what an encoding or comparison run says of each ROI, at its best layer, as rows of text."""
    rows = run.table("rois")
    if "own" in rows:
        rows = rows[rows["own"]]
    shown = rows[[name for name in ROI_COLUMNS if name in rows]]
    return [{str(name): _shown_number(value) for name, value in row.items()} for row in shown.to_dict("records")]


def _shown_number(value: Any) -> Any:
    return f"{value:.4g}" if isinstance(value, float) else value


_ENDED_BADLY = {"failed": "failed", "lost": "got lost", "cancelled": "was cancelled"}


def runs_command(options: Options) -> int:
    """List runs."""
    rows = []
    for run in Store().runs(options.kind, options.state):
        status = run.status()
        submitted = time.strftime("%Y-%m-%d %H:%M", time.localtime(status.submitted))
        rows.append(
            {"run": run.id, "kind": run.kind, "state": status.state, "label": run.spec.label, "submitted": submitted}
        )
    if options.json:
        print(json.dumps({"runs": rows}))
    else:
        print(table([{**row, "run": row["run"][:12]} for row in rows]) if rows else "There are no runs.")
    return DONE


def cancel_command(options: Options) -> int:
    """Stop a run; wait until it has ended."""
    run = queue.cancel(options.run)
    try:
        queue.wait(run, timeout=CANCEL_SECONDS)
    except TimeoutError as error:
        raise RunError(
            "The run was asked to stop and still runs.", got=str(error), mend="look at its worker's log."
        ) from error
    print(f"{run.id[:12]} {run.label}: {run.state}")
    return DONE if run.state == "cancelled" else FAILED


def worker_command(options: Options) -> int:
    """Compute queued runs until there are none."""
    from brainviz.runs.worker import IDLE_SECONDS, work

    work(idle_seconds=IDLE_SECONDS if options.idle_seconds is None else options.idle_seconds)
    return DONE


# --- what is shown ----------------------------------------------------------------------------------------------------


class Progress:
    """Progress on stderr: one line that is written over on a terminal, few lines elsewhere."""

    def __init__(self) -> None:
        self._terminal = sys.stderr.isatty()
        self._step, self._text, self._told = "", "", 0.0

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_: object) -> None:
        if self._terminal and self._text:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()

    def count(self, step: str) -> Callable[[int, int], None]:
        """Return a function that shows ``(done, total)`` of a step, once it has taken a moment."""
        began = time.monotonic()

        def tell(done: int, total: int) -> None:
            if time.monotonic() - began > MOMENT_SECONDS:
                self.show(step, f"{step} {done}/{total}")

        return tell

    def run(self, run: Run) -> None:
        """Show how far a run is."""
        state = run.state
        if state == "running":
            self.show(f"{run.label} running", f"{run.label}: {run.progress().text}")
        else:
            self.show(f"{run.label} {state}", f"{run.label}: {state}")

    def show(self, step: str, text: str) -> None:
        """Show a text; without a terminal, further ones of the same step only now and then."""
        now = time.monotonic()
        if text == self._text or (not self._terminal and step == self._step and now - self._told < SPARSE_SECONDS):
            return
        self._step, self._text, self._told = step, text, now
        sys.stderr.write(f"\r\x1b[K{text}" if self._terminal else f"{text}\n")
        sys.stderr.flush()


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Return rows as aligned columns under their names."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    cells = [names, *([_cell(row.get(name)) for name in names] for row in rows)]
    widths = [max(len(line[column]) for line in cells) for column in range(len(names))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in cells
    )


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value)
