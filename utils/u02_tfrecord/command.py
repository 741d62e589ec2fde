"""What the commands of this package share: options, the summary, and errors as one line instead of a traceback."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable

from .format import TFRecordError
from .manifest import Manifest


def writer_options(parser: argparse.ArgumentParser) -> None:
    """Add DST and the options that every writer has."""
    parser.add_argument(
        "dst", metavar="DST", help="folder of the data set; it appears when everything is written"
    )
    parser.add_argument("--shards", type=int, default=1, metavar="N", help="number of files (default 1)")
    order = parser.add_mutually_exclusive_group()
    order.add_argument(
        "--seed", type=int, default=0, metavar="N", help="the order in which records are shuffled (default 0)"
    )
    order.add_argument("--in-order", action="store_true", help="do not shuffle")
    parser.add_argument(
        "--workers", type=int, metavar="N", help="number of threads (default: one for each core)"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace the data set that is in DST")


def writer_arguments(args: argparse.Namespace) -> dict:
    """The options of `writer_options` as keywords of a `write_…` function."""
    return {
        "shards": args.shards,
        "seed": None if args.in_order else args.seed,
        "workers": args.workers,
        "overwrite": args.overwrite,
        "progress": True,
    }


def run(main: Callable[[], int]) -> int:
    """Call `main` and return its exit status; an expected error becomes one line on stderr and status 1."""
    # Neither reading files nor checksums need a GPU, and TensorFlow would reserve all of its memory.
    os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
    # TensorFlow also logs what it raises; here every error is reported once.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    try:
        return main()
    except TFRecordError as error:
        print(f"error: {error}", file=sys.stderr)
    except OSError as error:
        print(f"error: {error.filename or ''}: {error.strerror or error}", file=sys.stderr)
    except KeyboardInterrupt:
        print("interrupted; nothing was written", file=sys.stderr)
        return 130
    return 1


def size(count: int) -> str:
    """A number of bytes as a person reads it: 950 bytes, 12.3 kB, 1.2 GB."""
    value = float(count)
    for unit in ("bytes", "kB", "MB", "GB", "TB"):
        if value < 1000 or unit == "TB":
            return f"{value:,.0f} {unit}" if unit == "bytes" else f"{value:.1f} {unit}"
        value /= 1000
    raise AssertionError


def print_summary(manifest: Manifest) -> None:
    """What was written, the classes, and what was left out."""
    print(f"{manifest.folder}: {overview(manifest)}")
    print_classes(manifest)
    if manifest.skipped:
        print(f"left out: {len(manifest.skipped):,}")
        for entry in manifest.skipped[:10]:
            print(f"  {entry['file']}: {entry['reason']}")
        if len(manifest.skipped) > 10:
            print("  … all of them are named in manifest.json")


def print_classes(manifest: Manifest) -> None:
    """One line for each class: its label, name and number of records."""
    for label, (name, count) in enumerate(zip(manifest.classes, manifest.class_records)):
        print(f"  label {label}: {name}, {count:,} records")


def overview(manifest: Manifest) -> str:
    """The size and order of a data set in one line."""
    order = "in the order of the source" if manifest.seed is None else f"shuffled by seed {manifest.seed}"
    files = "1 file" if len(manifest.shards) == 1 else f"{len(manifest.shards):,} files"
    records = "1 record" if manifest.records == 1 else f"{manifest.records:,} records"
    return f"{manifest.kind}, {records} in {files}, {size(manifest.bytes)}, {order}"
