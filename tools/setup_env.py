"""Create .venv and install the pinned packages. Standard library only: it runs before anything is installed.

    python3 tools/setup_env.py [--tf auto|gpu|cpu|plain]

Called by every make target that needs packages. The second call returns in well under a second: what was
installed is remembered in .venv/installed.json together with a hash of requirements.lock.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import platform
import shutil
import subprocess
import sys
import time
from pathlib import Path

REPO = Path(__file__).resolve().parent.parent
VENV = REPO / ".venv"
LOCK = REPO / "requirements.lock"
STAMP = VENV / "installed.json"
TENSORFLOW = "2.21.0"
OLDEST, NEWEST = (3, 11), (3, 13)
BUILDS = {"gpu": "tensorflow[and-cuda]", "cpu": "tensorflow-cpu", "plain": "tensorflow"}


def has_nvidia_gpu() -> bool:
    """Whether the NVIDIA driver answers and lists at least one GPU."""
    if not shutil.which("nvidia-smi"):
        return False
    try:
        listing = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return listing.returncode == 0 and "GPU 0" in listing.stdout


def choose_build(wanted: str, system: str, machine: str, gpu: bool) -> tuple[str, str]:
    """Return the key of BUILDS to install and the reason, as a sentence for the reader.

    `wanted` is "auto" or a key of BUILDS; `system` and `machine` are what `platform` reports.
    """
    if wanted != "auto":
        return wanted, f"asked for with TF={wanted}"
    if system == "Linux" and machine in ("x86_64", "AMD64"):
        if gpu:
            return "gpu", "an NVIDIA GPU answers, so TensorFlow comes with its CUDA libraries"
        return "cpu", "no NVIDIA GPU found, so the smaller CPU build"
    return "plain", f"the build for {system} on {machine}"


def stop(message: str) -> None:
    sys.exit(f"\nset-up stopped: {message}")


def check_python() -> None:
    if not OLDEST <= sys.version_info[:2] <= NEWEST:
        have = ".".join(map(str, sys.version_info[:3]))
        want = f"{OLDEST[0]}.{OLDEST[1]} to {NEWEST[0]}.{NEWEST[1]}"
        stop(
            f"this is Python {have} ({sys.executable}); TensorFlow {TENSORFLOW} with Keras 3.15 runs on "
            f"Python {want}.\nInstall one of these and name it:  make lab PYTHON=python3.11"
        )


def create_venv(python: Path) -> None:
    """Make a fresh .venv; a half-made one from an interrupted run is replaced."""
    if VENV.exists():
        shutil.rmtree(VENV)
    made = subprocess.run([sys.executable, "-m", "venv", str(VENV)], capture_output=True, text=True)
    if made.returncode != 0 or not python.exists():
        shutil.rmtree(VENV, ignore_errors=True)
        version = f"{sys.version_info[0]}.{sys.version_info[1]}"
        stop(
            "Python could not create a virtual environment in .venv:\n"
            f"{(made.stdout + made.stderr).strip()}\n"
            f"On Debian and Ubuntu this mends it:  sudo apt-get install python{version}-venv"
        )


def run_pip(command: list[str]) -> None:
    """Run pip and show one line of progress; its own words are shown only when it fails."""
    lines, found, downloaded = [], 0, 0
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as pip:
        for line in pip.stdout:
            lines.append(line)
            found += line.startswith(("Collecting", "Requirement already"))
            downloaded += line.lstrip().startswith(("Downloading", "Using cached"))
            doing = "installing" if line.startswith("Installing") else f"{found} packages found"
            if sys.stdout.isatty():
                print(f"\r  {doing}, {downloaded} fetched … ", end="", flush=True)
    if sys.stdout.isatty():
        print()
    if pip.returncode != 0:
        stop(
            f"{''.join(lines[-25:])}\npip could not install the packages; its last lines are above. Nothing is "
            "half-used: the next `make` starts over. Is the network reachable, and is there 2 GB of disk?"
        )


def install(python: Path, build: str) -> None:
    """Install the chosen TensorFlow build and everything in requirements.lock, then this repository."""
    pip = [str(python), "-m", "pip", "--disable-pip-version-check", "install"]
    run_pip([*pip, f"{BUILDS[build]}=={TENSORFLOW}", "-r", str(LOCK)])
    # Editable, without dependencies: it only makes `utils` importable from any folder.
    run_pip([*pip, "--no-deps", "--no-build-isolation", "-e", str(REPO)])


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tf", choices=["auto", *BUILDS], default="auto", help="which TensorFlow build")
    args = parser.parse_args(argv)
    check_python()
    python = VENV / "bin" / "python"
    key = hashlib.sha256(LOCK.read_bytes() + TENSORFLOW.encode()).hexdigest()
    installed = json.loads(STAMP.read_text()) if STAMP.exists() else {}
    # A finished set-up keeps its build under TF=auto: `nvidia-smi` need not be asked each time.
    if installed.get("key") == key and args.tf in ("auto", installed.get("build")) and python.exists():
        return
    build, why = choose_build(args.tf, platform.system(), platform.machine(), has_nvidia_gpu())
    print(f"Setting up .venv with Python {platform.python_version()}: {BUILDS[build]} {TENSORFLOW} ({why}).")
    print("This takes one to five minutes, once.", flush=True)
    started = time.time()
    create_venv(python)
    install(python, build)
    STAMP.write_text(json.dumps({"key": key, "build": build, "tensorflow": TENSORFLOW}, indent=1))
    print(f"Set-up done in {time.time() - started:.0f} s.", flush=True)


if __name__ == "__main__":
    main()
