"""How long it takes until something happens: imports, the first training step, and `make lab`.

    python -m benchmarks.startup               # about a minute; writes benchmarks/results/startup.json
    python -m benchmarks.startup --cold        # also a set-up from nothing, in a temporary copy (needs the network)

Every measurement is a process of its own, and the rows take turns. The files are in the memory of the operating system
from the second round on, so the median says nothing of the first start after switching the computer on.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

import psutil

from benchmarks import turns
from tools.machine import facts
from utils.lesson import REPO, RESULTS, write_json

RESULT = RESULTS / "startup.json"
PATIENCE = 180  # seconds to wait for JupyterLab

PROGRAMS = {
    "import numpy": "import numpy",
    "import tensorflow": "import tensorflow",
    "import keras": "import keras",  # its backend is TensorFlow, which it imports
}

# The network of T_02, from Keras layers in a compiled step, as a lesson builds it.
FIRST_STEP = """
import json, time
from utils.lesson import quiet_start
quiet_start()
import keras
import tensorflow as tf
marks = [time.perf_counter()]
model = keras.Sequential([keras.Input((784,)), keras.layers.Dense(256, activation="relu"), keras.layers.Dense(10)])
adam = keras.optimizers.Adam()
adam.build(model.trainable_variables)
@tf.function
def step(x, y):
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(y, model(x)))
    adam.apply_gradients(zip(tape.gradient(loss, model.trainable_variables), model.trainable_variables))
    return loss
x, y = tf.random.uniform([100, 784]), tf.zeros([100], tf.int64)
marks.append(time.perf_counter())
for _ in range(20):
    float(step(x, y))
    marks.append(time.perf_counter())
spans = [b - a for a, b in zip(marks, marks[1:])]
print("RESULT", json.dumps({"build": spans[0], "first": spans[1], "later": sorted(spans[2:])[len(spans[2:]) // 2]}))
"""
STEPS = {"build": "build the network", "first": "first compiled step", "later": "a later step"}


def run(program: str) -> str:
    """Run a program in a fresh Python; its output.

    Raises:
        SystemExit: it failed.
    """
    done = subprocess.run([sys.executable, "-c", program], cwd=REPO, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"a start could not be measured:\n{done.stderr[-1500:]}")
    return done.stdout


def first_step() -> dict[str, float]:
    """Seconds to build a small network, for its first compiled step, and for a later one."""
    return json.loads(run(FIRST_STEP).partition("RESULT ")[2])


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def answers(address: str) -> bool:
    """Whether a page is there."""
    try:
        with urllib.request.urlopen(address, timeout=5) as page:
            return page.status == 200
    except (urllib.error.URLError, OSError):
        return False


def end(process: subprocess.Popen) -> None:
    """End a process and all that it started."""
    family = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
    for member in family:
        try:
            member.terminate()
        except psutil.NoSuchProcess:
            continue
    _, alive = psutil.wait_procs(family, timeout=10)
    for member in alive:
        member.kill()
    process.wait()


def lab(folder: Path = REPO, make: bool = True) -> float:
    """Seconds from `make lab` to the answer of the address that it prints.

    Raises:
        SystemExit: no answer came in time.
    """
    port = free_port()
    command = ["make", "--no-print-directory", "lab", f"PORT={port}", f"PYTHON={sys.executable}"]
    if not make:
        command = [sys.executable, "tools/lab.py", "--port", str(port)]
    # Another environment or notebook server around this one must not answer in its place.
    environment = {key: value for key, value in os.environ.items() if not key.startswith("JUPYTER")}
    started = time.perf_counter()
    with (
        tempfile.TemporaryFile("w+") as output,
        subprocess.Popen(
            command, cwd=folder, env=environment, stdout=output, stderr=subprocess.STDOUT, text=True
        ) as process,
    ):
        try:
            while time.perf_counter() - started < PATIENCE + 3600 * (folder != REPO):
                output.seek(0)
                address = re.search(rf"http://127\.0\.0\.1:{port}/\S*", output.read())
                if address and answers(address[0]):
                    return time.perf_counter() - started
                if process.poll() is not None:
                    break
                time.sleep(0.05)
            output.seek(0)
            sys.exit(f"JupyterLab did not answer:\n{output.read()[-1500:]}")
        finally:
            if process.poll() is None:
                end(process)


def cold() -> float:
    """Seconds from `make lab` in a fresh clone, which sets everything up, to the answer. Packages come from pip's
    cache where they are there."""
    work = Path(tempfile.mkdtemp(prefix="tutorial-cold-"))
    try:
        subprocess.run(["git", "clone", "-q", str(REPO), str(work / "clone")], check=True)
        return lab(work / "clone")
    finally:
        shutil.rmtree(work, ignore_errors=True)


def measure(rounds: int) -> dict:
    """All rows in turns: name -> seconds (median, quartiles, extremes), and the share that others used."""
    parts: dict[str, list[float]] = {name: [] for name in STEPS.values()}

    def steps() -> float:
        found = first_step()
        for key, name in STEPS.items():
            parts[name].append(found[key])
        return sum(found.values())

    rows = {name: lambda text=text: turns.timed(lambda: run(text)) for name, text in PROGRAMS.items()}
    found, foreign = turns.take_turns(rows | {"steps": steps, "`make lab`, warm": lab}, rounds)
    found.pop("steps")
    order = [*PROGRAMS, *STEPS.values(), "`make lab`, warm"]
    return {
        "rows": {name: turns.spread((found | parts)[name], 4) for name in order},
        "foreign": round(sorted(foreign)[rounds // 2], 3),
    }


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5, help="how often each row is measured (default 5)")
    parser.add_argument("--cold", action="store_true", help="also measure `make lab` in a fresh clone, once")
    args = parser.parse_args(argv)
    machine, earlier = facts(), {}
    if RESULT.exists():
        earlier = json.loads(RESULT.read_text(encoding="utf-8"))
    result = measure(args.rounds)
    if args.cold:
        result["cold_s"] = round(cold(), 1)
    elif earlier.get("machine", {}).get("cpu") == machine["cpu"] and "cold_s" in earlier:
        result["cold_s"] = earlier["cold_s"]
    for name, row in result["rows"].items():
        print(f"{name:<24} {row['median']:8.3f} s   {row['fastest']:.3f} to {row['slowest']:.3f}")
    if "cold_s" in result:
        print(f"{'make lab, cold':<24} {result['cold_s']:8.1f} s")
    write_json(RESULT, {**result, "machine": machine})


if __name__ == "__main__":
    main()
