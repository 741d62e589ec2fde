"""Pairs of pictures A|B side by side: found, decoded once, jittered; and photos split into brightness and colour.

A pair is one picture file, twice as wide as high: A on the left, B on the right. That is the form in which the sets of
the paper are published (facades, maps, edges2shoes …); `process.py` makes it from other folders.
"""

from __future__ import annotations

import hashlib
import io
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import layers
import numpy as np
import tensorflow as tf
from pictures import HERE, list_pictures
from PIL import Image, UnidentifiedImageError
from runner import Stop
from tqdm import tqdm

UNREADABLE = (OSError, UnidentifiedImageError, ValueError, SyntaxError, Image.DecompressionBombError)
PAIRS_HELP = "a pair is one file, A left and B right, twice as wide as high; process.py makes pairs"


# --------------------------------------------------------------------------------------------------------- files
def find_folder(input_dir: str | None, part: str) -> Path:
    """The folder that `--input_dir` names, else `data/edges2cats/<part>` of the repository.

    Raises:
        Stop: there is none; the message names what was searched and what makes one.
    """
    if input_dir:
        if not Path(input_dir).is_dir():
            raise Stop(f"--input_dir {input_dir} is not a folder")
        return Path(input_dir)
    roots = dict.fromkeys([HERE, *HERE.parents[:2], Path.cwd()])
    searched = [root / "data" / "edges2cats" / part for root in roots]
    for folder in searched:
        if folder.is_dir():
            return folder
    raise Stop(
        f"no pairs. Searched: {', '.join(map(str, searched))}. In the repository `make data` makes them; "
        f"--input_dir FOLDER takes your own ({PAIRS_HELP})."
    )


def halves(picture: Image.Image, aspect_ratio: float = 1.0) -> tuple[Image.Image, Image.Image]:
    """A and B of a pair.

    Args:
        picture: A|B side by side. A half is square, or as wide as `aspect_ratio` times its height.

    Raises:
        ValueError: not a pair; the message says why.
    """
    width, height = picture.size
    if width % 2:
        raise ValueError(f"{width}×{height}: an odd width has no two equal halves")
    if all(abs(width / 2 / height / ratio - 1) > 0.02 for ratio in (1.0, aspect_ratio)):
        raise ValueError(f"{width}×{height} is no pair, which is twice as wide as high")
    middle = width // 2
    return picture.crop((0, 0, middle, height)), picture.crop((middle, 0, width, height))


def opaque(picture: Image.Image) -> Image.Image:
    """RGB; what is transparent becomes white."""
    if "A" in picture.getbands() or "transparency" in picture.info:
        picture = picture.convert("RGBA")
        picture = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture)
    return picture.convert("RGB")


def read(path: Path, side: int, lab: bool = False, aspect_ratio: float = 1.0) -> np.ndarray:
    """One pair as uint8 `(side, 2 · side, 3)`, or with `lab` one photo as `(side, side, 3)`.

    Each half is scaled to a square, as in the paper's code; outputs are stretched back by `--aspect_ratio`.

    Raises:
        ValueError: it cannot be read as a picture, or it is no pair.
    """
    try:
        with Image.open(path) as picture:
            parts = [picture] if lab else halves(picture, aspect_ratio)
            # Decoding happens here: a file that was cut off says so now.
            parts = [opaque(part) for part in parts]
    except UNREADABLE as error:
        raise ValueError(str(error).splitlines()[0] if str(error) else type(error).__name__) from None
    scaled = [
        part if part.size == (side, side) else part.resize((side, side), Image.Resampling.LANCZOS)
        for part in parts
    ]
    return np.concatenate([np.asarray(part) for part in scaled], axis=1)


def skipped(bad: list[str], total: int, folder: Path, lab: bool) -> str:
    """The sentence about files that cannot be used.

    Raises:
        Stop: none of them can.
    """
    names = ", ".join(bad[:3]) + (", …" if len(bad) > 3 else "")
    kind = "can be read as a picture" if lab else "is a readable pair"
    if len(bad) == total:
        hint = "" if lab else f". Here {PAIRS_HELP} (python process.py --help)."
        raise Stop(f"none of the {total} pictures in {folder} {kind}: {names}{hint}")
    return f"skipped {len(bad)} of {total} files of which none {kind}: {names}"


def stored_side(paths: list[Path], crop: int, scale_size: int) -> int:
    """The side at which pairs are kept: the files' own height, but not below `crop` or above `scale_size`."""
    for path in paths[:20]:
        try:
            with Image.open(path) as picture:
                return int(np.clip(picture.height, crop, scale_size))
        except UNREADABLE:
            continue
    return crop


def load(folder: Path, args, cache: Path, say=print) -> np.ndarray:
    """All pairs of a folder as one memory-mapped array, decoded once.

    Files that cannot be used are skipped, counted and named. The array stays in `cache` under a name that holds a
    fingerprint of the files' paths, sizes and times, so a changed folder is read anew.

    Args:
        folder: where the pairs are (with `args.lab_colorization`: photos), subfolders included.
        args: `crop`, `scale_size`, `lab_colorization`, `aspect_ratio`.

    Returns:
        `(pairs, side, 2 · side, 3)` uint8, or `(photos, side, side, 3)`; read-only.

    Raises:
        Stop: there is nothing, or nothing that can be used.
    """
    paths, lab = list_pictures(folder), args.lab_colorization
    side = stored_side(paths, args.crop, args.scale_size)
    print_of = hashlib.sha256(f"{side} {lab} {args.aspect_ratio}".encode())
    for path in paths:
        facts = path.stat()
        print_of.update(f"{path.relative_to(folder)}\0{facts.st_size}\0{facts.st_mtime_ns}\n".encode())
    where = hashlib.sha256(str(folder.resolve()).encode()).hexdigest()[:8]
    stem = f"{folder.resolve().parent.name}_{folder.resolve().name}_{side}{'_photos' if lab else ''}_{where}"
    target = cache / f"{stem}_{print_of.hexdigest()[:16]}.npy"
    if not target.exists():
        cache.mkdir(parents=True, exist_ok=True)
        _decode(folder, paths, (side, side if lab else 2 * side, 3), args, target, say)
        for stale in set(cache.glob(f"{stem}_*.npy")) - {target}:
            stale.unlink(missing_ok=True)
    array = np.load(target, mmap_mode="r")
    kind = "photos" if lab else "pairs"
    say(f"{len(array):,} {kind} of {side}×{side} from {'/'.join(folder.resolve().parts[-2:])}")
    return array


def _decode(folder: Path, paths: list[Path], shape: tuple[int, int, int], args, target: Path, say) -> None:
    """Decode with threads into `target`, whole or not at all; `shape` of one item."""

    def try_to_read(path: Path) -> np.ndarray | str:
        try:
            return read(path, shape[0], args.lab_colorization, args.aspect_ratio)
        except ValueError as error:
            return f"{path.name} ({error})"

    def header(count: int) -> bytes:
        buffer = io.BytesIO()
        facts = {"descr": "|u1", "fortran_order": False, "shape": (count, *shape)}
        np.lib.format.write_array_header_1_0(buffer, facts)
        return buffer.getvalue()  # numpy pads it, so that its length does not depend on the count

    part = target.with_name(f".{target.name}.{os.getpid()}.part")
    good, bad = 0, []
    try:
        bar = tqdm(total=len(paths), unit="picture", desc="reading pairs", leave=False, disable=None)
        with open(part, "wb") as file, ThreadPoolExecutor() as pool, bar:
            file.write(header(len(paths)))
            for first in range(0, len(paths), 64):  # in portions: decoded pictures must not pile up in memory
                for result in pool.map(try_to_read, paths[first : first + 64]):
                    bar.update()
                    if isinstance(result, str):
                        bad.append(result)
                    else:
                        file.write(result.tobytes())
                        good += 1
            file.seek(0)
            file.write(header(good))
        if bad:
            say(skipped(bad, len(paths), folder, args.lab_colorization))
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)


# -------------------------------------------------------------------------------------------- what a network sees
def jitter(both: tf.Tensor, seed: tf.Tensor, crop: int, scale_size: int, flip: bool) -> tf.Tensor:
    """Scale pictures to `scale_size`, cut a random square of `crop`, mirror half of them.

    Scaling and cutting are one bilinear sampling: only the pixels that stay are computed.

    Args:
        both: `(batch, side, side, channels)` uint8; A and B in one picture's channels move together.
        seed: of `tf.random.stateless_uniform`, `(2,)`.

    Returns:
        `(batch, crop, crop, channels)` float32, 0 to 255.
    """
    count, side = both.shape[0], both.shape[1]
    draw = tf.random.stateless_uniform([3, count], seed)
    first = tf.floor(draw[:2] * (scale_size - crop + 1))  # (2, batch): upper and left rim of the cut
    # Where the first and the last pixel of the cut lie in the stored picture, as a share of its side.
    place = lambda pixel: tf.clip_by_value(((pixel + 0.5) * side / scale_size - 0.5) / (side - 1), 0.0, 1.0)
    (top, left), (bottom, right) = tf.unstack(place(first)), tf.unstack(place(first + (crop - 1)))
    if flip:
        left, right = tf.where(draw[2] < 0.5, left, right), tf.where(draw[2] < 0.5, right, left)
    boxes = tf.stack([top, left, bottom, right], axis=1)
    return tf.image.crop_and_resize(both, boxes, tf.range(count), [crop, crop])


def rows_of_batch(
    batch: tf.Tensor, step: tf.Tensor, args, training: bool = True
) -> tuple[tf.Tensor, tf.Tensor]:
    """Inputs and targets of this replica's share of a batch, as networks see them.

    Args:
        batch: uint8, `(share, side, 2 · side, 3)`, or `(share, side, side, 3)` with `args.lab_colorization`.
        step: the jitter is a function of (seed, number of the picture: step · batch size + row of the global batch).

    Returns:
        Inputs and targets `(share, crop, crop, channels)` float32 in [-1, 1].
    """
    if not args.lab_colorization:
        batch = tf.concat(tf.split(batch, 2, axis=2), axis=3)  # (share, side, side, 6)
    share = batch.shape[0]
    if training:
        context = tf.distribute.get_replica_context()
        first = step * args.batch_size + tf.cast(context.replica_id_in_sync_group, tf.int64) * share
        rows = []
        for row in range(share):
            seed = layers.noise_seed(args.seed, first + row, 6)
            rows.append(jitter(batch[row : row + 1], seed, args.crop, args.scale_size, args.flip))
        pictures = tf.concat(rows, axis=0)
    else:
        pictures = tf.cast(batch, tf.float32)
    if args.lab_colorization:
        lab = rgb_to_lab(pictures / 255.0)
        a, b = lab_to_network(lab)
    else:
        a, b = tf.split(pictures / 127.5 - 1.0, 2, axis=3)
    return (a, b) if args.which_direction == "AtoB" else (b, a)


def to_rgb(inputs: tf.Tensor, outputs: tf.Tensor, args) -> tf.Tensor:
    """What a network gave, as colours to look at: `(batch, crop, crop, 3)` float32 in [0, 1].

    Args:
        inputs, outputs: `(batch, crop, crop, channels)` in [-1, 1]. With `--lab_colorization` the one holds the
            brightness, the other the colour, and they only make a picture together.
    """
    if not args.lab_colorization:
        return tf.clip_by_value((outputs + 1.0) / 2.0, 0.0, 1.0)
    lightness, colour = (inputs, outputs) if args.which_direction == "AtoB" else (outputs, inputs)
    return lab_to_rgb(network_to_lab(lightness, colour))


def show_input(inputs: tf.Tensor, args) -> tf.Tensor:
    """An input as a picture `(batch, crop, crop, 3)` in [0, 1]; a colour channel alone is shown at half brightness."""
    if not args.lab_colorization:
        return (inputs + 1.0) / 2.0
    if args.which_direction == "AtoB":
        return tf.repeat((inputs + 1.0) / 2.0, 3, axis=3)
    return lab_to_rgb(network_to_lab(tf.zeros_like(inputs[..., :1]), inputs))


# ------------------------------------------------------------------------------------------------- L*a*b* colours
# sRGB (IEC 61966-2-1) to CIE L*a*b* with the white point D65. L runs from 0 to 100, a and b from about -110 to 110.
RGB_TO_XYZ = np.array(
    [
        [0.412453, 0.357580, 0.180423],
        [0.212671, 0.715160, 0.072169],
        [0.019334, 0.119193, 0.950227],
    ],
    np.float32,
)
WHITE = np.float32(RGB_TO_XYZ.sum(axis=1))  # what white light of full strength gives
BEND = 6 / 29  # below this, the cube root goes over into a straight line


def rgb_to_lab(rgb: tf.Tensor) -> tf.Tensor:
    """`(…, 3)` sRGB in [0, 1] → `(…, 3)` L*, a*, b*."""
    linear = tf.where(rgb <= 0.04045, rgb / 12.92, ((tf.maximum(rgb, 0.04045) + 0.055) / 1.055) ** 2.4)
    share = tf.tensordot(linear, tf.constant(RGB_TO_XYZ.T), 1) / WHITE
    bent = tf.where(share > BEND**3, tf.maximum(share, BEND**3) ** (1 / 3), share / (3 * BEND**2) + 4 / 29)
    x, y, z = tf.unstack(bent, axis=-1)
    return tf.stack([116.0 * y - 16.0, 500.0 * (x - y), 200.0 * (y - z)], axis=-1)


def lab_to_rgb(lab: tf.Tensor) -> tf.Tensor:
    """`(…, 3)` L*, a*, b* → `(…, 3)` sRGB; colours that a screen cannot show are clipped to [0, 1]."""
    lightness, a, b = tf.unstack(lab, axis=-1)
    y = (lightness + 16.0) / 116.0
    bent = tf.stack([y + a / 500.0, y, y - b / 200.0], axis=-1)
    xyz = tf.where(bent > BEND, bent * bent * bent, 3 * BEND**2 * (bent - 4 / 29)) * WHITE
    linear = tf.clip_by_value(tf.tensordot(xyz, tf.constant(np.linalg.inv(RGB_TO_XYZ).T), 1), 0.0, 1.0)
    return tf.where(
        linear <= 0.0031308, linear * 12.92, 1.055 * tf.maximum(linear, 0.0031308) ** (1 / 2.4) - 0.055
    )


def lab_to_network(lab: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Brightness `(…, 1)` and colour `(…, 2)`, both in [-1, 1], from L*a*b*."""
    return lab[..., :1] / 50.0 - 1.0, lab[..., 1:] / 110.0


def network_to_lab(lightness: tf.Tensor, colour: tf.Tensor) -> tf.Tensor:
    """The inverse of `lab_to_network`."""
    return tf.concat([(lightness + 1.0) * 50.0, colour * 110.0], axis=-1)
