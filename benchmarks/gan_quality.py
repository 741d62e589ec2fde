"""Compare generated pictures with real ones, in numbers.

    python -m benchmarks.gan_quality FOLDER                     a folder of pictures, or a .npy file of samples
    python -m benchmarks.gan_quality FOLDER --json OUT.json     the same, written to a file as well
    python -m benchmarks.gan_quality FOLDER --only attributes   one part, in seconds
    python -m benchmarks.gan_quality --floor                    real against real: results/gan_floor.json
    python -m benchmarks.gan_quality --train_classifier         train the attribute classifier anew

Five parts. `attributes`: which of the 66 drawn parts (body colours, furs, eyes, mouths, accessories) a classifier
finds, and how often. `sliced_wasserstein`: distance of patches over three scales. `frechet`: distance of features
of that classifier (not of Inception: the figure compares with others of this table only). `repeats`: whether two
pictures of a 64-grid are alike. `copies`: whether samples are training pictures.

Distances of finite sets are above zero even between two halves of the real set; that floor stands beside each. It
holds for 5,000 pictures: fewer give larger values.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import numpy as np

from benchmarks import gan_classifier, gan_coverage, gan_distances
from benchmarks.gan_pictures import QualityError, as_pictures, read_pictures, read_real
from tools.machine import facts
from utils.lesson import DATA, RESULTS, write_json

REAL = DATA / "avatars"
COUNT = 5000  # pictures compared; the floors hold for this number
PARTS = ("attributes", "sliced_wasserstein", "frechet", "repeats", "copies")
FLOOR = RESULTS / "gan_floor.json"
FLOOR_SPLITS = 3


def compare(
    generated: np.ndarray,
    real: np.ndarray,
    real_attributes: dict[str, np.ndarray] | None = None,
    parts: tuple[str, ...] = PARTS,
    seed: int = 1,
    classifier: gan_classifier.Classifier | None = None,
) -> dict:
    """Measure generated pictures against real ones.

    Args:
        generated: (n, 64, 64, 3), uint8, or floating point from -1 to 1.
        real: uint8 (m, 64, 64, 3), all real pictures; as many as generated are drawn from them for the distances.
        real_attributes: attribute -> (m,) of words; None leaves the part `attributes` out.
        parts: which of `PARTS`.
        seed: of the draw of real pictures, of patches and directions.
        classifier: the loaded attribute classifier, when the caller has it already.

    Returns:
        count, seed, and one entry for each part.

    Raises:
        QualityError: an array that holds no pictures, or only one.
    """
    generated, real = as_pictures(generated, "generated"), as_pictures(real, "real")
    if min(len(generated), len(real)) < 2:
        raise QualityError(
            "one picture is too few to compare; give at least two generated and two real ones."
        )
    result = {"count": len(generated), "seed": seed}
    chosen = np.random.default_rng((seed, 0)).choice(len(real), min(len(generated), len(real)), replace=False)
    sample = real[np.sort(chosen)]
    probabilities = None
    if real_attributes is not None or "frechet" in parts:
        classifier = classifier or gan_classifier.Classifier.load()
        features, probabilities = classifier(generated)
    if real_attributes is None:
        probabilities = None  # the set has other things in it than the classifier knows
    elif "attributes" in parts:
        result["attributes"] = gan_coverage.coverage(probabilities, classifier.values, real_attributes)
    if "frechet" in parts:
        distance = gan_distances.frechet(features, classifier(sample)[0])
        result["frechet"] = {"features": gan_classifier.FEATURES_NAME, "distance": distance}
    if "sliced_wasserstein" in parts:
        result["sliced_wasserstein"] = gan_distances.sliced_wasserstein(generated, sample, seed)
    if "repeats" in parts:
        of_grid = probabilities and {kind: p[: gan_coverage.GRID] for kind, p in probabilities.items()}
        result["repeats"] = gan_coverage.repeats(generated[: gan_coverage.GRID], real, of_grid, seed)
    if "copies" in parts:
        result["copies"] = gan_coverage.copies(generated, real, seed)
    return result


def headline(result: dict) -> dict[str, float]:
    """The figures of a result that go into tables, name -> number; what was not measured is left out."""
    paths = {
        "values covered": ("attributes", "covered"),
        "… in at least 5 samples": ("attributes", "covered_often"),
        "… a quarter as often as real": ("attributes", "covered_well"),
        "sure of all five attributes": ("attributes", "sure_of_all"),
        "frequencies off by": ("attributes", "total_variation"),
        "combinations of five": ("attributes", "combinations"),
        "sliced Wasserstein 64": ("sliced_wasserstein", "64"),
        "sliced Wasserstein 32": ("sliced_wasserstein", "32"),
        "sliced Wasserstein 16": ("sliced_wasserstein", "16"),
        "sliced Wasserstein mean": ("sliced_wasserstein", "mean"),
        "Fréchet (classifier features)": ("frechet", "distance"),
        "closest pair of a 64-grid": ("repeats", "closest"),
        "alike pairs of a 64-grid": ("repeats", "alike"),
        "pairs with equal attributes": ("repeats", "same_attributes"),
        "distance to nearest real": ("copies", "median"),
        "closer than real pairs": ("copies", "closer"),
    }
    return {name: result[part][key] for name, (part, key) in paths.items() if key in result.get(part, {})}


def describe(result: dict, floor: dict | None = None) -> str:
    """A result as lines to read, the real-against-real figures beside it."""
    beside = (floor or {}).get("mean", {})
    lines = [f"{result['count']:,} pictures" + (f"{'real/real':>46}" if beside else "")]
    for name, value in headline(result).items():
        lines.append(f"  {name:<32} {value:10.4g}" + (f"{beside[name]:14.4g}" if name in beside else ""))
    if "attributes" in result:
        lines.append(gan_coverage.describe(result["attributes"]))
    if beside and result["count"] != floor["count"]:
        lines.append(
            f"The right column holds for {floor['count']:,} pictures; with another number it is another one."
        )
    return "\n".join(lines)


def measure_floor(count: int = COUNT, splits: int = FLOOR_SPLITS) -> dict:
    """Real against real: `count` pictures drawn at random against those that were not drawn, several times.

    Returns:
        mean, least and most of each figure of `headline` over the splits.
    """
    pictures, attributes = read_real(REAL)
    classifier = gan_classifier.Classifier.load()
    runs = []
    for seed in range(1, splits + 1):
        drawn = np.zeros(len(pictures), bool)
        drawn[np.random.default_rng((seed, 3)).choice(len(pictures), count, replace=False)] = True
        others = {kind: column[~drawn] for kind, column in attributes.items()}
        # Shuffled, so that the first 64 are not neighbours in the folder.
        part = np.random.default_rng((seed, 4)).permutation(pictures[drawn])
        result = compare(part, pictures[~drawn], others, seed=seed, classifier=classifier)
        runs.append(headline(result))
        print(f"split {seed} of {splits}\n{describe(result)}", flush=True)
    table = {name: [run[name] for run in runs] for name in runs[0]}
    return {
        "count": count,
        "splits": splits,
        "features": gan_classifier.FEATURES_NAME,
        "mean": {name: float(np.mean(values)) for name, values in table.items()},
        "least": {name: min(values) for name, values in table.items()},
        "most": {name: max(values) for name, values in table.items()},
        "classifier": classifier.facts,
        "machine": facts(),
    }


def train_classifier() -> None:
    """Train the attribute classifier on the avatars and write its weights."""
    pictures, attributes = read_real(REAL)
    if attributes is None:
        raise QualityError(f"{REAL} has no attributes.csv; make the set with:  make data")
    classifier = gan_classifier.train(pictures, attributes)
    classifier.save(gan_classifier.WEIGHTS)
    size = gan_classifier.WEIGHTS.stat().st_size
    print(f"wrote {gan_classifier.WEIGHTS.name}, {size / 1000:.0f} kB, data {classifier.facts['data'][:16]}…")


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("generated", type=Path, nargs="?", help="folder of pictures, or .npy of samples")
    parser.add_argument("--real", type=Path, default=REAL, help="folder of real pictures (data/avatars)")
    parser.add_argument("--count", type=int, default=COUNT, help="pictures to compare (%(default)s)")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS), help="which parts (all)")
    parser.add_argument("--seed", type=int, default=1, help="of random draws (%(default)s)")
    parser.add_argument("--json", type=Path, metavar="OUT", help="write the figures to this file")
    parser.add_argument("--floor", action="store_true", help="measure real against real and store it")
    parser.add_argument("--train_classifier", action="store_true", help="train the attribute classifier")
    args = parser.parse_args(argv)
    if args.generated is None and not (args.train_classifier or args.floor):
        parser.error("name a folder of generated pictures or a .npy file")
    if args.count < 2:
        parser.error(f"--count must be at least 2, not {args.count}")
    return args


def main(argv: list[str] | None = None) -> int:
    """Do what the command line asks; the exit status: 0, or 1 after a message on stderr."""
    args = parse_args(argv)
    try:
        if args.train_classifier:
            train_classifier()
        if args.floor:
            write_json(FLOOR, measure_floor())
        if args.generated is None:
            return 0
        generated = read_pictures(args.generated, args.count)
        real, attributes = read_real(args.real)
        if len(generated) < args.count:
            print(
                f"{args.generated} holds {len(generated):,} pictures, not {args.count:,}; all are compared."
            )
        if attributes is None:
            print(f"{args.real} has no attributes.csv: the part `attributes` is left out.")
        result = compare(generated, real, attributes, tuple(args.only), args.seed)
        floor = json.loads(FLOOR.read_text(encoding="utf-8")) if FLOOR.exists() else None
        print(describe(result, floor if args.real == REAL else None))
        if args.json:
            write_json(args.json, {"generated": args.generated.name, **result, "machine": facts()})
            print(f"wrote {args.json}")
    except QualityError as error:
        print(f"gan_quality: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
