"""Painting pictures in several processes, so that a stop at any moment leaves only whole files."""

from __future__ import annotations

import hashlib
import importlib
import io
import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from PIL import Image


class SetError(Exception):
    """A set of pictures can't be made. The message says why and what to do."""


class Picture(NamedTuple):
    """One picture of a plan: its path below the set's folder, and the arguments of the function that paints it."""

    path: str
    arguments: tuple


def write_whole(path: Path, content: bytes) -> None:
    """Write a file whole or not at all."""
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        part.write_bytes(content)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def encode(image: Image.Image) -> bytes:
    """An image as PNG; the settings are fixed, so that the same image gives the same bytes."""
    target = io.BytesIO()
    image.save(target, "PNG", compress_level=6)
    return target.getvalue()


def fingerprint(image: Image.Image) -> str:
    """SHA-256 of an image's size and pixels, which stay the same where PNG encoders differ."""
    return hashlib.sha256(repr((image.mode, image.size)).encode() + image.tobytes()).hexdigest()


def read_fingerprint(path: Path) -> str | None:
    """The fingerprint of a picture on disk; None if it is missing or can't be decoded to its end."""
    try:
        with Image.open(path) as image:
            image.load()
            return fingerprint(image)
    except (OSError, SyntaxError, ValueError):
        return None


def paint_chunk(job: tuple[str, str, list[Picture]]) -> list[tuple[str, int, str, bool]]:
    """Paint the pictures of a chunk that are not there yet: a list of (path, bytes, fingerprint, painted)."""
    paint, folder, pictures = job
    module, function = paint.split(":")
    done = []
    for path, arguments in pictures:
        target = Path(folder, path)
        found = read_fingerprint(target)
        if painted := found is None:
            image = getattr(importlib.import_module(module), function)(*arguments)
            found = fingerprint(image)
            try:
                write_whole(target, encode(image))
            except OSError as error:
                raise SetError(
                    f"can't write {target}: {error.strerror}. Make room or choose another place with --out; the "
                    "same command continues where it stopped."
                ) from None
        done.append((path, target.stat().st_size, found, painted))
    return done


def start_worker() -> None:
    """Leave Ctrl-C to the main process, and end with it even if it is killed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    main = multiprocessing.parent_process()

    def end_with_main() -> None:
        main.join()
        os._exit(1)

    threading.Thread(target=end_with_main, daemon=True).start()


def paint_all(paint: str, folder: Path, pictures: list[Picture], workers: int) -> Iterator[list]:
    """Yield the results of `paint_chunk` for all pictures, in any order."""
    step = max(1, min(100, len(pictures) // (8 * workers)))
    jobs = [(paint, str(folder), pictures[i : i + step]) for i in range(0, len(pictures), step)]
    if workers == 1 or len(jobs) <= 1:
        yield from map(paint_chunk, jobs)
        return
    # New processes rather than forks: the caller may have threads running, as TensorFlow does.
    pool = ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), start_worker)
    others = set(multiprocessing.active_children())
    try:
        with interrupts_held():
            results = [pool.submit(paint_chunk, job) for job in jobs]
        for result in as_completed(results):
            yield result.result()
    except BrokenProcessPool:
        raise SetError(
            "a worker process was ended from outside, perhaps for lack of memory. The same command continues; "
            "with --workers 1 it needs less memory."
        ) from None
    finally:
        with interrupts_held():
            for process in set(multiprocessing.active_children()) - others:
                process.kill()  # idle, or writing under a temporary name
            pool.shutdown(cancel_futures=True)


@contextmanager
def interrupts_held() -> Iterator[None]:
    """Let Ctrl-C wait where it would leave things half done. Processes that are started meanwhile never see it."""
    if threading.current_thread() is not threading.main_thread():
        yield  # Ctrl-C reaches the main thread only
        return
    came = []
    handler = signal.signal(signal.SIGINT, lambda *_: came.append(True))
    # New processes inherit this mask, but not the handler; libraries' own threads heed the handler only.
    masks = hasattr(signal, "pthread_sigmask")
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT}) if masks else None
    try:
        yield
    finally:
        if masks:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        signal.signal(signal.SIGINT, handler)
    if came:
        raise KeyboardInterrupt
