"""What the tests of the model folders share: importing a folder's files, copying it away, running its scripts."""

import importlib
import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
from conftest import REPO
from PIL import Image

MODELS = REPO / "models"


def modules(folder, *names):
    """Import files of one model folder. Folders hold files of the same names, so none stays in `sys.modules`."""
    path = MODELS / folder
    own = {file.stem for file in path.glob("*.py")}
    others = {name: sys.modules.pop(name) for name in own if name in sys.modules}
    sys.path.insert(0, str(path))
    try:
        return [importlib.import_module(name) for name in names]
    finally:
        sys.path.remove(str(path))
        for name in own:
            sys.modules.pop(name, None)
        sys.modules.update(others)


def copy_alone(folder, target):
    """Copy the files of a model folder, and nothing else of the repository, to `target`."""
    return Path(
        shutil.copytree(MODELS / folder, target, ignore=shutil.ignore_patterns("__pycache__", "runs"))
    )


def start(script, *flags, cwd, **environment):
    """Start a script as a user would, far from the repository; returns the running process."""
    clean = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "TF_CONFIG")}
    return subprocess.Popen(
        [sys.executable, str(script), *map(str, flags)],
        cwd=cwd,
        env={**clean, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def start_workers(script, *flags, cwd, count=2):
    """Start a script as that many workers of one training; returns their processes, the chief first."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]  # asks for free ports
    cluster = {"worker": [f"127.0.0.1:{one.getsockname()[1]}" for one in sockets]}
    for one in sockets:
        one.close()
    tasks = [{"cluster": cluster, "task": {"type": "worker", "index": index}} for index in range(count)]
    flags = (*flags, "--distribute", "multiworker")
    return [start(script, *flags, cwd=cwd, TF_CONFIG=json.dumps(task)) for task in tasks]


def finish(process, timeout=400):
    """Wait for a process; returns (exit code, stdout, stderr) and leaves nothing running."""
    try:
        out, err = process.communicate(timeout=timeout)
    finally:
        process.kill()
    return process.returncode, out, err


def draw_pictures(folder, count=40, size=16, seed=0):
    """Write `count` small pictures: a coloured disc on a coloured ground."""
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(seed)
    across = np.arange(size)
    for number in range(count):
        picture = np.full((size, size, 3), random.integers(0, 256, 3), np.uint8)
        row, column, radius = random.uniform(size * 0.3, size * 0.7, 3) * [1, 1, 0.5]
        disc = (across[:, None] - row) ** 2 + (across - column) ** 2 < radius**2
        picture[disc] = random.integers(0, 256, 3)
        Image.fromarray(picture).save(folder / f"{number:03d}.png")
    return folder


def weights(folder):
    """All arrays of a run's latest checkpoint, by name."""
    import tensorflow as tf

    reader = tf.train.load_checkpoint(tf.train.latest_checkpoint(str(folder / "checkpoints")))
    names = [name for name in reader.get_variable_to_shape_map() if not name.startswith("_CHECKPOINTABLE")]
    return {name: reader.get_tensor(name) for name in names if "save_counter" not in name}
