"""Verify the data that comes with the repository and make what is made from installed packages.

make data
"""

from __future__ import annotations

import sys

from utils.mnist import SHA256, DataError, read_idx


def main() -> None:
    try:
        sizes = [read_idx(name).shape[0] for name in SHA256]
    except DataError as error:
        sys.exit(f"data: {error}")
    print(f"data: MNIST verified ({sizes[0]:,} training and {sizes[2]:,} test images).")


if __name__ == "__main__":
    main()
