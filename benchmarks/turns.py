"""Measuring in turns, and noticing when the machine has other work.

A figure is the median of several rounds. In a round every row of a table is measured once, one after the other: a slow
minute of the machine then falls on all rows alike instead of on one. While a row is measured, a `Meter` compares the
processor time of the whole machine with that of our own processes; the difference was used by other programs, or was
not there at all because a virtual machine's host gave it to somebody else.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterable, Mapping

import psutil

CORES = psutil.cpu_count()
BUSY = 0.1  # share of the processor from which on a run counts as disturbed
KINDS = ("user", "nice", "system", "irq", "softirq", "steal")


class Meter:
    """Wall time since it was made, and the share of all cores that other programs used meanwhile.

    Args:
        processes: ours, besides this one; with their finished children.
    """

    def __init__(self, processes: Iterable[psutil.Process] = ()) -> None:
        self.processes = [psutil.Process(), *processes]
        self.busy, self.own, self.began = *self.processor_seconds(), time.perf_counter()

    def processor_seconds(self) -> tuple[float, float]:
        """Busy seconds of the machine, and of our processes."""
        machine = psutil.cpu_times()
        own = sum(sum(process.cpu_times()[:4]) for process in self.processes)  # user, system, and of children
        return sum(getattr(machine, kind, 0.0) for kind in KINDS), own

    def seconds(self) -> float:
        """Wall time so far."""
        return time.perf_counter() - self.began

    def foreign(self) -> float:
        """Share of the processor that others used so far, 0 to 1."""
        busy, own = self.processor_seconds()
        return max(0.0, (busy - self.busy - own + self.own) / (self.seconds() * CORES))


def spread(values: list[float], digits: int = 3) -> dict[str, float | list[float] | int]:
    """Median, quartiles, extremes and number of the values, rounded."""
    low, middle, high = statistics.quantiles(values, n=4) if len(values) > 1 else values * 3
    low, high = max(low, min(values)), min(high, max(values))  # of two values they would lie outside
    return {
        "median": round(middle, digits),
        "quartiles": [round(low, digits), round(high, digits)],
        "fastest": round(min(values), digits),
        "slowest": round(max(values), digits),
        "rounds": len(values),
    }


def take_turns(
    rows: Mapping[str, Callable[[], float]],
    rounds: int,
    processes: Iterable[psutil.Process] = (),
    progress: Callable[[str], None] = lambda line: print(line, flush=True),
) -> tuple[dict[str, list[float]], list[float]]:
    """Measure every row once a round.

    Args:
        rows: name -> a function that does the work and returns its measure, such as seconds.
        rounds: how many.
        processes: ours, besides this one, as for `Meter`.
        progress: told after each round.

    Returns:
        name -> the measures, one a round; and for each round the share of the processor that others used.
    """
    found: dict[str, list[float]] = {name: [] for name in rows}
    foreign = []
    for number in range(rounds):
        meter = Meter(processes)
        for name, run in rows.items():
            found[name].append(run())
        foreign.append(meter.foreign())
        note = f", other programs used {foreign[-1]:.0%} of the processor" if foreign[-1] > BUSY else ""
        progress(f"  round {number + 1} of {rounds}: {meter.seconds():.1f} s{note}")
    return found, foreign


def busy_sentence(foreign: float) -> str:
    """What stands below a table that was measured on a busy machine; empty when it was not.

    Args:
        foreign: share of the processor that others used, the median of the rounds.
    """
    if foreign <= BUSY:
        return ""
    return f" **The machine was busy**: other programs used {foreign:.0%} of the processor meanwhile."


def timed(work: Callable[[], object]) -> float:
    """Seconds that `work` takes."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started
