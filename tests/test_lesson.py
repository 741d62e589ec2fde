"""The helpers of every lesson: figures and results are written whole or not at all, in the right place."""

import json
import subprocess
import sys

import matplotlib.pyplot as plt
import pytest

from utils import lesson


def test_write_json_is_whole_or_nothing(tmp_path):
    target = tmp_path / "new folder" / "结果.json"
    lesson.write_json(target, {"name": "数", "value": 1.5})
    assert json.loads(target.read_text(encoding="utf-8")) == {"name": "数", "value": 1.5}
    with pytest.raises(TypeError):
        lesson.write_json(target, {"value": object()})
    assert json.loads(target.read_text(encoding="utf-8"))["value"] == 1.5
    assert [path.name for path in target.parent.iterdir()] == ["结果.json"]


def test_save_figure_writes_the_same_bytes_twice_and_closes(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(lesson, "REPO", tmp_path)
    monkeypatch.setattr(lesson, "FIGS", tmp_path / "figs")
    contents = []
    for _ in range(2):
        figure, axes = plt.subplots()
        axes.plot([1, 2, 3])
        lesson.save_figure(figure, "line.png")
        contents.append((tmp_path / "figs" / "line.png").read_bytes())
        assert not plt.fignum_exists(figure.number)
    assert contents[0] == contents[1] and contents[0].startswith(b"\x89PNG")
    assert "figs/line.png" in capsys.readouterr().out
    assert [path.name for path in (tmp_path / "figs").iterdir()] == ["line.png"]


def test_a_failed_figure_leaves_the_old_one(tmp_path, monkeypatch):
    monkeypatch.setattr(lesson, "REPO", tmp_path)
    monkeypatch.setattr(lesson, "FIGS", tmp_path)
    (tmp_path / "old.png").write_bytes(b"old")
    figure, _ = plt.subplots()
    monkeypatch.setattr(figure, "savefig", lambda *a, **k: (_ for _ in ()).throw(OSError("no space left")))
    with pytest.raises(OSError, match="no space"):
        lesson.save_figure(figure, "old.png")
    assert (tmp_path / "old.png").read_bytes() == b"old" and len(list(tmp_path.iterdir())) == 1
    plt.close(figure)


def test_report_prints_and_writes_where_the_builder_says(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("TUTORIAL_REPORT", str(tmp_path / "report.json"))
    lesson.report(test_accuracy=0.98765, seconds=3)
    assert json.loads((tmp_path / "report.json").read_text()) == {"test_accuracy": 0.98765, "seconds": 3.0}
    assert "test accuracy  0.9877" in capsys.readouterr().out


@pytest.mark.parametrize(("quick", "folder"), [("1", "build/quick/figs"), ("0", "figs")])
def test_quick_mode_keeps_its_figures_apart(quick, folder):
    code = "from utils import lesson; print(lesson.FIGS.relative_to(lesson.REPO).as_posix())"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={"TUTORIAL_QUICK": quick},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == folder


def test_quiet_start_shows_everything_when_the_import_fails(tmp_path):
    """A broken TensorFlow must not fail in silence."""
    (tmp_path / "tensorflow.py").write_text(
        "import os\nos.write(2, b'a message from C++\\n')\nraise ImportError('libcuda is missing')\n"
    )
    code = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); from utils.lesson import quiet_start; quiet_start()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 1
    assert "a message from C++" in done.stderr and "libcuda is missing" in done.stderr


def test_quiet_start_is_quiet_and_gives_stderr_back():
    code = "from utils.lesson import quiet_start; quiet_start(); import sys; print('after', file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr == "after\n"


def test_files_are_renamed_into_place(tmp_path, monkeypatch):
    """Whoever reads while we write sees the old file or the new one, never a part."""
    target = tmp_path / "result.json"
    target.write_text("old")

    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(lesson.Path, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        lesson.write_json(target, {"new": 1})
    assert target.read_text() == "old" and len(list(tmp_path.iterdir())) == 1
    monkeypatch.setattr(lesson, "FIGS", tmp_path)
    figure, _ = plt.subplots()
    (tmp_path / "old.png").write_bytes(b"old")
    with pytest.raises(KeyboardInterrupt):
        lesson.save_figure(figure, "old.png")
    assert (tmp_path / "old.png").read_bytes() == b"old" and len(list(tmp_path.iterdir())) == 2
    plt.close(figure)
