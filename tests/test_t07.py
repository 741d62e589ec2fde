"""T_07 on what its own run cannot show: a process that is really killed, and a file that TensorFlow 1.15 wrote."""

import json
import os
import signal
import subprocess
import sys

import numpy as np
import pytest

from tests.conftest import REPO
from utils import lesson

SCRIPT = (REPO / "example-python" / "T_07_save_and_restore.py").read_text(encoding="utf-8")
FIXTURES = REPO / "tests" / "fixtures"


def section(start, end):
    """The lesson's text between two headings, as it runs; both must be there once."""
    assert SCRIPT.count(start) == 1 and SCRIPT.count(end) == 1, (start, end)
    return SCRIPT[SCRIPT.index(start) : SCRIPT.index(end)]


def setup(folder):
    """The lesson's beginning: imports, data, Net and Training. What it writes goes to `folder`."""
    return (
        f"from pathlib import Path\nfrom utils import lesson\nlesson.RUNS = Path({str(folder)!r})\n"
        + section("# %% [markdown]\n# # T_07", "# %% [markdown]\n# ## Keep the last three")
    )


def run(code, tmp_path):
    path = tmp_path / "part.py"
    path.write_text(code, encoding="utf-8")
    environment = {**os.environ, "TUTORIAL_QUICK": "1"}
    return subprocess.run([sys.executable, str(path)], capture_output=True, text=True, env=environment)


def last_line(done):
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.skipif(sys.platform == "win32", reason="a process kills itself with SIGKILL")
def test_a_killed_process_is_resumed_bit_for_bit(tmp_path):
    """One process saves after 3 steps, trains 4 more and is killed; another one restores and trains the same 4."""
    save = f"""
training = Training()
manager = tf.train.CheckpointManager(training.checkpoint, Path({str(tmp_path / "kept")!r}), max_to_keep=2)
training.run(3)
manager.save()
losses = training.run(4)
print(json.dumps([loss.hex() for loss in losses.tolist()] + [training.model.hidden.kernel.numpy().sum().item().hex()]))
sys.stdout.flush()
os.kill(os.getpid(), {signal.SIGKILL.value})
"""
    resume = f"""
training = Training()
training.run(1)  # so that not even the first state is the same
latest = tf.train.latest_checkpoint(Path({str(tmp_path / "kept")!r}))
training.checkpoint.restore(latest).assert_consumed()
losses = training.run(4)
print(json.dumps([loss.hex() for loss in losses.tolist()] + [training.model.hidden.kernel.numpy().sum().item().hex()]))
"""
    killed = run(setup(tmp_path / "runs") + "import sys\n" + save, tmp_path)
    assert killed.returncode == -signal.SIGKILL, killed.stderr[-2000:]
    resumed = run(setup(tmp_path / "runs") + resume, tmp_path)
    assert resumed.returncode == 0, resumed.stderr[-2000:]
    assert last_line(resumed) == last_line(killed)


def test_a_checkpoint_of_tensorflow_1_15_is_read_and_its_training_continued(tmp_path, monkeypatch, capsys):
    """The lesson's own cells, run on the file that TensorFlow 1.15.5 left (tests/fixtures/tf1_checkpoint.py)."""
    monkeypatch.setenv("TUTORIAL_QUICK", "1")
    monkeypatch.setattr(lesson, "RUNS", tmp_path)
    monkeypatch.syspath_prepend(str(FIXTURES))
    import tf1_checkpoint as fixture

    pictures, labels, batches = fixture.data()

    beginning = setup(tmp_path)
    assert beginning.count("HIDDEN = 128") == 1
    names = {"__name__": "t07"}
    exec(compile(beginning.replace("HIDDEN = 128", f"HIDDEN = {fixture.HIDDEN}"), "T_07", "exec"), names)
    stored = np.load(FIXTURES / "tf1_checkpoint.npz")
    tf = names["tf"]
    names |= {
        "train_images": tf.constant(pictures),
        "train_labels": tf.constant(labels),
        "sample": tf.constant(pictures),
        "batches": batches,
        "V1_STEPS": fixture.STEPS,
        "V1_MORE": fixture.MORE,
        "v1_path": str(FIXTURES / "tf1_checkpoint"),
        "v1_scores": stored["scores"],
        "v1_losses": stored["losses"],
        "v1_weights": [stored[f"w{number}"] for number in range(4)],
    }
    cells = section(
        "# %% [markdown]\n# ### A TF 1.x checkpoint in TensorFlow 2",
        "# %% [markdown]\n# `tests/test_t07.py` runs",
    )
    exec(compile(cells, "T_07", "exec"), names)  # its assertions are the test
    assert names["score_difference"] < 1e-5 and names["weight_difference"] < 1e-5
    assert f"{fixture.MORE} more steps" in capsys.readouterr().out
    assert int(names["continued"].optimizer.iterations) == fixture.STEPS + fixture.MORE
