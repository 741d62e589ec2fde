"""A folder of pictures as one array, arrays as endless batches, and arrays as picture grids and animations.

The same file stands in several model folders, so that each folder runs alone.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import itertools
import os
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import tensorflow as tf
from PIL import Image, ImageDraw, UnidentifiedImageError
from runner import Stop, write_whole
from tqdm import tqdm

ENDINGS = {".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp"}
HERE = Path(__file__).resolve().parent


def find_folder(data_path: str | None) -> Path:
    """The folder of pictures: what `--data_path` names, else `data/anime` or `data/avatars` of the repository.

    Raises:
        Stop: there is none; the message names the folders that were searched and what makes one.
    """
    if data_path:
        if not Path(data_path).is_dir():
            raise Stop(f"--data_path {data_path} is not a folder")
        return Path(data_path)
    roots = dict.fromkeys([HERE, *HERE.parents[:2], Path.cwd()])
    searched = [root / "data" / name for name in ("anime", "avatars") for root in roots]
    for folder in searched:
        if folder.is_dir():
            return folder
    raise Stop(
        "no pictures to learn from. Searched: "
        + ", ".join(map(str, searched))
        + ". In the repository `make data` "
        "makes data/avatars; --data_path FOLDER takes any folder of JPEG, PNG, BMP, GIF or WebP files."
    )


def list_pictures(folder: Path) -> list[Path]:
    """Picture files in the folder and all below it, sorted; hidden ones are left out.

    Raises:
        Stop: there is none.
    """
    found = []
    for parent, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        found += [
            Path(parent, name)
            for name in sorted(names)
            if Path(name).suffix.lower() in ENDINGS and not name.startswith(".")
        ]
    if not found:
        raise Stop(f"{folder} holds no pictures (JPEG, PNG, BMP, GIF or WebP files, subfolders included)")
    return found


def square(picture: Image.Image, size: int) -> np.ndarray:
    """Cut the largest square from the middle and scale it: `(size, size, 3)` uint8. Transparent becomes white."""
    if "A" in picture.getbands() or "transparency" in picture.info:
        picture = picture.convert("RGBA")
        picture = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture)
    picture = picture.convert("RGB")
    side = min(picture.size)
    left, top = (picture.width - side) // 2, (picture.height - side) // 2
    if side != size:
        box = (left, top, left + side, top + side)
        picture = picture.resize((size, size), Image.Resampling.LANCZOS, box=box, reducing_gap=3.0)
    else:
        picture = picture.crop((left, top, left + side, top + side))
    return np.asarray(picture)


def load(folder: Path, size: int, cache: Path, say=print) -> np.ndarray:
    """All pictures of a folder as one memory-mapped array, decoded once.

    Unreadable files are skipped, counted and named. The array is kept in `cache` under a name that holds a
    fingerprint of the files' paths, sizes and times, so a changed folder is read anew.

    Args:
        folder: where the pictures are.
        size: side in pixels.
        cache: folder for the array.
        say: where messages go.

    Returns:
        `(pictures, size, size, 3)` uint8, read-only.

    Raises:
        Stop: there is no picture, or none can be read.
    """
    paths = list_pictures(folder)
    print_of = hashlib.sha256()
    for path in paths:
        facts = path.stat()
        print_of.update(f"{path.relative_to(folder)}\0{facts.st_size}\0{facts.st_mtime_ns}\n".encode())
    origin = hashlib.sha256(str(folder.resolve()).encode()).hexdigest()[:8]
    stem = f"{folder.resolve().name}_{size}_{origin}"
    target = cache / f"{stem}_{print_of.hexdigest()[:16]}.npy"
    if not target.exists():
        cache.mkdir(parents=True, exist_ok=True)
        _decode(paths, size, target, say)
        # What a changed folder or a killed process left; a part that is being written is never ten minutes old.
        old = [part for part in cache.glob(f".{stem}_*.part") if time.time() - part.stat().st_mtime > 600]
        for stale in {*cache.glob(f"{stem}_*.npy"), *old} - {target}:
            stale.unlink(missing_ok=True)
    array = np.load(target, mmap_mode="r")
    say(f"{len(array):,} pictures of {size}×{size} from {'/'.join(folder.parts[-2:])}")
    return array


def _decode(paths: Sequence[Path], size: int, target: Path, say) -> None:
    """Decode the pictures with threads into `target`, whole or not at all."""

    def read(path: Path) -> np.ndarray | str:
        try:
            with Image.open(path) as picture:
                return square(picture, size)
        except (
            OSError,
            UnidentifiedImageError,
            ValueError,
            SyntaxError,
            Image.DecompressionBombError,
        ) as error:
            return str(error).splitlines()[0] if str(error) else type(error).__name__

    def header(count: int) -> bytes:
        buffer = io.BytesIO()
        shape = {"descr": "|u1", "fortran_order": False, "shape": (count, size, size, 3)}
        np.lib.format.write_array_header_1_0(buffer, shape)
        return buffer.getvalue()  # numpy pads it, so that its length does not depend on the count

    part = target.with_name(f".{target.name}.{os.getpid()}.part")
    good, bad = 0, []
    try:
        bar = tqdm(total=len(paths), unit="picture", desc="reading pictures", leave=False, disable=None)
        with open(part, "wb") as file, ThreadPoolExecutor() as pool, bar:
            file.write(header(len(paths)))
            for first in range(
                0, len(paths), 512
            ):  # in portions: the decoded pictures must not pile up in memory
                chunk = paths[first : first + 512]
                for path, result in zip(chunk, pool.map(read, chunk)):
                    bar.update()
                    if isinstance(result, str):
                        bad.append(f"{path.name} ({result})")
                    else:
                        file.write(result.tobytes())
                        good += 1
            file.seek(0)
            file.write(header(good))
        if bad:
            names = ", ".join(bad[:5]) + (", …" if len(bad) > 5 else "")
            if not good:
                raise Stop(f"none of the {len(bad)} pictures in {paths[0].parent} can be read: {names}")
            say(f"skipped {len(bad)} of {len(paths)} files that cannot be read as pictures: {names}")
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)


# ------------------------------------------------------------------------------------------------------- batches
def order(seed: int, first: int, count: int, total: int) -> np.ndarray:
    """Rows number `first` to `first + count` of an endless reading of the data, newly shuffled in each epoch.

    Every epoch covers each of the `total` rows once; a batch may reach from one epoch into the next.
    """
    positions = np.arange(first, first + count)
    rows = np.empty(count, np.int64)
    for epoch in np.unique(positions // total):
        here = positions // total == epoch
        rows[here] = np.random.default_rng((seed, int(epoch))).permutation(total)[positions[here] % total]
    return rows


def batches(
    args: argparse.Namespace,
    strategy: tf.distribute.Strategy,
    arrays: Sequence[np.ndarray],
    first_step: int,
    updates: int | None = None,
) -> Iterator[tuple[tf.Tensor, ...]]:
    """Endless batches from step `first_step` on, read ahead of the training by a thread of tf.data.

    Args:
        args: `seed` and `batch_size`, the rows in the global batch; each replica receives its share of them, in order.
        arrays: arrays of one length, for example pictures `(n, height, width, channels)` and labels `(n,)`;
            memory-mapped ones are read as they are needed.
        updates: batches a step when the step makes several updates; they come with a leading axis of this length.

    Returns:
        An iterator over tuples of tensors (per-replica values when there are several replicas), one item an array.
    """
    batch_size, share = args.batch_size, args.batch_size // strategy.num_replicas_in_sync
    per_step = batch_size * (updates or 1)

    def pipeline(context: tf.distribute.InputContext) -> tf.data.Dataset:
        local = strategy.num_replicas_in_sync // context.num_input_pipelines  # replicas fed by this process
        offset = context.input_pipeline_id * local

        def generate():
            step, total = first_step, len(arrays[0])
            while True:
                rows = order(args.seed, step * per_step, per_step, total).reshape(-1, batch_size)
                for replica in range(offset, offset + local):
                    mine = rows[:, replica * share : (replica + 1) * share]
                    mine = mine if updates else mine[0]
                    yield tuple(np.asarray(array[mine]) for array in arrays)
                step += 1

        leading = (updates, share) if updates else (share,)
        signature = tuple(tf.TensorSpec(leading + array.shape[1:], array.dtype) for array in arrays)
        return tf.data.Dataset.from_generator(generate, output_signature=signature).prefetch(4)

    return iter(strategy.distribute_datasets_from_function(pipeline))


# ------------------------------------------------------------------------------------------------- out of arrays
def to_bytes(pictures: np.ndarray) -> np.ndarray:
    """Pictures in [-1, 1], as a generator gives them, to uint8; values outside are clipped."""
    return np.clip(np.rint((np.asarray(pictures, np.float32) + 1.0) * 127.5), 0, 255).astype(np.uint8)


def grid(pictures: np.ndarray, columns: int = 8, gap: int = 2, numbered: bool = False) -> np.ndarray:
    """Put uint8 pictures `(n, height, width, 3)` into rows of `columns`, with white gaps.

    Args:
        numbered: write each picture's index into its upper left corner.
    """
    count, height, width, channels = pictures.shape
    rows = -(-count // columns)
    sheet = np.full((rows * (height + gap) + gap, columns * (width + gap) + gap, channels), 255, np.uint8)
    for index, picture in enumerate(pictures):
        top, left = gap + index // columns * (height + gap), gap + index % columns * (width + gap)
        sheet[top : top + height, left : left + width] = picture
    if numbered:
        image = Image.fromarray(sheet)
        draw = ImageDraw.Draw(image)
        for index in range(count):
            corner = (gap + index % columns * (width + gap) + 1, gap + index // columns * (height + gap))
            draw.text(corner, str(index), fill="black", stroke_width=1, stroke_fill="white")
        sheet = np.asarray(image)
    return sheet


def save_png(picture: np.ndarray, path: Path) -> None:
    """Write one uint8 picture `(height, width, 3)`, whole or not at all."""
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "PNG")
    write_whole(path, buffer.getvalue())


def save_gif(frames: np.ndarray, path: Path, milliseconds: int = 60, back: bool = True) -> None:
    """Write uint8 frames `(n, height, width, 3)` as an endless animation, there and back again unless told not to."""
    order = itertools.chain(frames, frames[-2:0:-1]) if back else frames
    # One palette for all frames, or colours would flicker between them.
    palette = Image.fromarray(np.concatenate(list(frames[:: max(1, len(frames) // 8)]), axis=1)).quantize(256)
    images = [Image.fromarray(frame).quantize(palette=palette, dither=Image.Dither.NONE) for frame in order]
    buffer = io.BytesIO()
    images[0].save(
        buffer, "GIF", save_all=True, append_images=images[1:], duration=milliseconds, loop=0, optimize=False
    )
    write_whole(path, buffer.getvalue())
