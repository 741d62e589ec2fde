"""Open the lessons in JupyterLab, also as root and on a machine without a display.

make lab                     # port 8888, or the next free one
make lab PORT=8899
make lab IP=0.0.0.0          # reachable from other machines, for instance out of a container
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
from pathlib import Path

from utils.lesson import write_json

REPO = Path(__file__).resolve().parent.parent


def has_display() -> bool:
    """Whether a browser could open a window here."""
    if platform.system() == "Linux":
        return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
    return not os.environ.get("SSH_CONNECTION")


def command(port: int, ip: str, root: bool, display: bool) -> list[str]:
    """The JupyterLab command line.

    Args:
        port: the port to try first; Jupyter takes the next free one when it is taken.
        ip: the address to listen on.
        root: whether this runs as root, which Jupyter refuses unless told.
        display: whether to open a browser.
    """
    arguments = [
        sys.executable, "-m", "jupyterlab",
        f"--ServerApp.root_dir={REPO}",
        f"--ServerApp.port={port}",
        f"--ServerApp.ip={ip}",
        "--LabApp.default_url=/lab/tree/example-notebook/T_01_basic_usage.ipynb",
        "--log-level=ERROR",  # the address is printed all the same
    ]  # fmt: skip
    if root:
        arguments.append("--allow-root")
    if not display:
        arguments.append("--no-browser")
    return arguments


def write_settings(environment: Path) -> None:
    """Defaults of JupyterLab in this environment: no question about news, no look for updates (both need the network).

    A reader's own settings, kept in their home folder, go before these.
    """
    quiet = {"@jupyterlab/apputils-extension:notification": {"fetchNews": "false", "checkForUpdates": False}}
    path = environment / "share" / "jupyter" / "lab" / "settings" / "overrides.json"
    if not path.exists():
        write_json(path, quiet)


def port_number(text: str) -> int:
    number = int(text)
    if not 1 <= number <= 65535:
        raise argparse.ArgumentTypeError(f"a port is a number from 1 to 65535, not {number}")
    return number


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--port", type=port_number, default=8888)
    parser.add_argument("--ip", default="127.0.0.1")
    args = parser.parse_args(argv)
    write_settings(Path(sys.prefix))
    root = hasattr(os, "geteuid") and os.geteuid() == 0
    print("Starting JupyterLab on example-notebook/; stop it with Ctrl-C.", flush=True)
    if not has_display():
        print("No display here: open the address below in a browser.", flush=True)
    # Notebooks find programs of the environment, such as `tensorboard` for the %tensorboard magic.
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    os.execv(sys.executable, command(args.port, args.ip, root, has_display()))


if __name__ == "__main__":
    main()
