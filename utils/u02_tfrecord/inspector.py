"""Look into TFRecord data sets: features, counts, checksums; for files from anywhere as well.

    python -m utils.u02_tfrecord.inspector runs/robohash            # a data set of this package
    python -m utils.u02_tfrecord.inspector old.tfrecord more.tfrecord --show 2

The exit status is 0 when everything is sound and 1 when something is damaged; then each damaged record is named.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path

from tqdm import tqdm

from .checks import Report, check_source, open_source
from .command import overview, print_classes, run, size
from .example import Values, parse_sequence_example
from .format import CorruptRecord, read_plain
from .manifest import Manifest

LOOK_AT = 100  # records of a foreign file from which its features are told …
LOOK_AT_BYTES = 5_000_000  # … but not many more bytes than these, which plain Python checks in half a second


def main(argv: list[str] | None = None) -> int:
    """The command; `argv` without the program's name. Returns 1 when something is damaged."""
    parser = argparse.ArgumentParser(
        prog="python -m utils.u02_tfrecord.inspector",
        description="Show the features, counts and state of a TFRecord data set.",
        epilog="Example:  python -m utils.u02_tfrecord.inspector runs/robohash --show 1",
    )
    parser.add_argument("source", metavar="SOURCE", nargs="+", help="folder of a data set, or TFRecord files")
    parser.add_argument(
        "--show", type=int, default=0, metavar="N", help="print the content of the first N records"
    )
    parser.add_argument("--no-verify", action="store_true", help="do not read the files to check them")
    args = parser.parse_args(argv)
    source = args.source[0] if len(args.source) == 1 else args.source
    files, manifest = open_source(source)
    if manifest:
        describe_manifest(manifest)
    else:
        describe_records(files)
    if args.show:
        show_records(files, args.show)
    return 0 if args.no_verify else verify(source, files, manifest)


def describe_manifest(manifest: Manifest) -> None:
    """Print what a manifest says."""
    print(f"{manifest.folder}: {overview(manifest)}")
    rows = [(name, str(feature), feature.stored) for name, feature in manifest.features.items()]
    rows += [(name, f"{feature} a step", feature.stored) for name, feature in manifest.sequences.items()]
    print_table(("feature", "type and shape", "stored as"), rows)
    print_classes(manifest)
    if manifest.skipped:
        print(
            f"left out when it was written: {len(manifest.skipped):,}, the first: {manifest.skipped[0]['file']}"
        )


def describe_records(files: list[Path]) -> None:
    """Print the features of files without a manifest, as told from their first records."""
    context: dict[str, list[Values]] = {}
    steps: dict[str, list[Values]] = {}
    records = looked_at = 0
    try:
        for data in islice(first_records(files), LOOK_AT):
            if looked_at > LOOK_AT_BYTES:
                break
            features, lists = parse_sequence_example(data)
            records += 1
            looked_at += len(data)
            for name, values in features.items():
                context.setdefault(name, []).append(values)
            for name, feature_list in lists.items():
                steps.setdefault(name, []).extend(feature_list)
    except CorruptRecord:
        pass  # what is damaged is said at the end
    except ValueError as error:
        print(f"record {records} of {files[0]} is no Example ({error}); records may hold any bytes")
        return
    if not records:
        print("no record to tell the features from")
        return
    kind = "SequenceExample" if steps else "Example"
    print(f"features of the first {'record' if records == 1 else f'{records:,} records'} ({kind}):")
    rows = [(name, *kind_and_count(values)) for name, values in context.items()]
    rows += [(name, *kind_and_count(values), "at each step") for name, values in steps.items()]
    print_table(("feature", "kind", "values"), rows)


def first_records(files: list[Path]) -> Iterator[bytes]:
    """The records of all files, one after the other."""
    for path in files:
        yield from read_plain(path)


def kind_and_count(lists: list[Values]) -> tuple[str, str]:
    """What lists of values hold, and how many values each has: ("int64_list", "1") or ("bytes_list", "3 to 17")."""
    kinds = {type(value) for values in lists for value in values}
    names = {bytes: "bytes_list", float: "float_list", int: "int64_list"}
    counts = sorted({len(values) for values in lists}) or [0]
    count = f"{counts[0]:,}" if len(counts) == 1 else f"{counts[0]:,} to {counts[-1]:,}"
    return " or ".join(sorted(names[kind] for kind in kinds)) or "empty", count


def print_table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> None:
    """Print rows of texts in columns as wide as they need."""
    widths = [max(len(row[place]) for row in (head, *rows)) for place in range(len(head))]
    for row in (head, *rows):
        cells = [f"{cell:<{width}}" for cell, width in zip(row, widths)] + list(row[len(head) :])
        print("  " + "  ".join(cells).rstrip())


def show_records(files: list[Path], count: int) -> None:
    """Print the content of the first records, long values cut short."""
    with suppress(CorruptRecord):  # what is damaged is said at the end
        for number, data in enumerate(islice(first_records(files), count)):
            print(f"record {number}: {len(data):,} bytes")
            try:
                context, lists = parse_sequence_example(data)
            except ValueError:
                print(f"  {shortened(data)}")
                continue
            for name, values in context.items():
                print(f"  {name}: {shortened(values)}")
            for name, steps in lists.items():
                print(
                    f"  {name}: {len(steps):,} steps {shortened([v[0] if len(v) == 1 else v for v in steps])}"
                )


def shortened(value: object, width: int = 90) -> str:
    """A value as text of at most `width` characters."""
    text = (
        repr(value[:width])
        if isinstance(value, bytes)
        else repr([_short_bytes(entry) for entry in value[:width]])
    )
    return text if len(text) <= width else text[: width - 2] + " …"


def _short_bytes(entry: object) -> object:
    """Bytes that are text as text, others cut short."""
    if not isinstance(entry, bytes):
        return entry
    text = entry.decode(errors="replace")
    return text if text.isprintable() and "\ufffd" not in text else entry[:40]


def verify(source, files: list[Path], manifest: Manifest | None) -> int:
    """Check every file, print its state and all damage; 1 when there is any."""
    total = sum(path.stat().st_size for path in files if path.is_file())
    interval = 0.1 if sys.stderr.isatty() else 10
    with tqdm(
        total=total, unit="B", unit_scale=True, desc="checking", leave=False, mininterval=interval
    ) as bar:
        reports = check_source(source, bar.update)
    rows = [state(path, report) for path, report in zip(files, reports)]
    print_table(("file", "records", "size", "state"), rows)
    damage = [error for report in reports for error in report.damage]
    for error in damage:
        print(f"damaged: {error}")
    if damage:
        sound = sum(report.records for report in reports)
        hint = f'; the {sound:,} sound records can be read with on_corrupt="skip"' if sound else ""
        print(f"{len(damage):,} damaged{hint}")
        return 1
    how = "equal the SHA-256 of the manifest" if manifest else "have sound checksums"
    print(f"all files {how}")
    return 0


def state(path: Path, report: Report) -> tuple[str, str, str, str]:
    """The line of a file in the table of `verify`."""
    bytes_ = size(path.stat().st_size) if path.is_file() else "–"
    return (
        path.name,
        f"{report.records:,}",
        bytes_,
        f"{len(report.damage)} damaged" if report.damage else "sound",
    )


if __name__ == "__main__":
    sys.exit(run(main))
