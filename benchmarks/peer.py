"""PyTorch beside TensorFlow: its own environment, and a process in it that measures when it is asked.

    python -m benchmarks.peer          # only makes the environment, build/peers-venv

The benchmarks call this when they are given `--peers`. PyTorch is installed for them alone, never into .venv. On Linux
pip fetches its CUDA build unless it is pointed to an index of CPU builds; it listens to its own settings here, for
instance PIP_EXTRA_INDEX_URL. A machine without the network can take a folder of wheels: PIP_FIND_LINKS.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import psutil

from tools.setup_env import run_pip
from utils.lesson import REPO, write_json

VENV = REPO / "build" / "peers-venv"
PACKAGES = ["torch==2.13.*", "numpy>=2,<3", "pillow>=10.3"]
THREADS = os.cpu_count() if not hasattr(os, "sched_getaffinity") else len(os.sched_getaffinity(0))


def python() -> Path:
    """The interpreter of the peers' environment, which is made when it is missing or of other packages.

    Raises:
        SystemExit: pip failed; its last lines are shown.
    """
    interpreter, stamp = VENV / "bin" / "python", VENV / "installed.json"
    if stamp.exists() and json.loads(stamp.read_text()) == PACKAGES and interpreter.exists():
        return interpreter
    print(f"Installing PyTorch into {VENV.relative_to(REPO)}, for the benchmarks only (once) …", flush=True)
    shutil.rmtree(VENV, ignore_errors=True)
    subprocess.run([sys.executable, "-m", "venv", str(VENV)], check=True)
    run_pip([str(interpreter), "-m", "pip", "--disable-pip-version-check", "install", *PACKAGES])
    write_json(stamp, PACKAGES)
    return interpreter


class PeerError(RuntimeError):
    """The peer's process ended or answered with an error."""


class Peer:
    """A process that holds one side of a benchmark and does nothing between two questions.

    Args:
        module: a script of benchmarks/peers by its stem, run with PyTorch's environment; or, with `interpreter`, any
            module that calls `serve`.
        interpreter: the Python to run it with.
        arguments: of the module.
        settings: environment variables.

    Attributes:
        about: what it said at its start: versions, threads, names of its rows.
    """

    def __init__(
        self,
        module: str,
        interpreter: str | None = None,
        arguments: Sequence[str] = (),
        settings: dict[str, str] | None = None,
    ):
        threads = {"OMP_NUM_THREADS": str(THREADS), "PEER_THREADS": str(THREADS)}
        command = (
            [interpreter, "-m", module]
            if interpreter
            else [str(python()), "-m", f"benchmarks.peers.{module}"]
        )
        self.process = subprocess.Popen(
            [*command, *arguments],
            cwd=REPO,
            env={**threads, **os.environ, **(settings or {})},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.about = self._answer()

    def _answer(self) -> dict:
        line = self.process.stdout.readline()
        answer = json.loads(line) if line else {"error": "it ended without an answer"}
        if "error" in answer:
            raise PeerError(f"a helper of the benchmark failed: {answer['error']}")
        return answer

    def ask(self, row: str, **settings) -> dict:
        """Let it run a row once; its answer holds at least `seconds`.

        Raises:
            PeerError: it failed; its own error stands above, on stderr.
        """
        self.process.stdin.write(json.dumps({"row": row, **settings}) + "\n")
        self.process.stdin.flush()
        return self._answer()

    def seconds(self, row: str, **settings) -> float:
        """Seconds of one run of a row."""
        return self.ask(row, **settings)["seconds"]

    @property
    def processes(self) -> list[psutil.Process]:
        """For `turns.Meter`."""
        return [psutil.Process(self.process.pid)]

    def close(self) -> None:
        """End the process."""
        self.process.stdin.close()
        self.process.wait(timeout=60)

    def __enter__(self) -> Peer:
        return self

    def __exit__(self, *error) -> None:
        self.close()


def main(argv: list[str] | None = None) -> None:
    argparse.ArgumentParser(description=__doc__.splitlines()[0]).parse_args(argv)
    print(python().relative_to(REPO))


if __name__ == "__main__":
    main()
