"""Resolve requirements.txt for all supported Python versions and write requirements.lock.

    make lock

The lock holds plain `name==version` lines with environment markers and no addresses. TensorFlow itself is
left out: tools/setup_env.py installs the build that suits the machine. Needs the network; installs the
resolver `uv` into the environment first.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

REPO = Path(__file__).resolve().parent.parent
HEADER = "# Written by `make lock` from requirements.txt; Python 3.11 to 3.13, all platforms. Do not edit.\n"


def main() -> None:
    subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", "uv"], check=True)
    resolve = [sys.executable, "-m", "uv", "pip", "compile", "--universal", "--python-version", "3.11"]
    quiet = ["--no-annotate", "--no-header", "--no-emit-index-url", "--quiet"]
    left_out = ["--no-emit-package", "tensorflow"]
    done = subprocess.run(
        [*resolve, *quiet, *left_out, str(REPO / "requirements.txt")], capture_output=True, text=True
    )
    if done.returncode != 0:
        sys.exit(f"requirements.txt could not be resolved:\n{done.stderr}")
    (REPO / "requirements.lock").write_text(HEADER + done.stdout)
    print(f"requirements.lock: {len(done.stdout.splitlines())} packages")


if __name__ == "__main__":
    main()
