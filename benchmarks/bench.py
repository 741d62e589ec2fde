"""Run the benchmarks, each in a process of its own, and write their tables: what `make bench` does.

    make bench                     # all, under 45 minutes on two cores
    make bench B=T_10              # one of T_05, T_10, T_11, m01, models, startup; or several: B="T_05 m01"
    make bench PEERS=1             # PyTorch beside, in an environment of its own, in the same runs
    make bench B=T_05 ROUNDS=1     # a quick look; it replaces the result file like any other run

A benchmark that fails does not keep the others from running; the command then ends with an error that names it.
"""

from __future__ import annotations

import argparse
import importlib.util
import subprocess
import sys
import time
from typing import NamedTuple

import psutil

from utils.lesson import REPO

BUSY = 20.0  # per cent of the processor that other programs use before we start


class Script(NamedTuple):
    """A benchmark: the module and its arguments; what it takes to measure PyTorch beside, and a number of rounds."""

    module: str
    arguments: tuple[str, ...] = ()
    peers: bool = False  # it has --peers
    only_with_peers: bool = False
    rounds: bool = True  # it has --rounds


# Another benchmark is another line here. One whose module is missing is left out, and that is said.
PARTS: dict[str, list[Script]] = {
    "T_05": [Script("benchmarks.t05_speed", peers=True), Script("benchmarks.t05_products")],
    "T_10": [Script("benchmarks.t10_dataset", peers=True)],
    "T_11": [Script("benchmarks.t11_images", peers=True, rounds=False)],
    "m01": [
        Script("benchmarks.m01_batch_normalization", ("speed",), rounds=False),
        Script("benchmarks.peer_models", ("m01",), peers=True, only_with_peers=True),
    ],
    "models": [
        Script("benchmarks.gan_speed"),
        Script("benchmarks.model_steps"),
        Script("benchmarks.m04_pix2pix", ("speed",), rounds=False),
        Script("benchmarks.m05_segmentation", ("speed",), rounds=False),
        Script("benchmarks.m06_seq2seq", ("speed",), rounds=False),
        Script("benchmarks.peer_models", ("dcgan", "pix2pix"), peers=True, only_with_peers=True),
    ],
    "startup": [Script("benchmarks.startup")],
}


def command(script: Script, peers: bool, rounds: int | None) -> list[str]:
    """The command line of a benchmark."""
    line = [sys.executable, "-m", script.module, *script.arguments]
    if peers and script.peers:
        line.append("--peers")
    if rounds and script.rounds:
        line += ["--rounds", str(rounds)]
    return line


def exists(module: str) -> bool:
    return importlib.util.find_spec(module) is not None


def run(parts: list[str], peers: bool, rounds: int | None) -> list[str]:
    """Run the parts; returns the commands that failed."""
    failed = []
    for part in parts:
        for script in PARTS[part]:
            if script.only_with_peers and not peers:
                continue
            if not exists(script.module):
                print(f"== {part}: {script.module} is not there yet, left out", flush=True)
                continue
            line = command(script, peers, rounds)
            shown = " ".join(["python", *line[1:]])
            print(f"== {part}: {shown}", flush=True)
            started = time.monotonic()
            if subprocess.run(line, cwd=REPO).returncode:
                failed.append(shown)
            print(f"== {part}: {(time.monotonic() - started) / 60:.1f} minutes", flush=True)
    return failed


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", metavar="part", help=f"some of {', '.join(PARTS)}; none: all")
    parser.add_argument("--peers", action="store_true", help="measure PyTorch in the same runs")
    parser.add_argument("--rounds", type=int, help="rounds of each, in place of its own number")
    args = parser.parse_args(argv)
    unknown = [part for part in args.parts if part not in PARTS]
    if unknown:
        parser.error(f"no benchmark {', '.join(unknown)}; there are {', '.join(PARTS)}")
    if args.rounds is not None and args.rounds < 1:
        parser.error("--rounds must be 1 or more")
    busy = psutil.cpu_percent(interval=2)
    if busy > BUSY:
        print(f"Other programs use {busy:.0f} % of the processor: the tables will say that they were there.")
    started = time.monotonic()
    failed = run(args.parts or list(PARTS), args.peers, args.rounds)
    tables = [sys.executable, "-m", "benchmarks.tables"]
    if subprocess.run(tables, cwd=REPO).returncode:
        failed.append("python -m benchmarks.tables")
    print(f"bench: {(time.monotonic() - started) / 60:.1f} minutes")
    if failed:
        sys.exit("bench: these failed: " + "; ".join(failed))


if __name__ == "__main__":
    main()
