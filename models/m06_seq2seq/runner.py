"""What surrounds a training step: flags, devices, batches, checkpoints, logs, errors said in a sentence.

The same file stands in several model folders, so that each folder runs alone. A training script does

    args = runner.settle(parser.parse_args(argv), PRESETS)            # fill the flags that were not given
    strategy = runner.strategy_for(args)                              # one process, several devices, several workers
    run = runner.Run(args, strategy, shaping=["size", "width"], losses=["d_loss", "g_loss"])
    with strategy.scope():
        model, optimizer = ...                                        # tf.Modules
    first_step = run.restore(model=model, optimizer=optimizer)        # the latest checkpoint, when there is one
    source = pictures.batches(args, strategy, [images], first_step)
    run.loop(step_function, source, report)                           # train, log, sample, save

and ends in `runner.guard(main)`. Nothing random has a state: the order of the data is a function of (seed, epoch) and
every random tensor a function of (seed, step). So the step number says where a run stands, a resumed run repeats an
uninterrupted one bit for bit, and replicas draw the rows of one global batch.
"""

from __future__ import annotations

import argparse
import csv
import errno
import io
import json
import os
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np


def quiet_start() -> None:
    """Import TensorFlow with its start-up messages held back; a failing import shows them all.

    They come from C++ while the library loads, before any setting can silence them: hence the file descriptor.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    sys.stderr.flush()
    saved = os.dup(2)
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            import tensorflow  # noqa: F401
        except BaseException:
            os.dup2(saved, 2)
            held.seek(0)
            os.write(2, held.read())
            raise
        finally:
            os.dup2(saved, 2)
            os.close(saved)


quiet_start()
import tensorflow as tf
from tqdm import tqdm


class Stop(Exception):
    """The run cannot go on; the message says why and what mends it. `code` becomes the exit code."""

    def __init__(self, message: str, code: int = 1):
        super().__init__(message)
        self.code = code


# ---------------------------------------------------------------------------------------------- flags and devices
def common_flags(parser: argparse.ArgumentParser, output_dir: str) -> None:
    """Add the flags that all training scripts share. Those without a default here are filled by `settle`."""
    yes_no = argparse.BooleanOptionalAction
    add = parser.add_argument
    add("--output_dir", default=output_dir, help=f"folder for all that the run writes (default {output_dir})")
    add("--preset", choices=("cpu", "paper"), help="sizes; chosen by device when not given")
    add("--steps", type=int, help="train up to this step")
    add("--batch_size", type=int, help="pictures a step, over all replicas together")
    add("--seed", type=int, default=1, help="of weights, noise and the order of the data (default 1)")
    add("--log_every", type=int, help="steps between lines of losses")
    add("--sample_every", type=int, help="steps between samples or evaluations")
    add("--save_every", type=int, help="steps between checkpoints")
    add("--keep", type=int, default=3, help="checkpoints to keep, the newest; 0 for all (default 3)")
    add("--resume", action=yes_no, default=True, help="go on from the latest checkpoint (the default)")
    add("--mixed_precision", action=yes_no, default=False, help="convolutions in bfloat16")
    add(
        "--distribute",
        choices=("none", "mirrored", "multiworker"),
        default="none",
        help="tf.distribute strategy",
    )
    add(
        "--logical_devices",
        type=int,
        default=0,
        help="split the CPU into so many devices, to try --distribute",
    )


def settle(args: argparse.Namespace, presets: Mapping[str, Mapping[str, object]]) -> argparse.Namespace:
    """Fill every flag that was not given from the preset, which the device chooses unless `--preset` does.

    Raises:
        Stop: a count that must be positive is not.
    """
    gpu = bool(tf.config.list_physical_devices("GPU"))
    args.preset = args.preset or ("paper" if gpu else "cpu")
    for name, value in presets[args.preset].items():
        if getattr(args, name) is None:
            setattr(args, name, value)
    for name in ("steps", "batch_size", "log_every", "sample_every", "save_every"):
        if getattr(args, name) < 1:
            raise Stop(f"--{name} must be 1 or more, not {getattr(args, name)}", code=2)
    return args


def strategy_for(args: argparse.Namespace) -> tf.distribute.Strategy:
    """Make the strategy that `--distribute` names; call it before any other TensorFlow operation.

    Raises:
        Stop: the workers are not described, or the batch does not divide by the replicas.
    """
    if args.logical_devices > 1:
        parts = [tf.config.LogicalDeviceConfiguration()] * args.logical_devices
        tf.config.set_logical_device_configuration(tf.config.list_physical_devices("CPU")[0], parts)
    if args.distribute == "multiworker":
        if "TF_CONFIG" not in os.environ:
            raise Stop(
                "--distribute multiworker needs the variable TF_CONFIG in each worker, for example "
                """TF_CONFIG='{"cluster": {"worker": ["host1:2222", "host2:2222"]}, "task": {"type": "worker", """
                """"index": 0}}'""",
                code=2,
            )
        strategy = tf.distribute.MultiWorkerMirroredStrategy()
    elif args.distribute == "mirrored":
        kind = "GPU" if tf.config.list_physical_devices("GPU") and args.logical_devices < 2 else "CPU"
        strategy = tf.distribute.MirroredStrategy(
            [device.name for device in tf.config.list_logical_devices(kind)]
        )
    else:
        strategy = tf.distribute.get_strategy()
    replicas = strategy.num_replicas_in_sync
    if args.batch_size % replicas:
        raise Stop(
            f"--batch_size {args.batch_size} cannot be shared by {replicas} replicas: take a multiple", code=2
        )
    return strategy


# ------------------------------------------------------------------------------------------------------- the run
def write_whole(path: Path, content: bytes) -> None:
    """Write a file whole or not at all: a temporary file in the same folder, then a rename."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        part.write_bytes(content)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


class Run:
    """One training: its folder, checkpoints, log, TensorBoard files and samples.

    Args:
        args: the settled flags; `config.json` in the folder keeps them.
        strategy: where the step runs.
        shaping: names of the flags that shape the networks: a checkpoint with others cannot be continued.
        losses: names of the scalars that the step function returns.

    Raises:
        Stop: the folder holds a run of other networks.
    """

    KINDS = ("checkpoints", "samples", "logs", "losses.csv", "train.log", "config.json")

    def __init__(
        self,
        args: argparse.Namespace,
        strategy: tf.distribute.Strategy,
        shaping: Sequence[str],
        losses: Sequence[str],
    ):
        self.args, self.strategy = args, strategy
        resolver = strategy.cluster_resolver
        self.chief = args.distribute != "multiworker" or resolver.task_id == 0
        self.folder = Path(args.output_dir)
        if self.chief:
            if not args.resume:
                for name in self.KINDS:
                    path = self.folder / name
                    shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
            self.folder.mkdir(parents=True, exist_ok=True)
            for orphan in (*self.folder.glob("checkpoints/*_temp"), *self.folder.glob("**/.*.part")):
                shutil.rmtree(orphan) if orphan.is_dir() else orphan.unlink(missing_ok=True)
        self._compare_config(shaping)
        with strategy.scope():
            first = tf.VariableAggregation.ONLY_FIRST_REPLICA
            self.step = tf.Variable(0, dtype=tf.int64, trainable=False, aggregation=first, name="step")
            # Sums since the last log line: part of the checkpoint, so that the log of a resumed run is the same.
            self.totals = {name: tf.Variable(0.0, trainable=False, aggregation=first) for name in losses}
            self.summed = tf.Variable(0.0, trainable=False, aggregation=first, name="steps_in_totals")

    def _compare_config(self, shaping: Sequence[str]) -> None:
        path = self.folder / "config.json"
        now = {name: value for name, value in vars(self.args).items() if name not in ("resume", "output_dir")}
        if path.exists():
            try:
                before = json.loads(path.read_text())
            except json.JSONDecodeError:
                raise Stop(f"{path} is damaged. Start the run anew with --no-resume.") from None
            for name in shaping:
                if before.get(name) != now[name]:
                    raise Stop(
                        f"{self.folder} holds a run with {name} {before.get(name)}, this one has {now[name]}: its "
                        "checkpoint does not fit. Choose another --output_dir, or --no-resume to start over there."
                    )
            told = [
                name
                for name in now
                if name not in ("data_path", "log_every", "sample_every", "save_every", "keep")
            ]
            changed = [f"{n} {before[n]} → {now[n]}" for n in told if n in before and before[n] != now[n]]
            if changed and self.chief:
                self.say("changed since the last start: " + ", ".join(changed))
        if self.chief:
            write_whole(path, json.dumps(now, indent=1).encode())

    def say(self, text: str) -> None:
        """Print a line and add it to `train.log`; workers other than the chief stay silent."""
        if self.chief:
            tqdm.write(text)
            sys.stdout.flush()
            with open(self.folder / "train.log", "a", encoding="utf-8") as log:
                log.write(text + "\n")

    def restore(self, **objects: tf.Module) -> int:
        """Attach what the checkpoint holds and load the latest one; returns the step it was made at, or 0.

        Raises:
            Stop: the checkpoint cannot be read or does not fit the networks.
        """
        own = {f"total_{name}": total for name, total in self.totals.items()}
        self.checkpoint = tf.train.Checkpoint(step=self.step, summed=self.summed, **own, **objects)
        folder = self.folder / "checkpoints"
        # All workers must take part in saving; only the chief's files stay.
        target = folder if self.chief else tempfile.mkdtemp(prefix="worker-")
        self.manager = tf.train.CheckpointManager(
            self.checkpoint, str(target), max_to_keep=self.args.keep or None
        )
        latest = tf.train.latest_checkpoint(str(folder))
        if latest:
            try:
                self.checkpoint.restore(latest).assert_consumed()
            except (AssertionError, ValueError, tf.errors.OpError) as error:
                reason = str(error).strip().splitlines()[0][:200]
                raise Stop(
                    f"the checkpoint {latest} does not fit or cannot be read ({reason}). Choose another --output_dir, "
                    "or --no-resume to start over there."
                ) from None
            self.say(f"going on from step {int(self.step.numpy())} ({latest})")
        return int(self.step.numpy())

    def save(self) -> None:
        """Write a checkpoint, unless a number in it is not finite.

        Raises:
            Stop: NaN or infinity in a weight; the checkpoints written before stay.
        """
        held = [v for item in vars(self.checkpoint).values() for v in getattr(item, "variables", ())]
        for variable in {id(v): v for v in held if v.dtype.is_floating}.values():
            if not np.isfinite(variable.numpy()).all():
                self._diverged(f"the variable {variable.name}")
        self.manager.save(checkpoint_number=int(self.step.numpy()))

    def _diverged(self, what: str) -> None:
        kept = tf.train.latest_checkpoint(str(self.folder / "checkpoints"))
        message = f"step {int(self.step.numpy())}: {what} is not a finite number, so the training stops. "
        message += f"The last good checkpoint is {kept}." if kept else "There was no checkpoint yet."
        raise Stop(
            message + " Lower learning rates help, and float32 where --mixed_precision was on.", code=3
        )

    def loop(
        self,
        step_function: Callable[..., dict[str, tf.Tensor]],
        source: Iterator[tuple[tf.Tensor, ...]],
        report: Callable[[], tuple[dict[str, float], dict[str, np.ndarray]]] | None = None,
    ) -> None:
        """Train to `args.steps`.

        Args:
            step_function: called as `f(step, *batch)` on each replica; returns this replica's mean losses
                (float32 scalars, all that `losses` names).
            source: batches from the restored step on, one a step.
            report: called every `sample_every` steps and at the end; returns scalars and uint8 pictures
                `(height, width, 3)` by name, which go to TensorBoard and `samples/<name>_<step>.png`.

        Raises:
            Stop: a loss is not finite (code 3), or Ctrl-C was pressed (code 130, after saving).
        """
        args, step = self.args, int(self.step.numpy())

        # Python loops of the step unroll while it is traced; batches of a second shape make the shapes free.
        @tf.function(autograph=False, reduce_retracing=True)
        def compiled(batch):
            losses = self.strategy.run(step_function, args=(self.step.read_value(), *batch))
            for name, total in self.totals.items():
                total.assign_add(self.strategy.reduce("mean", losses[name], axis=None))
            self.summed.assign_add(1.0)
            self.step.assign_add(1)

        self._keep_rows(step)
        self.writer = tf.summary.create_file_writer(str(self.folder / "logs")) if self.chief else None
        show_bar = self.chief and sys.stderr.isatty()
        bar = tqdm(total=args.steps, initial=step, unit="step", disable=not show_bar, smoothing=0.05)
        with bar, Interrupt() as interrupt:
            if step == 0:
                self._report(report, 0)
            self.clock, self.clocked = time.perf_counter(), step
            while step < args.steps:
                compiled(next(source))
                step += 1
                bar.update()
                if step % args.log_every == 0 or step == args.steps:
                    self._log(step, bar)
                if step % args.sample_every == 0 or step == args.steps:
                    self._report(report, step)
                stopped = interrupt.signal and step < args.steps
                if step % args.save_every == 0 or step == args.steps or stopped:
                    self.save()
                if stopped:
                    raise Stop(
                        f"stopped at step {step}, saved. The same command goes on from there.", interrupt.code
                    )
        self.say(f"done: {args.steps} steps; results are in {self.folder}")

    def _log(self, step: int, bar: tqdm) -> None:
        count = float(self.summed.numpy())
        means = {name: float(total.numpy()) / count for name, total in self.totals.items()}
        for variable in (*self.totals.values(), self.summed):
            variable.assign(0.0)
        now = time.perf_counter()
        rate, self.clock, self.clocked = (step - self.clocked) / (now - self.clock), now, step
        text = "  ".join(f"{name} {value:.4f}" for name, value in means.items())
        bar.set_postfix_str(text)
        if self.chief:
            left = (self.args.steps - step) / rate / 60
            line = f"step {step:>6}/{self.args.steps}  {text}  {rate:.2f} steps/s  {left:.1f} min left"
            if bar.disable:
                self.say(line)
            else:
                with open(self.folder / "train.log", "a", encoding="utf-8") as log:
                    log.write(line + "\n")
            with open(self.folder / "losses.csv", "a", encoding="utf-8") as table:
                table.write(",".join([str(step), *(f"{value:.6g}" for value in means.values())]) + "\n")
            with self.writer.as_default(step=step):
                for name, value in {**means, "steps_per_second": rate}.items():
                    tf.summary.scalar(name, value)
        for name, value in means.items():
            if not np.isfinite(value):
                self._diverged(name)

    def _report(self, report: Callable | None, step: int) -> None:
        if report is None:
            return
        started = time.perf_counter()
        scalars, pictures = report()
        if self.chief:
            from PIL import Image

            for name, picture in pictures.items():
                buffer = io.BytesIO()
                Image.fromarray(picture).save(buffer, "PNG")
                write_whole(self.folder / "samples" / f"{name}_{step:06d}.png", buffer.getvalue())
            if scalars:
                self.say(
                    f"step {step:>6}  " + "  ".join(f"{name} {value:.4f}" for name, value in scalars.items())
                )
            with self.writer.as_default(step=step):
                for name, value in scalars.items():
                    tf.summary.scalar(name, value)
                for name, picture in pictures.items():
                    tf.summary.image(name, picture[None])
            self.writer.flush()
        if hasattr(self, "clock"):
            self.clock += time.perf_counter() - started  # the step rate counts steps only

    def _keep_rows(self, step: int) -> None:
        """Start `losses.csv`, or drop the rows that a killed run wrote after its last checkpoint."""
        path = self.folder / "losses.csv"
        if not self.chief:
            return
        rows = list(csv.reader(path.read_text().splitlines())) if path.exists() else []
        kept = [row for row in rows[1:] if len(row) == len(self.totals) + 1 and int(row[0]) <= step]
        text = "\n".join(",".join(row) for row in [["step", *self.totals], *kept]) + "\n"
        write_whole(path, text.encode())


class Interrupt:
    """Within it, Ctrl-C and SIGTERM are noted instead of raised; a second Ctrl-C is raised as ever."""

    def __init__(self):
        self.signal = 0
        self.code = 0

    def __enter__(self) -> Interrupt:
        self.before = {}
        if threading.current_thread() is threading.main_thread():
            self.before = {
                number: signal.signal(number, self._note) for number in (signal.SIGINT, signal.SIGTERM)
            }
        return self

    def _note(self, number, frame):
        self.signal, self.code = number, 128 + number
        signal.signal(number, self.before[number])

    def __exit__(self, *_) -> None:
        for number, handler in self.before.items():
            signal.signal(number, handler)


def guard(main: Callable[[], None]) -> None:
    """Run `main`; end with a sentence and an exit code where a traceback would help nobody."""
    try:
        main()
    except Stop as stop:
        print(f"error: {stop}" if stop.code < 128 else str(stop), file=sys.stderr)
        sys.exit(stop.code)
    except KeyboardInterrupt:
        print("interrupted; the latest checkpoint, when there is one, stays", file=sys.stderr)
        sys.exit(130)
    except (OSError, tf.errors.OpError) as error:
        full = getattr(error, "errno", None) == errno.ENOSPC or "No space left on device" in str(error)
        if not full:
            raise
        print(
            "error: the disk is full. Free some space; the same command goes on from the last checkpoint",
            file=sys.stderr,
        )
        sys.exit(1)
