"""The pictures of m01, drawn from its result files."""

from __future__ import annotations

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

from utils.lesson import save_figure

WITH, WITHOUT = "#1f77b4", "#d62728"
NAMES = {True: "with batch normalization", False: "without"}


def smooth(values: list[float | None], width: int = 5) -> np.ndarray:
    """Running mean over `width` entries, shorter at the start; where a loss was not finite the curve ends."""
    numbers = np.array([np.nan if value is None else value for value in values])
    return np.array([numbers[max(0, i - width + 1) : i + 1].mean() for i in range(len(numbers))])


def draw_convergence(result: dict, rates: tuple, scales: tuple, seeds: tuple) -> None:
    """One panel a setting: loss over steps, one thin line a seed; the accuracy at the end stands in the legend."""
    settings = [(rate, 1.0) for rate in rates] + [(rates[0], scale) for scale in scales]
    figure, axes = plt.subplots(1, len(settings), figsize=(15, 3.8), layout="constrained")
    for axis, (rate, scale) in zip(axes, settings):
        for batch_norm, colour in ((False, WITHOUT), (True, WITH)):
            ends = []
            for seed in seeds:
                key = f"rate {rate:g}, init {scale:g}, {'with' if batch_norm else 'without'}, seed {seed}"
                run = result["runs"][key]
                ends.append(run["accuracy"][-1])
                loss = smooth(run["loss"])
                axis.plot(np.arange(1, len(loss) + 1) * 5, loss, colour, lw=1.3)
            axis.plot([], [], colour, label=f"{NAMES[batch_norm]}: {np.mean(ends):.1%}")
        axis.axhline(np.log(10), color="0.6", ls=":", lw=1)
        name = f"learning rate {rate:g}" if scale == 1 else f"rate {rate:g}, initial weights × {scale:g}"
        axis.set_title(name, fontsize=10)
        axis.set(xlabel="step", yscale="log", ylim=(0.02, 30) if scale <= 1 else (0.02, 1e6))
        axis.legend(fontsize=8, loc="upper right", title="validation accuracy at the end", title_fontsize=8)
    axes[0].set_ylabel("training loss")
    axes[0].text(5, np.log(10) * 1.06, "guessing", color="0.4", fontsize=8, va="bottom")
    save_figure(figure, "m01_convergence.png", dpi=100)


def draw_averages(result: dict, seeds: tuple) -> None:
    """Accuracy over steps of the same weights, read with four sets of statistics; mean of the seeds."""
    figure, axis = plt.subplots(figsize=(10, 4), layout="constrained")
    looks = {
        "own batch": ("0.6", "statistics of the batch that is read"),
        "momentum 0.99": (WITH, "moving averages, momentum 0.99"),
        "momentum 0.999": ("#ff7f0e", "moving averages, momentum 0.999"),
        "never updated": (WITHOUT, "averages never updated"),
    }
    runs = [result["runs"][str(seed)] for seed in seeds]
    for name, (colour, label) in looks.items():
        for run in runs:
            axis.plot(run["steps"], run[name], color=colour, lw=1.2)
        axis.plot(
            [], [], color=colour, label=f"{label}: {np.mean([run[name][-1] for run in runs]):.1%} at the end"
        )
    axis.set(xlabel="training step", ylabel="validation accuracy", ylim=(0, 1.02))
    axis.set_title("The same weights, read with different statistics")
    axis.legend(fontsize=8, loc="upper left", bbox_to_anchor=(1, 1), title="at the end", title_fontsize=8)
    save_figure(figure, "m01_averages.png", dpi=100)
