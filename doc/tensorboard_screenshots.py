"""Photograph TensorBoard's pages for lesson T_06, in a real browser.

    .venv/bin/python example-python/T_06_tensorboard.py     # writes runs/T_06
    pip install playwright pillow                           # in an environment of your own; plus a Chromium
    python doc/tensorboard_screenshots.py                   # about a minute; writes figs/T_06_*.png, figs/graph2.png
    python doc/tensorboard_screenshots.py graph2 notebook   # only these

It needs two things that the tutorial itself does not: the Python package playwright, and Chromium (the program
named by the environment variable CHROMIUM, or `chromium` on the search path). It starts TensorBoard and JupyterLab
from the repository's `.venv` on free local ports and stops them at the end.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

REPO = Path(__file__).resolve().parent.parent
LOGS = REPO / "runs" / "T_06"
FIGS = REPO / "figs"
BIN = REPO / ".venv" / "bin"
WIDTH, HEIGHT = 1200, 720
MAX_BYTES = 200_000
# name of the picture: (folder under runs/T_06, TensorBoard's tab, seconds the page takes to settle)
PAGES = {
    "T_06_scalars": ("mnist", "scalars", 8),
    "T_06_images": ("mnist", "images", 8),
    "T_06_text": ("mnist", "text", 6),
    "T_06_histograms": ("drift", "histograms", 8),
    "T_06_distributions": ("drift", "distributions", 8),
    "graph2": ("graph", "graphs", 12),
    "T_06_hparams": ("hparams", "hparams", 8),
    "T_06_projector": ("embedding", "projector", 15),
}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_for(address: str, seconds: float = 90) -> None:
    """Return when the address answers.

    Raises:
        SystemExit: it does not answer in time.
    """
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    end = time.monotonic() + seconds
    while True:
        try:
            opener.open(address, timeout=5).close()
            return
        except OSError:
            if time.monotonic() > end:
                sys.exit(f"{address} did not answer within {seconds:.0f} s")
            time.sleep(0.5)


@contextlib.contextmanager
def service(command: list[str], cwd: Path):
    """Run a server while the block runs."""
    path = f"{BIN}{os.pathsep}{os.environ.get('PATH', '')}"  # %tensorboard looks for the program there
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    process = subprocess.Popen(command, cwd=cwd, env={**os.environ, "PATH": path}, **quiet)
    try:
        yield
    finally:
        process.terminate()
        process.wait(30)


def store(picture: bytes, name: str) -> None:
    """Write a screenshot as PNG with 256 colours or fewer, whole or not at all.

    Raises:
        SystemExit: it is larger than a picture of the repository may be.
    """
    from PIL import Image

    image = Image.open(io.BytesIO(picture)).convert("RGB")
    for colours in (256, 128, 64):
        buffer = io.BytesIO()
        image.quantize(colours, dither=Image.Dither.NONE).save(buffer, "PNG", optimize=True)
        if buffer.tell() < MAX_BYTES:
            break
    else:
        sys.exit(f"{name}: {buffer.tell():,} bytes; the limit is {MAX_BYTES:,}")
    part = FIGS / f".{name}.png.part"
    part.write_bytes(buffer.getvalue())
    part.replace(FIGS / f"{name}.png")
    print(f"figs/{name}.png  {buffer.tell() / 1e3:.0f} kB", flush=True)


def photograph_tensorboard(browser, names: list[str]) -> None:
    """One TensorBoard for each folder, one picture for each of its pages."""
    for folder in dict.fromkeys(PAGES[name][0] for name in names):
        port = free_port()
        command = [str(BIN / "tensorboard"), "--logdir", folder, "--port", str(port), "--load_fast=false"]
        with service(command, LOGS):
            wait_for(f"http://127.0.0.1:{port}/data/runs")
            time.sleep(3)  # it reads the files in the background
            for name in (name for name in names if PAGES[name][0] == folder):
                page = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT})
                page.goto(f"http://127.0.0.1:{port}/?darkMode=false#{PAGES[name][1]}")
                page.wait_for_timeout(PAGES[name][2] * 1000)
                store(page.screenshot(), name)
                page.close()


def photograph_notebook(browser) -> None:
    """Run the two lines of the lesson in JupyterLab and photograph the cell with the page below it."""
    with tempfile.TemporaryDirectory(prefix="jupyter-") as place:
        folder = Path(place) / "example-notebook"  # as in the repository, with the logs next door
        folder.mkdir()
        (Path(place) / "runs").symlink_to(REPO / "runs")
        cell = {
            "cell_type": "code",
            "id": "tensorboard",
            "metadata": {},
            "execution_count": None,
            "outputs": [],
        }
        cell["source"] = "%load_ext tensorboard\n%tensorboard --logdir ../runs/T_06"
        kernel = {
            "kernelspec": {"name": "python3", "display_name": "Python 3 (ipykernel)", "language": "python"}
        }
        notebook = {"nbformat": 4, "nbformat_minor": 5, "metadata": kernel, "cells": [cell]}
        (folder / "board.ipynb").write_text(json.dumps(notebook))
        port = free_port()
        command = [str(BIN / "jupyter-lab"), "--no-browser", f"--port={port}", "--ip=127.0.0.1",
                   "--IdentityProvider.token=", "--LabApp.news_url=None", f"--ServerApp.root_dir={folder}"]  # fmt: skip
        if hasattr(os, "geteuid") and os.geteuid() == 0:
            command.append("--allow-root")
        with service(command, folder):
            wait_for(f"http://127.0.0.1:{port}/api")
            page = browser.new_page(viewport={"width": WIDTH + 200, "height": HEIGHT + 180})
            page.goto(f"http://127.0.0.1:{port}/lab/tree/board.ipynb?reset")
            page.locator(".jp-CodeCell").first.wait_for(timeout=60_000)
            page.wait_for_timeout(3000)
            page.keyboard.press("Control+b")  # the list of files goes away
            if page.get_by_role("button", name="No", exact=True).count():  # JupyterLab's question about news
                page.get_by_role("button", name="No", exact=True).first.click()
            page.locator(".jp-CodeCell .cm-content").first.click()
            page.wait_for_timeout(1000)
            page.keyboard.press("Shift+Enter")
            page.locator("iframe").first.wait_for(timeout=60_000)
            page.wait_for_timeout(20_000)
            store(page.screenshot(), "T_06_notebook")
            page.close()


def main(names: list[str]) -> None:
    known = [*PAGES, "T_06_notebook"]
    names = [name if name in known else f"T_06_{name}" for name in names] or known
    if unknown := set(names) - set(known):
        sys.exit(f"no picture is called {', '.join(sorted(unknown))}. There are: {', '.join(known)}")
    if not (LOGS / "mnist").is_dir():
        sys.exit("runs/T_06 has no logs. Make them:  .venv/bin/python example-python/T_06_tensorboard.py")
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        sys.exit("This script needs the package playwright:  pip install playwright pillow")
    chromium = os.environ.get("CHROMIUM") or shutil.which("chromium")
    if not chromium:
        sys.exit(
            "This script needs Chromium: install it, or name the program in the environment variable CHROMIUM."
        )
    options = [
        "--no-sandbox",
        "--use-angle=swiftshader",
        "--enable-unsafe-swiftshader",
        "--ignore-gpu-blocklist",
    ]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=options)
        if pages := [name for name in names if name in PAGES]:
            photograph_tensorboard(browser, pages)
        if "T_06_notebook" in names:
            photograph_notebook(browser)
        browser.close()


if __name__ == "__main__":
    main(sys.argv[1:])
