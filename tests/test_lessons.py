"""Every lesson, as a script from another folder and as a notebook in a fresh kernel, in quick mode."""

import os
import re
import subprocess
import sys

import pytest

from tools import notebooks

SCRIPTS = sorted(notebooks.SCRIPTS.glob("T_*.py"))
EXPECTED = [f"T_{number:02d}" for number in range(1, 13)]


def test_the_expected_lessons_are_there():
    assert ["_".join(script.stem.split("_")[:2]) for script in SCRIPTS] == EXPECTED


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setenv("TUTORIAL_QUICK", "1")
    monkeypatch.delenv("TUTORIAL_REPORT", raising=False)
    monkeypatch.delenv("TUTORIAL_SEED", raising=False)


def pictures():
    return {path: path.stat().st_mtime_ns for path in (notebooks.REPO / "figs").glob("*")}


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_script(script, quick, tmp_path):
    """It runs from any folder without a display, says something, leaves nothing there and no picture changed."""
    environment = {name: value for name, value in os.environ.items() if name not in ("DISPLAY", "MPLBACKEND")}
    before = pictures()
    done = subprocess.run(
        [sys.executable, str(script)],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    assert len(done.stdout.splitlines()) > 20
    assert "Warning" not in done.stderr, done.stderr
    assert list(tmp_path.iterdir()) == [], "a lesson writes nothing into the current folder"
    assert pictures() == before, "quick mode must not replace the real pictures"


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_notebook(script, quick):
    notebook = notebooks.convert(script.read_text(encoding="utf-8"), script.name)
    notebooks.execute(notebook, script.name, timeout=600)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    streams = [output for cell in code for output in cell.outputs if output.output_type == "stream"]
    assert any(output.name == "stdout" for output in streams)
    noise = [output.text for output in streams if output.name == "stderr"]
    assert not noise, f"a lesson keeps stderr empty, a reader would see a red box: {noise}"
    assert any("image/png" in output.get("data", {}) for cell in code for output in cell.outputs)


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_anatomy(script):
    """The parts that a reader finds in every lesson, in their order."""
    text = script.read_text(encoding="utf-8")
    parts = [
        r"# %% \[markdown\]\n# # " + "_".join(script.stem.split("_")[:2]),
        r"# \*\*Question\*\*: ",
        r"# \*\*After this lesson you can\*\*\n# 1\. .*\n",
        r"# \*\*Read before\*\*: ",
        r"# \*\*Time\*\*: \d",
        r"TUTORIAL_QUICK",
        r"The same in TF 1\.x",
        r"# ## Summary",
        r"\n *assert ",
        r"\nreport\(",
        r"# ## Exercises",
        r"# \*\*Next\*\*: ",
    ]
    position = 0
    for part in parts:
        found = re.compile(part).search(text, position)
        assert found, f"{script.name}: {part!r} is missing or out of order"
        position = found.end()
    assert "argparse" not in text and "__file__" not in text


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_links_and_figures_exist(script):
    """Lessons that a link names may be ones still to come, but never misspelt; pictures must be there."""
    text = script.read_text(encoding="utf-8")
    for target in re.findall(r"\]\((?!https?:|#)([^)]+)\)", text):
        path = (notebooks.NOTEBOOKS / target).resolve()
        assert path.exists() or target in notebooks.PLANNED, f"{script.name} links to {target}"
    for name in re.findall(r'save_figure\([^,]+, "([^"]+)"', text):
        assert (notebooks.REPO / "figs" / name).exists(), f"figs/{name} is missing: make notebooks"


def test_notebooks_match_their_scripts():
    assert notebooks.check(notebooks.lessons([])) == []
