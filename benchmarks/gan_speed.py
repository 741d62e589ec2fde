"""What a training step of the picture models costs: seconds, share of the machine's convolution peak, memory.

    python -m benchmarks.gan_speed                  # about five minutes; writes benchmarks/results/gan_speed.json
    python -m benchmarks.gan_speed --rounds 1       # once each, for a quick look

Each configuration runs in a process of its own in its model's folder, on random pictures, so that no disk takes part;
the configurations take turns for several rounds. The arithmetic of a step counts its convolutions and dense products,
two operations a multiplication, and nothing else: normalization, activations and optimizers are pure overhead by this
count. The peak is the speed of a large convolution, measured in the same run.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterable

import psutil

from tools.machine import facts
from utils.lesson import REPO, RESULTS, write_json

PAPER = ["--d_norm", "batch", "--no-he", "--no-batch_spread", "--r1", "0"]  # undoes the CPU preset's changes
QUARTER = ["--preset", "cpu", *PAPER, "--batch_size", "64"]
# name: (model folder, script, flags, steps to time, published before: seconds of peers in float32 and bfloat16)
CONFIGURATIONS = {
    "DCGAN, the paper's recipe, quarter width": ("m02_dcgan", "dcgan", QUARTER, 12),
    "DCGAN, the paper's recipe, full width": ("m02_dcgan", "dcgan", ["--preset", "paper"], 3),
    "DCGAN, CPU preset": ("m02_dcgan", "dcgan", ["--preset", "cpu"], 20),
    "WGAN, CPU preset": ("m03_wgan", "wgan", ["--preset", "cpu"], 20),
    "WGAN-GP, CPU preset": ("m03_wgan", "wgan_gp", ["--preset", "cpu"], 20),
}
# Seconds of the same step, one update of each network on a batch of 64, measured on two cores of another machine.
# It computes large float32 convolutions at PEERS_PEAK operations a second; shares of the peak can be compared.
PEERS_PEAK = 229e9
PEERS = {
    "DCGAN, the paper's recipe, quarter width": {"TF 1.15, the code of 2018": 1.11, "PyTorch": 0.466},
    "DCGAN, the paper's recipe, full width": {"TF 1.15, the code of 2018": 26.0, "PyTorch": 6.8},
}

WORKER = """
import importlib, json, resource, statistics, sys, time
script, steps, flags = sys.argv[1], int(sys.argv[2]), sys.argv[3:]
from runner import quiet_start
quiet_start()
import tensorflow as tf
module = importlib.import_module(script)
args = module.parse_args(flags)
model = (module.DCGAN if script == "dcgan" else module.WGAN)(args)
shape = [args.batch_size, args.size, args.size, 3]
if script != "dcgan":
    shape = [args.critic_steps] + shape
batch = tf.cast(tf.random.stateless_uniform(shape, [1, 2], 0, 256, tf.int32), tf.uint8)
step = tf.function(model.train_step)
seconds = []
for number in range(steps + 2):
    started = time.perf_counter()
    losses = step(tf.constant(number, tf.int64), batch)
    [loss.numpy() for loss in losses.values()]
    seconds.append(time.perf_counter() - started)
arithmetic = {}
for name in ("generator", "discriminator", "critic"):
    network = getattr(model, name, None)
    if network is None:
        continue
    call = (lambda x: network(x, True)) if name == "generator" else network
    inputs = [1, args.z_dim] if name == "generator" else [1, args.size, args.size, 3]
    graph = tf.function(call).get_concrete_function(tf.TensorSpec(inputs)).graph
    total = 0
    for op in graph.get_operations():
        if op.type == "Conv2D":
            kernel, place = op.inputs[1].shape, op.outputs[0].shape
        elif op.type == "Conv2DBackpropInput":
            kernel, place = op.inputs[1].shape, op.inputs[2].shape
        elif op.type == "MatMul":
            kernel, place = op.inputs[1].shape, [1, 1, 1]
        else:
            continue
        total += 2 * kernel.num_elements() * place[1] * place[2]
    arithmetic[name] = total
print("RESULT " + json.dumps({
    "seconds": statistics.median(seconds[2:]), "batch": args.batch_size,
    "critic_steps": getattr(args, "critic_steps", 1), "gp_every": getattr(args, "gp_every", 0),
    "r1": getattr(args, "r1", 0), "operations": arithmetic,
    "memory_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024}))
"""

PEAK = """
import statistics, sys, time
sys.path.insert(0, sys.argv[2])
from utils.lesson import quiet_start
quiet_start()
import tensorflow as tf
kind = tf.as_dtype(sys.argv[1])
x, w = tf.cast(tf.random.normal([16, 32, 32, 128]), kind), tf.cast(tf.random.normal([3, 3, 128, 128]), kind)
run = tf.function(lambda: tf.reduce_sum(tf.nn.conv2d(x, w, 1, "SAME")[:, 0, 0, 0]))
seconds = []
for _ in range(30):
    started = time.perf_counter()
    run().numpy()
    seconds.append(time.perf_counter() - started)
print("RESULT", 2 * 16 * 32 * 32 * 9 * 128 * 128 / statistics.median(seconds[5:]))
"""


def operations_of_step(measured: dict) -> float:
    """Convolution and matrix operations of a whole step, from those of one picture forwards.

    A backward pass costs twice a forward one: once for the weights, once for the inputs. DCGAN's step is one forward
    pass of the generator (its fakes serve both updates), the discriminator on data and fakes, forwards and backwards,
    and on the fakes once more for the generator, forwards and, for the inputs only, backwards; then the generator
    backwards. R1 on a quarter of the pictures takes a forward pass, a gradient for the inputs, and both backwards
    again. WGAN repeats the critic's part, with new fakes each time, and draws new fakes for the generator.
    """
    generator = measured["operations"]["generator"]
    judge = measured["operations"].get("discriminator") or measured["operations"]["critic"]
    update = 2 * 3 * judge  # data and fakes, forwards and backwards
    penalty = 6 * judge
    tail = 2 * generator + 2 * judge  # the generator's update, without the forward pass that makes the fakes
    if "discriminator" in measured["operations"]:
        picture = generator + update + tail + (penalty / 4 if measured["r1"] else 0)
    else:
        gradient_penalty = penalty / measured["gp_every"] if measured["gp_every"] else 0
        picture = measured["critic_steps"] * (generator + update + gradient_penalty) + generator + tail
    return picture * measured["batch"]


def run_worker(folder: str, program: str, *arguments: str) -> str:
    """Run a program text in a folder of the repository; what stands behind RESULT in its output."""
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments], cwd=REPO / folder, capture_output=True, text=True
    )
    lines = [line for line in done.stdout.splitlines() if line.startswith("RESULT ")]
    if done.returncode or not lines:
        sys.exit(f"a step could not be measured in {folder}:\n{(done.stdout + done.stderr)[-1500:]}")
    return lines[-1].removeprefix("RESULT ")


def measure(
    rounds: int,
    names: Iterable[str],
    run: Callable[[str, list[str]], dict],
    operations_of: Callable[[dict], float],
) -> dict:
    """A step of each configuration in float32 and bfloat16, in turns with the peak.

    Args:
        run: (name, further flags) -> "seconds" of a step, "memory_bytes", and what `operations_of` needs.
        operations_of: of such a result, the operations of a step.

    Returns:
        "rows": name -> figures; the peaks, the number of rounds, and how busy the machine was before a run.
    """
    seconds, last, peaks, busy = {}, {}, {}, []
    for turn in range(rounds):
        for kind in ("float32", "bfloat16"):
            peaks.setdefault(kind, []).append(float(run_worker(".", PEAK, kind, str(REPO))))
            for name in names:
                busy.append(psutil.cpu_percent(interval=1.0))
                result = run(name, ["--mixed_precision"] if kind == "bfloat16" else [])
                seconds.setdefault((name, kind), []).append(result["seconds"])
                last[name, kind] = result
                print(f"round {turn + 1}  {name:<42} {kind:<9} {result['seconds']:.3f} s", flush=True)
    peak = {kind: statistics.median(values) for kind, values in peaks.items()}
    rows = {}
    for (name, kind), values in seconds.items():
        operations, median = operations_of(last[name, kind]), statistics.median(values)
        rows.setdefault(name, {"operations": operations})[kind] = {
            "s": median,
            "low": min(values),
            "high": max(values),
            "share_of_peak": operations / median / peak[kind],
            "memory_bytes": last[name, kind]["memory_bytes"],
        }
    if max(busy) > 20:
        print(f"other programs were running ({max(busy):.0f} % of the processor)")
    return {
        "rows": rows,
        "peak_operations_per_s": peak,
        "rounds": rounds,
        "busy_before_percent": max(busy),
    }


def run_configuration(name: str, more: list[str]) -> dict:
    """One of CONFIGURATIONS in a process of its own."""
    folder, script, flags, steps = CONFIGURATIONS[name]
    return json.loads(run_worker(f"models/{folder}", WORKER, script, str(steps), *flags, *more))


def main(argv: list[str] | None = None) -> None:
    """Measure and write the result file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=2)
    args = parser.parse_args(argv)
    os.environ.pop("TF_NUM_INTRAOP_THREADS", None)
    result = measure(args.rounds, CONFIGURATIONS, run_configuration, operations_of_step)
    for name, row in result["rows"].items():
        row["peers_s"] = PEERS.get(name, {})
    result["peers_peak_operations_per_s"] = PEERS_PEAK
    write_json(RESULTS / "gan_speed.json", {**result, "machine": facts()})


if __name__ == "__main__":
    main()
