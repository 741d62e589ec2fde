"""Run a lesson with several seeds and record mean and spread of its key figures.

    python -m benchmarks.seeds T_04                  # seeds 1 2 3
    python -m benchmarks.seeds T_04 --seeds 1 2 3 4

The lesson runs as a script with TUTORIAL_SEED set. Results go to benchmarks/results/T_04_seeds.json after each
seed; a run that was interrupted goes on with the missing seeds, as long as the lesson is the same.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tools.machine import facts
from utils.lesson import RESULTS, write_json

SCRIPTS = Path(__file__).resolve().parent.parent / "example-python"


def code_digest(script: Path) -> str:
    """A hash of the lesson's code; prose and comments may change without running everything again."""
    lines = [line for line in script.read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
    return hashlib.sha256("\n".join(line for line in lines if line.strip()).encode()).hexdigest()[:16]


def run_seed(script: Path, seed: int) -> dict[str, float]:
    """Run the lesson once; return what it reported, and the seconds it took.

    Raises:
        SystemExit: the lesson failed; its last lines are shown.
    """
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        environment = {**os.environ, "TUTORIAL_SEED": str(seed), "TUTORIAL_REPORT": str(report)}
        environment.pop("TUTORIAL_QUICK", None)
        started = time.perf_counter()
        done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, env=environment)
        seconds = time.perf_counter() - started
        if done.returncode != 0:
            sys.exit(f"{script.name} failed with seed {seed}:\n{(done.stdout + done.stderr)[-2000:]}")
        return {**json.loads(report.read_text()), "seconds": round(seconds, 1)}


def summary(runs: dict[str, dict[str, float]]) -> dict[str, dict[str, float]]:
    """Mean and sample standard deviation over the seeds, per figure."""
    names = next(iter(runs.values())).keys()
    columns = {name: [run[name] for run in runs.values()] for name in names}
    return {
        name: {"mean": statistics.mean(values), "std": statistics.stdev(values) if len(values) > 1 else 0.0}
        for name, values in columns.items()
    }


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("lesson", help="for example T_04")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    args = parser.parse_args(argv)
    found = sorted(SCRIPTS.glob(f"{args.lesson}_*.py"))
    if len(found) != 1:
        sys.exit(f"no lesson {args.lesson!r} in {SCRIPTS.name}/; name one as T_04")
    script, target = found[0], RESULTS / f"{args.lesson}_seeds.json"
    result = json.loads(target.read_text()) if target.exists() else {}
    if result.get("code") != code_digest(script):
        result = {"lesson": script.stem, "code": code_digest(script), "runs": {}}
    for seed in args.seeds:
        if str(seed) in result["runs"]:
            print(f"seed {seed}: already done")
            continue
        result["runs"][str(seed)] = run_seed(script, seed)
        print(f"seed {seed}: {result['runs'][str(seed)]}", flush=True)
        result["summary"], result["machine"] = summary(result["runs"]), facts()
        write_json(target, result)
    for name, value in result["summary"].items():
        print(f"{name}: {value['mean']:.4f} ± {value['std']:.4f} ({len(result['runs'])} seeds)")


if __name__ == "__main__":
    main()
