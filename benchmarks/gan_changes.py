"""What each change of DCGAN's CPU preset brings: short trainings, each with one change taken back.

    python -m benchmarks.gan_changes        # about ten minutes; writes benchmarks/results/gan_changes.json

Every variant trains `models/m02_dcgan/dcgan.py` for the same number of steps on `data/avatars`, in bfloat16, which a
processor with AVX-512-BF16 computes in half the time, and without the fall of the learning rate at the end. Its
`generate.py` draws 5,000 samples, and the attribute classifier says what is in them. A variant that is done is not
run again; `build/gan_changes` keeps the trainings.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

from benchmarks import gan_classifier, gan_quality
from benchmarks.gan_pictures import read_real
from benchmarks.gan_speed import PAPER
from benchmarks.gan_table import draw_samples
from tools.machine import facts
from utils.lesson import REPO, RESULTS, write_json

PAPER_RATES = ["--lr_g", "2e-4", "--lr_d", "2e-4", "--beta_2", "0.999"]
VARIANTS = {
    "the CPU preset": [],
    "without R1": ["--r1", "0"],
    "without the spread of the batch": ["--no-batch_spread"],
    "with batch normalization in the discriminator": ["--d_norm", "batch"],
    "with initial weights N(0, 0.02²)": ["--no-he"],
    "with learning rates 0.0002 and β₂ 0.999": PAPER_RATES,
    "without averaged weights": ["--ema", "0"],
    "the paper's recipe": [*PAPER, "--ema", "0", *PAPER_RATES],
}
FOLDER = REPO / "build" / "gan_changes"


def train(name: str, flags: list[str], steps: int, threads: int) -> Path:
    """Train one variant, or go on with it; its folder."""
    run = FOLDER / f"{list(VARIANTS).index(name)}_{steps}"
    command = [sys.executable, "dcgan.py", "--preset", "cpu", "--mixed_precision", "--decay", "0", *flags]
    command += ["--steps", str(steps), "--sample_every", str(steps), "--output_dir", str(run)]
    command += ["--data_path", str(REPO / "data" / "avatars"), "--log_every", "100"]
    environment = {**os.environ, "TF_NUM_INTRAOP_THREADS": str(threads)}
    done = subprocess.run(command, cwd=REPO / "models" / "m02_dcgan", env=environment)
    if done.returncode:
        sys.exit(f"{name}: the training failed; its output stands above")
    return run


def main(argv: list[str] | None = None) -> None:
    """Train what is missing, measure all, write the result file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--only", type=int, nargs="*", help="numbers of the variants to train now (all)")
    parser.add_argument("--threads", type=int, default=0, help="threads of a training (0: all cores)")
    args = parser.parse_args(argv)
    real, attributes = read_real(gan_quality.REAL)
    classifier = gan_classifier.Classifier.load()
    for number, (name, flags) in enumerate(VARIANTS.items()):
        target = FOLDER / f"{number}_{args.steps}.json"
        if target.exists() or (args.only is not None and number not in args.only):
            continue
        run = train(name, flags, args.steps, args.threads)
        samples = draw_samples("m02_dcgan", run, 5000)
        found = gan_quality.compare(
            samples, real, attributes, ("attributes", "frechet"), classifier=classifier
        )
        write_json(target, {"name": name, "flags": flags, **gan_quality.headline(found)})
        print(name, gan_quality.headline(found), flush=True)
    files = [FOLDER / f"{number}_{args.steps}.json" for number in range(len(VARIANTS))]
    if missing := [path.stem for path in files if not path.exists()]:
        print(f"still to train: {', '.join(missing)}")
        return
    rows = [json.loads(path.read_text(encoding="utf-8")) for path in files]
    write_json(RESULTS / "gan_changes.json", {"steps": args.steps, "rows": rows, "machine": facts()})


if __name__ == "__main__":
    main()
