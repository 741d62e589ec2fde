"""What a README shows of a training: some lines of its log, word for word."""

from __future__ import annotations

import re
from pathlib import Path

RATE = re.compile(r" +[\d.]+ steps/s.*")


def excerpt(run: Path, count: int = 6, rates: bool = True) -> list[str]:
    """The first lines of `train.log`, about `count` of its steps spread evenly, all reports between them, and the last.

    Args:
        run: folder of a training.
        rates: whether steps a second and time left stay; without when other work ran beside.
    """
    lines = (run / "train.log").read_text(encoding="utf-8").splitlines()
    begin = next(i for i, line in enumerate(lines) if line.startswith("step"))
    steps = [i for i, line in enumerate(lines) if re.match(r"step +\d+/", line)]
    last = next((i for i, line in enumerate(lines) if line.startswith("done:")), steps[-1])
    shown = {*range(begin), last, *(steps[round(k * (len(steps) - 1) / (count - 1))] for k in range(count))}
    shown |= {i for i in range(begin, last) if lines[i].startswith("step") and i not in steps}
    chosen = [
        re.sub(r"results are in .*", f"results are in runs/{run.name}", lines[i]) for i in sorted(shown)
    ]
    return chosen if rates else [RATE.sub("", line) for line in chosen]


def block(lines: list[str]) -> str:
    """The lines as a fenced block."""
    return "```\n" + "\n".join(lines) + "\n```\n"
