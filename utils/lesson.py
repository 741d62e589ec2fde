"""What every lesson needs besides TensorFlow: where files live, a quiet start, saving figures, reporting results.

A lesson runs as a script from any folder, without a display, and as a notebook; these helpers make both
behave the same.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from pathlib import Path

REPO = Path(__file__).resolve().parent.parent
DATA = REPO / "data"
RESULTS = REPO / "benchmarks" / "results"
# Tests run the lessons small (TUTORIAL_QUICK=1); what they write must not replace the real pictures.
OUTPUT = REPO / "build" / "quick" if os.environ.get("TUTORIAL_QUICK") == "1" else REPO
FIGS = OUTPUT / "figs"
RUNS = OUTPUT / "runs"


def in_notebook() -> bool:
    """Whether this code runs inside a Jupyter kernel."""
    try:
        from IPython import get_ipython
    except ImportError:
        return False
    shell = get_ipython()
    return shell is not None and shell.__class__.__name__ == "ZMQInteractiveShell"


def quiet_start() -> None:
    """Import TensorFlow with its start-up messages held back; a failing import shows them all.

    Call it before `import tensorflow`. The messages (which CPU features are used, that no GPU was found) come from
    C++ while the library loads, before any setting can silence them, so they are caught at the file descriptor.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # warnings and information of later operations
    sys.stderr.flush()
    saved = os.dup(2)
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            import tensorflow  # noqa: F401
        except BaseException:
            os.dup2(saved, 2)
            held.seek(0)
            os.write(2, held.read())
            raise
        finally:
            os.dup2(saved, 2)
            os.close(saved)


def save_figure(figure, name: str, dpi: int = 110) -> None:
    """Write a Matplotlib figure to `figs/<name>` and show it when in a notebook.

    The file is written next to its target and renamed, so an interrupted run leaves no half picture. A script
    prints where the picture went; a notebook shows it below the cell. The figure is closed afterwards.

    Args:
        figure: a `matplotlib.figure.Figure`.
        name: a file name with its ending, for example "conv_mnist.png".
        dpi: dots per inch of the file.
    """
    import matplotlib.pyplot as plt

    FIGS.mkdir(parents=True, exist_ok=True)
    path = FIGS / name
    part = path.with_name(f".{name}.{os.getpid()}.part")
    try:
        # Matplotlib stamps its version into PNG files; without it the same plot gives the same bytes.
        stamp = {"metadata": {"Software": None}} if path.suffix == ".png" else {}
        figure.savefig(part, dpi=dpi, bbox_inches="tight", format=path.suffix[1:], **stamp)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    if in_notebook():
        from IPython.display import display

        display(figure)
    else:
        print(f"[figure] {path.relative_to(REPO)}")
    plt.close(figure)


def report(**figures: float) -> None:
    """Print a lesson's key figures; when the builder runs the lesson they also go into its result file.

    Args:
        **figures: names and numbers, for example `test_accuracy=0.9834` (a fraction, not a percentage).
    """
    width = max(len(name) for name in figures)
    for name, value in figures.items():
        print(f"{name.replace('_', ' '):<{width}}  {value:.4g}")
    target = os.environ.get("TUTORIAL_REPORT")
    if target:
        write_json(Path(target), {name: float(value) for name, value in figures.items()})


def write_json(path: Path, content: object) -> None:
    """Write `content` as JSON, whole or not at all (a temporary file in the same folder, then a rename)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        part.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
