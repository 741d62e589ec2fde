"""Verify the data that comes with the repository, and make the picture sets from installed packages.

make data        everything; about a minute, and nothing when it is there
"""

from __future__ import annotations

import argparse
import sys

import avatars

from utils.mnist import SHA256, DataError, read_idx


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.parse_args(argv)
    try:
        sizes = {name: read_idx(name).shape[0] for name in SHA256}
    except DataError as error:
        sys.exit(f"data: {error}")
    training, test = sizes["train-images-idx3-ubyte"], sizes["t10k-images-idx3-ubyte"]
    print(f"data: MNIST verified ({training:,} training and {test:,} test images).", flush=True)
    sys.exit(avatars.main([]))


if __name__ == "__main__":
    main()
