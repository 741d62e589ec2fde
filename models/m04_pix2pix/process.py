"""Make pairs A|B side by side, the form that pix2pix learns from, out of pictures you have.

    python process.py --operation combine --input_dir sketches --b_dir paintings --output_dir pairs
    python process.py --operation edges --input_dir photos --output_dir pairs        # outline → photo
    python process.py --operation grayscale --input_dir photos --output_dir pairs    # grey → colour
    python process.py --operation downscale --input_dir photos --output_dir pairs    # coarse → fine
    python process.py --operation blank --input_dir photos --output_dir pairs        # middle cut out → whole
    python process.py --operation resize --input_dir photos --output_dir squares     # single squares, no pairs

Names are kept, as PNG. Files that cannot be read are skipped, counted and named; those already made are left alone.
"""

from __future__ import annotations

import argparse
import io
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from runner import quiet_start

quiet_start()  # the runner imports TensorFlow
import numpy as np
import pairs
import runner
from pictures import list_pictures
from PIL import Image, ImageFilter
from tqdm import tqdm

OPERATIONS = ("combine", "edges", "grayscale", "downscale", "blank", "resize")


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """The flags of the tool."""
    parser = argparse.ArgumentParser(
        description="Make A|B pairs from two folders, or from one folder of photos."
    )
    add = parser.add_argument
    add("--input_dir", required=True, help="folder of pictures: A of `combine`, photos otherwise")
    add("--b_dir", help="`combine`: folder with B of the same names (endings may differ)")
    add("--output_dir", required=True, help="folder for the pairs")
    add("--operation", choices=OPERATIONS, required=True)
    add("--size", type=int, default=256, help="side of each half (default 256)")
    add(
        "--pad",
        action="store_true",
        help="keep all of a picture, with white bars, instead of cutting a square",
    )
    add("--factor", type=int, default=8, help="`downscale`: how many times coarser A is (default 8)")
    add("--sigma", type=float, default=1.5, help="`edges`: blur before the search, in pixels (default 1.5)")
    add(
        "--share",
        type=float,
        default=0.5,
        help="`blank`: side of the hole, as a share of the side (default 0.5)",
    )
    args = parser.parse_args(argv)
    if (args.operation == "combine") != bool(args.b_dir):
        parser.error("--b_dir goes with --operation combine, which needs it")
    if args.size < 2 or args.factor < 1 or args.sigma <= 0 or not 0 < args.share <= 1:
        parser.error("--size must be 2 or more, --factor 1 or more, --sigma above 0, --share in (0, 1]")
    return args


# ------------------------------------------------------------------------------------- what A is made of the photo
def grayscale(photo: np.ndarray) -> np.ndarray:
    """Brightness alone: `(h, w, 3)` uint8 → the same shape, three equal channels."""
    return np.repeat(np.asarray(Image.fromarray(photo).convert("L"))[..., None], 3, axis=2)


def downscale(photo: np.ndarray, factor: int) -> np.ndarray:
    """What is left after reducing a picture `factor` times and enlarging it again."""
    image = Image.fromarray(photo)
    small = image.resize(
        (max(1, image.width // factor), max(1, image.height // factor)), Image.Resampling.BOX
    )
    return np.asarray(small.resize(image.size, Image.Resampling.BICUBIC))


def blank(photo: np.ndarray, share: float) -> np.ndarray:
    """The picture with a white square in the middle, `share` of the side long."""
    height, width = photo.shape[:2]
    rows, columns = round(height * share), round(width * share)
    top, left = (height - rows) // 2, (width - columns) // 2
    result = photo.copy()
    result[top : top + rows, left : left + columns] = 255
    return result


def edges(photo: np.ndarray, sigma: float = 1.5, low: float = 0.12, high: float = 0.3) -> np.ndarray:
    """Dark lines on white where brightness or colour changes (Canny 1986).

    1. Blur, so that grain makes no edges. 2. The slope of each colour channel (Sobel), the steepest one counts.
    3. Keep what is steepest across the edge: lines one pixel wide. 4. Keep lines that are steep somewhere (`high`),
    along as far as they stay above `low`; both are shares of the steepest slope of the picture.

    Args:
        photo: `(h, w, 3)` uint8.

    Returns:
        `(h, w, 3)` uint8, 40 on lines and 255 elsewhere, as the outlines of edges2cats.
    """
    from scipy import ndimage

    smooth = ndimage.gaussian_filter(photo.astype(np.float32), (sigma, sigma, 0))
    down, right = ndimage.sobel(smooth, axis=0), ndimage.sobel(smooth, axis=1)
    strengths = np.hypot(down, right)
    steepest = strengths.argmax(axis=2)[..., None]
    strength, dy, dx = (np.take_along_axis(a, steepest, 2)[..., 0] for a in (strengths, down, right))
    # The two neighbours across the edge: the direction of the slope, rounded to 0, 45, 90 or 135 degrees.
    sector = np.round(np.arctan2(dy, dx) / (np.pi / 4)).astype(int) % 4
    padded = np.pad(strength, 1)
    thin = np.zeros(strength.shape, bool)
    height, width = strength.shape
    for number, (y, x) in enumerate(((0, 1), (1, 1), (1, 0), (1, -1))):
        ahead = padded[1 + y : 1 + y + height, 1 + x : 1 + x + width]
        behind = padded[1 - y : 1 - y + height, 1 - x : 1 - x + width]
        thin |= (sector == number) & (strength > ahead) & (strength >= behind)
    # Below this slope it is grain, however flat the picture: 2 of 255 levels a pixel, times the filter's sum of 8.
    top = max(float(strength.max()), 16.0 / high)
    labels, _ = ndimage.label(thin & (strength > low * top), np.ones((3, 3)))
    strong = np.unique(labels[thin & (strength > high * top)])
    lines = np.isin(labels, strong[strong > 0])
    # A pen is about two pixels wide.
    drawn = Image.fromarray(np.where(lines, 40, 255).astype(np.uint8)).filter(ImageFilter.MinFilter(3))
    return np.repeat(np.asarray(drawn)[..., None], 3, axis=2)


def make_a(args: argparse.Namespace) -> Callable[[np.ndarray], np.ndarray]:
    """The function that makes A of a photo, as `--operation` says."""
    return {
        "edges": lambda photo: edges(photo, args.sigma),
        "grayscale": grayscale,
        "downscale": lambda photo: downscale(photo, args.factor),
        "blank": lambda photo: blank(photo, args.share),
    }[args.operation]


# ----------------------------------------------------------------------------------------------------------- files
def read_square(path: Path, size: int, pad: bool) -> np.ndarray:
    """A picture as `(size, size, 3)` uint8: the middle square cut out, or all of it between white bars.

    Raises:
        ValueError: it cannot be read.
    """
    try:
        with Image.open(path) as picture:
            picture = pairs.opaque(picture)
    except pairs.UNREADABLE as error:
        raise ValueError(str(error).splitlines()[0] if str(error) else type(error).__name__) from None
    side = (max if pad else min)(picture.size)
    square = Image.new("RGB", (side, side), "white")
    square.paste(picture, ((side - picture.width) // 2, (side - picture.height) // 2))
    return np.asarray(square.resize((size, size), Image.Resampling.LANCZOS))


def partners(a_paths: list[Path], a_dir: Path, b_dir: Path) -> dict[Path, Path]:
    """B of each A: the file of the same name, whatever its ending.

    Raises:
        Stop: an A has no B, or several.
    """
    by_name: dict[Path, list[Path]] = {}
    for path in list_pictures(b_dir):
        by_name.setdefault(path.relative_to(b_dir).with_suffix(""), []).append(path)
    found = {path: by_name.get(path.relative_to(a_dir).with_suffix(""), []) for path in a_paths}
    odd = [f"{path.name} ({len(matches)})" for path, matches in found.items() if len(matches) != 1]
    if odd:
        raise runner.Stop(
            f"{len(odd)} pictures of {a_dir} have not exactly one partner of the same name in {b_dir}: "
            + ", ".join(odd[:5])
        )
    return {path: matches[0] for path, matches in found.items()}


def main(argv: list[str] | None = None) -> None:
    """Make the pairs."""
    args = parse_args(argv)
    source, target = Path(args.input_dir), Path(args.output_dir)
    for folder in (source, Path(args.b_dir or source)):
        if not folder.is_dir():
            raise runner.Stop(f"{folder} is not a folder")
    paths = [path for path in list_pictures(source) if target.resolve() not in path.resolve().parents]
    if not paths:
        raise runner.Stop(f"{source} holds no pictures outside of {target}")
    b_of = partners(paths, source, Path(args.b_dir)) if args.b_dir else {}

    def make(path: Path) -> str | None:
        place = target / path.relative_to(source).with_suffix(".png")
        if place.exists():
            return None
        try:
            picture = read_square(path, args.size, args.pad)
            if args.operation == "combine":
                halves = [picture, read_square(b_of[path], args.size, args.pad)]
            elif args.operation == "resize":
                halves = [picture]
            else:
                halves = [make_a(args)(picture), picture]
        except ValueError as error:
            return f"{path.name} ({error})"
        buffer = io.BytesIO()
        Image.fromarray(np.concatenate(halves, axis=1)).save(buffer, "PNG")
        runner.write_whole(place, buffer.getvalue())
        return None

    with ThreadPoolExecutor() as pool:
        results = list(tqdm(pool.map(make, paths), total=len(paths), unit="picture", disable=None))
    bad = [result for result in results if result]
    if len(bad) == len(paths):
        raise runner.Stop(f"none of the {len(bad)} pictures in {source} can be read: {', '.join(bad[:3])}")
    if bad:
        print(f"skipped {len(bad)} of {len(paths)} files that cannot be read: {', '.join(bad[:3])}")
    kind = "squares" if args.operation == "resize" else "pairs"
    print(f"{len(paths) - len(bad)} {kind} of {args.size}×{args.size} in {target}")


if __name__ == "__main__":
    runner.guard(main)
