"""Build the notebooks from the lesson scripts: convert, execute in a fresh kernel, publish when all went well.

    python -m tools.notebooks                 # all lessons
    python -m tools.notebooks T_02 T_04       # some
    python -m tools.notebooks dcgan           # a model's notebook: trains the model, so only when it is named
    python -m tools.notebooks dcgan --run runs/dcgan    # the same from a finished training, which goes on from its end
    python -m tools.notebooks --check         # fail when a notebook does not match its script; runs nothing
    python -m tools.notebooks --prose T_02    # take over changed prose and keep the outputs; refuses changed code

A notebook is written only if every cell passed, and whole or not at all. Building twice changes nothing but
outputs: cell ids come from the cells' text, metadata is fixed. Minutes and key figures of each run go to
benchmarks/results/lesson_T_XX.json, from which the README's lesson table is made.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import os
import re
import shutil
import sys
import tempfile
import time
import tokenize
from collections import Counter
from pathlib import Path

import jupytext
import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError

from tools.machine import facts
from utils.lesson import write_json

REPO = Path(__file__).resolve().parent.parent
SCRIPTS = REPO / "example-python"
NOTEBOOKS = REPO / "example-notebook"
RESULTS = REPO / "benchmarks" / "results"
# Notebooks that come from a model's script rather than from a lesson: script -> notebook beside it.
MODEL_NOTEBOOKS: dict[Path, Path] = {
    REPO / "models" / "m02_dcgan" / "dcgan.py": REPO / "models" / "m02_dcgan" / "dcgan.ipynb",
}
# The twelve lessons of the course: a lesson may link to one that is still to be written, but to no other name.
PLANNED = {
    f"{stem}.ipynb"
    for stem in (
        "T_01_basic_usage",
        "T_02_feedforward_mnist",
        "T_03_variable_naming",
        "T_04_cnn_mnist",
        "T_05_rnn_mnist",
        "T_06_tensorboard",
        "T_07_save_and_restore",
        "T_08_transfer_learning",
        "T_09_tfrecord_sequences",
        "T_10_dataset_numpy",
        "T_11_dataset_images",
        "T_12_layers_api",
    )
}
METADATA = {
    "kernelspec": {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"},
    "language_info": {"name": "python", "file_extension": ".py", "mimetype": "text/x-python"},
}
MAX_BYTES = 1_500_000
MARKER = re.compile(r"# %%(\s|$)")
TIME_LINE = re.compile(r"^\*\*Time\*\*:.*$", re.MULTILINE)


class BuildError(Exception):
    """A notebook could not be built; the message names the script and what is wrong."""


def check_markers(text: str, name: str) -> int:
    """Count the cell markers that are comments; one inside a string is text, not a cell.

    Raises:
        BuildError: the script does not even tokenise.
    """
    try:
        tokens = list(tokenize.generate_tokens(io.StringIO(text).readline))
    except (tokenize.TokenError, SyntaxError) as error:
        raise BuildError(f"{name}: not valid Python: {error}") from None
    return sum(
        token.type == tokenize.COMMENT and token.start[1] == 0 and bool(MARKER.match(token.string))
        for token in tokens
    )


def convert(text: str, name: str = "script") -> nbformat.NotebookNode:
    """Turn a percent-format script into a notebook without outputs.

    Args:
        text: the script.
        name: what to call it in errors.

    Returns:
        A notebook with deterministic ids and fixed metadata.

    Raises:
        BuildError: the script is not valid Python, has no cells, or its cells cannot be told apart.
    """
    markers = check_markers(text, name)
    if not MARKER.match(text):
        raise BuildError(f"{name}: a lesson starts with a cell marker (`# %% [markdown]`) on its first line")
    notebook = jupytext.reads(text, fmt="py:percent")
    if len(notebook.cells) != markers:
        raise BuildError(
            f"{name}: {markers} cell markers but {len(notebook.cells)} cells; a line inside a string starts "
            "with `# %%`: indent it or build the string differently"
        )
    fresh = nbformat.v4.new_notebook(metadata=METADATA)
    seen: Counter[str] = Counter()
    for cell in notebook.cells:
        if not cell.source.strip():
            raise BuildError(f"{name}: an empty cell; remove its `# %%` line")
        digest = hashlib.sha256(f"{cell.cell_type}\n{cell.source}".encode()).hexdigest()
        seen[digest] += 1
        identity = hashlib.sha256(f"{digest}{seen[digest]}".encode()).hexdigest()[:8]
        make = nbformat.v4.new_markdown_cell if cell.cell_type == "markdown" else nbformat.v4.new_code_cell
        tags = {"tags": cell.metadata["tags"]} if cell.metadata.get("tags") else {}
        fresh.cells.append(make(cell.source, id=identity, metadata=tags))
    nbformat.validate(fresh)
    return fresh


def execute(
    notebook: nbformat.NotebookNode,
    name: str,
    timeout: int = 1800,
    report: Path | None = None,
    imports: Path | None = None,
    run: Path | None = None,
):
    """Run every cell in a fresh kernel, in an empty folder, and store the outputs in `notebook`.

    Args:
        notebook: what to run.
        name: what to call it in errors.
        timeout: seconds one cell may take.
        report: where the lesson's key figures go.
        imports: a folder whose files the notebook imports, as a model's does.
        run: a finished training to go on from; its copy is `runs/<stem of the name>` where the notebook runs.

    Raises:
        BuildError: a cell failed, timed out, or the kernel died; the message shows the cell and the error.
    """
    environment = dict(os.environ)
    environment.pop("MPLBACKEND", None)
    if report:
        environment["TUTORIAL_REPORT"] = str(report)
    if imports:
        environment["PYTHONPATH"] = str(imports)
    code_cells = [cell for cell in notebook.cells if cell.cell_type == "code"]

    def progress(cell, cell_index):
        done = sum(c.cell_type == "code" for c in notebook.cells[: cell_index + 1])
        if sys.stdout.isatty():
            print(f"\r{name}: cell {done} of {len(code_cells)}", end="", flush=True)

    with tempfile.TemporaryDirectory(prefix="notebook-") as folder:
        if run:
            shutil.copytree(run, Path(folder) / "runs" / Path(name).stem)
        client = NotebookClient(
            notebook,
            timeout=timeout,
            kernel_name="python3",
            record_timing=False,
            coalesce_streams=True,
            extra_arguments=["--IPKernelApp.log_level=ERROR"],
            resources={"metadata": {"path": folder}},
            on_cell_executed=lambda cell, cell_index, execute_reply: progress(cell, cell_index),
        )
        try:
            client.execute(env=environment)
        except CellExecutionError as error:
            raise BuildError(f"{name}: a cell failed; no notebook was written.\n{error}") from None
        except (CellTimeoutError, DeadKernelError) as error:
            raise BuildError(f"{name}: no notebook was written: {error}") from None
        except (
            AssertionError
        ):  # nbclient's own, when the kernel was killed; a cell's would be a CellExecutionError
            raise BuildError(
                f"{name}: the kernel was killed (out of memory?); no notebook was written"
            ) from None
        if sys.stdout.isatty():
            print("\r", end="")
        outputs = nbformat.writes(notebook)
        for private in {str(REPO), folder, str(Path.home()), f"{tempfile.gettempdir()}/ipykernel"} - {"/"}:
            if private in outputs:
                line = next(line for line in outputs.splitlines() if private in line)
                raise BuildError(f"{name}: an output shows a path of this machine:\n{line.strip()[:300]}")


def publish(notebook: nbformat.NotebookNode, path: Path) -> None:
    """Write the notebook beside its target and rename it into place.

    Raises:
        BuildError: the notebook is larger than a reader should have to load.
    """
    content = nbformat.writes(notebook) + "\n"
    if len(content.encode()) > MAX_BYTES:
        raise BuildError(
            f"{path.name}: {len(content.encode()):,} bytes; the limit is {MAX_BYTES:,}. Fewer or smaller pictures."
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        part.write_text(content, encoding="utf-8", newline="\n")
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def problems(script: Path, notebook: Path) -> str | None:
    """Say how the stored notebook differs from its script; None when it is in step."""
    repair = f"make notebooks T={'_'.join(script.stem.split('_')[:2])}"
    if not notebook.exists():
        return f"{notebook.name} is missing. Build it:  {repair}"
    try:
        stored = nbformat.read(notebook, as_version=4)
        nbformat.validate(stored)
    except Exception as error:  # whatever is wrong with it, the answer is the same
        return f"{notebook.name} is not a valid notebook ({str(error).splitlines()[0]}). Build it anew:  {repair}"
    wanted = convert(script.read_text(encoding="utf-8"), script.name)
    key = lambda cells: [(cell.cell_type, cell.id, cell.source) for cell in cells]
    if key(stored.cells) != key(wanted.cells):
        return f"{notebook.name} does not match {script.name}. Build it anew:  {repair}"
    code = [cell for cell in stored.cells if cell.cell_type == "code"]
    if any(cell.execution_count != position for position, cell in enumerate(code, 1)):
        return f"{notebook.name} was not executed from top to bottom. Build it anew:  {repair}"
    if any(output.output_type == "error" for cell in code for output in cell.outputs):
        return f"{notebook.name} stores a failed cell. Build it anew:  {repair}"
    return None


def minutes_text(seconds: float) -> str:
    """The run time as the lesson's header says it."""
    return f"{seconds / 60:.1f} minutes" if seconds >= 57 else f"{max(5, round(seconds / 5) * 5)} seconds"


def set_time(script: Path, notebook: nbformat.NotebookNode, seconds: float) -> nbformat.NotebookNode:
    """Write the measured time into the script's `**Time**:` line; return the notebook with the same line."""
    text = script.read_text(encoding="utf-8")
    line = f"**Time**: {minutes_text(seconds)} on a two-core CPU, from a measured run."
    if not TIME_LINE.search(text.replace("# **Time**", "**Time**")):
        return notebook
    part = script.with_name(f".{script.name}.part")
    part.write_text(
        re.sub(r"(?m)^# \*\*Time\*\*:.*$", f"# {line}", text, count=1), encoding="utf-8", newline="\n"
    )
    part.replace(script)
    fresh = convert(script.read_text(encoding="utf-8"), script.name)
    for new, old in zip(fresh.cells, notebook.cells, strict=True):
        if new.cell_type == "code":
            new.outputs, new.execution_count = old.outputs, old.execution_count
    return fresh


def refresh_prose(script: Path, target: Path) -> None:
    """Bring the text cells of a stored notebook up to date without running it.

    Raises:
        BuildError: there is no good notebook, or a code cell differs from the script's, so it must be executed.
    """
    fresh = convert(script.read_text(encoding="utf-8"), script.name)
    code = lambda cells: [cell for cell in cells if cell.cell_type == "code"]
    stored = code(nbformat.read(target, as_version=4).cells) if target.exists() else []
    if [cell.source for cell in stored] != [cell.source for cell in code(fresh.cells)]:
        raise BuildError(f"{script.name}: its code differs from the notebook's; build it without --prose")
    for new, old in zip(code(fresh.cells), stored, strict=True):
        new.outputs, new.execution_count = old.outputs, old.execution_count
    publish(fresh, target)


def lessons(selected: list[str]) -> list[tuple[Path, Path]]:
    """Scripts and their notebooks, lessons first; `selected` holds stems or their beginnings such as "T_02".

    Raises:
        BuildError: a selected name fits no script.
    """
    pairs = [(script, NOTEBOOKS / f"{script.stem}.ipynb") for script in sorted(SCRIPTS.glob("T_*.py"))]
    pairs += [(script, notebook) for script, notebook in MODEL_NOTEBOOKS.items()]
    for name in selected:
        if not any(script.stem.startswith(name) for script, _ in pairs):
            known = ", ".join(script.stem for script, _ in pairs)
            raise BuildError(f"no lesson is called {name!r}. There are: {known}")
    return [pair for pair in pairs if not selected or any(pair[0].stem.startswith(name) for name in selected)]


def build(script: Path, target: Path, timeout: int = 1800, run: Path | None = None) -> float:
    """Build one notebook; return the seconds it took. With a finished training to start from, the time is not noted."""
    text = script.read_text(encoding="utf-8")
    notebook = convert(text, script.name)
    with tempfile.TemporaryDirectory(prefix="report-") as folder:
        report = Path(folder) / "report.json"
        started = time.perf_counter()
        imports = script.parent if script in MODEL_NOTEBOOKS else None
        execute(notebook, script.name, timeout, report, imports, run)
        seconds = time.perf_counter() - started
        figures = json.loads(report.read_text()) if report.exists() else {}
    if script.read_text(encoding="utf-8") != text:
        raise BuildError(f"{script.name} was edited while it ran; no notebook was written. Build it again.")
    if run:
        publish(notebook, target)
        return seconds
    notebook = set_time(script, notebook, seconds)
    publish(notebook, target)
    short = "_".join(script.stem.split("_")[:2])
    result = {"lesson": script.stem, "seconds": round(seconds, 1), "figures": figures, "machine": facts()}
    write_json(RESULTS / f"lesson_{short}.json", result)
    return seconds


def check(pairs: list[tuple[Path, Path]], complete: bool = True) -> list[str]:
    """All that is out of step, one sentence each; notebooks without a script count too."""
    found = []
    for script, notebook in pairs:
        try:
            found.append(problems(script, notebook))
        except BuildError as error:
            found.append(str(error))
    if complete:
        known = {notebook for _, notebook in pairs}
        found += [
            f"{path.name} has no script in example-python/: delete it or write its script"
            for path in sorted(NOTEBOOKS.glob("*.ipynb"))
            if path not in known
        ]
    return [sentence for sentence in found if sentence]


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("lessons", nargs="*", help="lessons to build, for example T_02; all when left out")
    parser.add_argument("--check", action="store_true", help="compare only; run and write nothing")
    parser.add_argument("--prose", action="store_true", help="only take over changed prose; run nothing")
    parser.add_argument("--timeout", type=int, default=1800, help="seconds one cell may take (default 1800)")
    parser.add_argument(
        "--run",
        type=Path,
        help="a finished training, for example runs/dcgan, from which a model's notebook goes on",
    )
    args = parser.parse_args(argv)
    try:
        pairs = lessons(args.lessons)
    except BuildError as error:
        sys.exit(str(error))
    if args.run and (
        [script for script, _ in pairs if script not in MODEL_NOTEBOOKS] or not args.run.is_dir()
    ):
        sys.exit("--run FOLDER goes with the name of a model's notebook and the folder of its training")
    if args.check:
        found = check(pairs, complete=not args.lessons)
        if found:
            sys.exit("\n".join(found))
        print(f"{len(pairs)} notebooks match their scripts.")
        return
    if not args.lessons and not args.prose:
        for script in MODEL_NOTEBOOKS:
            print(
                f"{script.name} trains a model: build its notebook by name (make notebooks T={script.stem})"
            )
        pairs = [pair for pair in pairs if pair[0] not in MODEL_NOTEBOOKS]
    failed = []
    for script, notebook in pairs:
        print(f"{script.name} …", flush=True)
        try:
            if args.prose:
                refresh_prose(script, notebook)
                continue
            seconds = build(script, notebook, args.timeout, args.run)
        except BuildError as error:
            print(f"FAILED {error}", file=sys.stderr, flush=True)
            failed.append(script.name)
        else:
            print(f"{notebook.name}: {seconds:.0f} s, {notebook.stat().st_size / 1e3:.0f} kB", flush=True)
    if failed:
        sys.exit(f"{len(failed)} of {len(pairs)} notebooks were not built: {', '.join(failed)}")


if __name__ == "__main__":
    main()
