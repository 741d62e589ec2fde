"""Make the picture sets of the tutorial from the hand-drawn parts in the package `robohash`.

    python data/avatars.py                              all three, under data/
    python data/avatars.py --sets robohash --count 50 --out /tmp/small
    python data/avatars.py --sets avatars --sheet cats.png
    python data/avatars.py --verify                     decode every picture, mend what is damaged

avatars      20,000 distinct cats of 64x64 in folders of a thousand; attributes.csv says which parts each is of
robohash     3,200 pictures of 256x256 in five class folders: cats, heads, humans, monsters, robots
edges2cats   1,200 pairs of 256x256 side by side: outline left, cat right; train 1,000, val 100, test 100

The same seed gives the same pictures. A run that was interrupted is continued by the same command; a set that is
complete is left alone. All three take one to two minutes on two cores, and 363 MB.
"""

from __future__ import annotations

import argparse
import csv
import io
import os
import random
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))  # when this file is imported from elsewhere

from avatar_parts import CATS, FURS, ROBOHASH, SCARVES, PartsError
from avatar_pictures import CLASSES, draw_cat, pick
from avatar_store import Plan, make_set
from avatar_workers import Picture, SetError, encode, write_whole
from PIL import Image

DATA = Path(__file__).resolve().parent
SEED = 1
# Raise this when the same settings would give other pictures: sets made before are then made again.
RECIPE = 1
HIDDEN = "hidden"  # the mouth of a cat whose scarf covers it
# These bodies and this bow have the same outline as another of another colour; a pair could not tell which is meant.
TWIN_BODIES = (CATS["body"].names.index("tan"), CATS["body"].names.index("cream"))
TWIN_ACCESSORY = CATS["accessory"].names.index("blue bow")

CREDITS = """The pictures in this folder were put together from hand-drawn parts that the package robohash carries
(https://github.com/e1ven/Robohash). Scaled, recombined and set before backgrounds.
"""
ARTISTS = {
    "set1": 'Robots ("set1") and backgrounds: Zikri Kader, CC-BY-3.0 or CC-BY-4.0',
    "set2": 'Monsters ("set2"): Hrvoje Novakovic, CC-BY-3.0',
    "set3": 'Robot heads ("set3"): Julian Peter Arias, CC-BY-3.0',
    "set4": 'Cats ("set4"): David Revoy, CC-BY-4.0, https://www.peppercarrot.com/extras/html/2016_cat-generator/',
    "set5": 'Humans ("set5"): Pablo Stanley, for https://avataaars.com/, "Free for personal and commercial use."',
}


def credit_file(*sets: str) -> dict[str, str]:
    """The file that says who drew the parts."""
    return {"CREDITS.txt": CREDITS + "".join(f"- {ARTISTS[name]}\n" for name in sets)}


def settings(seed: int, count: int) -> dict:
    """What the pictures of a set follow from."""
    return {"recipe": RECIPE, "robohash": ROBOHASH, "seed": seed, "count": count}


def distinct_cats(rng: random.Random, count: int, without_twins: bool = False) -> list[tuple[int, ...]]:
    """Draw cats no two of which look the same.

    Args:
        rng: source of the draws; a larger count begins with the same cats.
        count: how many.
        without_twins: leave out parts that another part equals in outline.

    Returns:
        The numbers of each cat's parts, in the order of `CATS`.

    Raises:
        SetError: there are not that many.
    """
    bodies, _, eyes, _, accessories = (len(group.names) for group in CATS.values())
    if without_twins:
        bodies, accessories = bodies - len(TWIN_BODIES), accessories - 1
    # All mouths look the same below a scarf, so cats with scarves are the first to run out.
    limit = int(0.9 * accessories * bodies * len(FURS) * eyes)
    if count > limit:
        raise SetError(f"there are too few cats that look different: --count can be at most {limit:,}.")
    seen, cats = set(), []
    while len(cats) < count:
        numbers = draw_cat(rng)
        # A cat that is there already keeps its accessory and gets other parts: each accessory is as likely.
        while (looks := numbers[:3] + (numbers[4:] if numbers[4] in SCARVES else numbers[3:])) in seen:
            numbers = draw_cat(rng)[:4] + numbers[4:]
        if without_twins and (numbers[0] in TWIN_BODIES or numbers[4] == TWIN_ACCESSORY):
            continue
        seen.add(looks)
        cats.append(numbers)
    return cats


def plan_avatars(seed: int, count: int) -> Plan:
    """Cats for the GANs: data/avatars/00/00000.png and so on, a thousand to a folder, and attributes.csv."""
    pictures = []
    table = io.StringIO()
    rows = csv.writer(table, lineterminator="\n")
    rows.writerow(["file", *CATS])
    for i, numbers in enumerate(distinct_cats(random.Random(f"avatars/{seed}"), count)):
        path = f"{i // 1000:02d}/{i:05d}.png"
        pictures.append(Picture(path, (numbers, f"avatars/{seed}/{i}")))
        words = dict(zip(CATS, (group.names[number] for group, number in zip(CATS.values(), numbers))))
        if numbers[-1] in SCARVES:
            words["mouth"] = HIDDEN
        rows.writerow([path, *words.values()])
    texts = {"attributes.csv": table.getvalue(), **credit_file("set4")}
    return Plan("avatars", settings(seed, count), "avatar_pictures:avatar", pictures, texts, 8000)


def plan_robohash(seed: int, count: int) -> Plan:
    """Five classes for T_11: data/robohash/cats/0000.png and so on, as many of each class as of the others."""
    pictures = sorted(
        Picture(f"{kind}/{i // len(CLASSES):04d}.png", (kind, f"robohash/{seed}/{kind}/{i // len(CLASSES)}"))
        for i, kind in ((i, CLASSES[i % len(CLASSES)]) for i in range(count))
    )
    texts = credit_file("set1", "set2", "set3", "set4", "set5")
    return Plan("robohash", settings(seed, count), "avatar_pictures:class_picture", pictures, texts, 36000)


def plan_edges2cats(seed: int, count: int) -> Plan:
    """Pairs for pix2pix: data/edges2cats/train/0000.png and so on; val and test are a twelfth each."""
    held_out = max(1, count // 12)
    names = ["train"] * (count - 2 * held_out) + ["val"] * held_out + ["test"] * held_out
    pictures, numbers_used = [], {}
    rng = random.Random(f"edges2cats/{seed}")
    for i, (part, numbers) in enumerate(zip(names, distinct_cats(rng, count, without_twins=True))):
        number = numbers_used[part] = numbers_used.get(part, -1) + 1
        place = random.Random(f"edges2cats/{seed}/{i}/place")
        size = pick(place, range(216, 257))
        left = pick(place, range(0, 257 - size))
        path = f"{part}/{number:04d}.png"
        pictures.append(Picture(path, (numbers, size, left, f"edges2cats/{seed}/{i}/hand")))
    return Plan(
        "edges2cats", settings(seed, count), "avatar_pairs:pair", pictures, credit_file("set4"), 60000
    )


# name -> (planner, number of pictures)
SETS = {
    "avatars": (plan_avatars, 20000),
    "robohash": (plan_robohash, 3200),
    "edges2cats": (plan_edges2cats, 1200),
}
# name -> (columns, rows, width and height of a tile) of its contact sheet
SHEETS = {"avatars": (12, 4, 64, 64), "robohash": (8, 5, 96, 96), "edges2cats": (4, 3, 216, 108)}


def sheet(name: str, seed: int, count: int, folder: Path) -> Image.Image:
    """A contact sheet of a finished set, RGB: evenly chosen pictures, row by row."""
    columns, rows, width, height = SHEETS[name]
    pictures = SETS[name][0](seed, count).pictures
    chosen = min(len(pictures), columns * rows)
    gap = 6
    page = Image.new("RGB", (columns * (width + gap) + gap, rows * (height + gap) + gap), (255, 255, 255))
    for i in range(chosen):
        with Image.open(folder / pictures[i * len(pictures) // chosen].path) as picture:
            tile = picture.convert("RGB").resize((width, height), Image.Resampling.LANCZOS)
        page.paste(tile, (gap + i % columns * (width + gap), gap + i // columns * (height + gap)))
    return page


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sets", nargs="+", choices=list(SETS), default=list(SETS), help="which sets (all)")
    parser.add_argument(
        "--out", type=Path, default=DATA, help="folder in which the sets' folders are made (data/)"
    )
    parser.add_argument("--count", type=int, help="pictures of each set (20,000, 3,200 and 1,200)")
    parser.add_argument("--seed", type=int, default=SEED, help="pictures follow from it (%(default)s)")
    parser.add_argument(
        "--workers", type=int, default=os.cpu_count() or 1, help="processes (one for each core)"
    )
    parser.add_argument(
        "--remake", action="store_true", help="replace sets that were made with other settings"
    )
    parser.add_argument("--verify", action="store_true", help="decode every picture, mend what is damaged")
    parser.add_argument(
        "--sheet", type=Path, metavar="FILE", help="also write a contact sheet of the one set, a PNG"
    )
    parser.add_argument("--quiet", action="store_true", help="no progress bars")
    args = parser.parse_args(argv)
    if args.count is not None and args.count < 12:
        parser.error(f"--count must be at least 12, not {args.count}")
    if args.workers < 1:
        parser.error(f"--workers must be at least 1, not {args.workers}")
    if args.sheet and len(args.sets) != 1:
        parser.error("--sheet shows one set: name it with --sets")
    if args.sheet and args.sheet.suffix.lower() != ".png":
        parser.error(f"--sheet writes a PNG, so its name must end in .png: {args.sheet}")
    return args


def main(argv: list[str] | None = None) -> int:
    """Make the sets that the command line asks for; the exit status: 0, or 1 after a message on stderr."""
    args = parse_args(argv)
    try:
        for name in args.sets:
            planner, count = SETS[name]
            count = args.count or count
            folder = args.out / name
            options = {"workers": args.workers, "remake": args.remake, "thorough": args.verify}
            result = make_set(planner, args.seed, count, folder, progress=not args.quiet, **options)
            did = f"{result.made:,} made in {result.seconds:.0f} s" if result.made else "complete"
            print(f"{name}: {result.pictures:,} pictures, {result.size / 1e6:.1f} MB, {did}  ({folder})")
            if args.verify:
                print(f"{name}: every picture decoded; SHA-256 of the pixels {result.pixels}")
            if args.sheet:
                args.sheet.parent.mkdir(parents=True, exist_ok=True)
                write_whole(args.sheet, encode(sheet(name, args.seed, count, folder)))
                print(f"{name}: contact sheet {args.sheet}, {args.sheet.stat().st_size / 1000:.0f} kB")
    except (SetError, PartsError) as error:
        print(f"{Path(sys.argv[0]).name}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nInterrupted; the same command continues.", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
