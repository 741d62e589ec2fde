"""A page on which you draw an outline and see the cat change with each stroke.

    python demo.py                       # the training in runs/pix2pix, at http://127.0.0.1:8888
    python demo.py --checkpoint runs/shoes --port 9000

The page is `demo.html` beside this file; it loads nothing from elsewhere. The server is Tornado's, the one under
Jupyter: it holds the generator and answers three addresses.

    GET  /            the page
    GET  /examples/3  an example outline, PNG
    POST /translate   body: a PNG of the drawing → the generator's picture, PNG
"""

from __future__ import annotations

import argparse
import asyncio
import io
import json
import signal
from concurrent.futures import ThreadPoolExecutor

from runner import quiet_start

quiet_start()  # TensorFlow without its start-up messages
import numpy as np
import pairs
import runner
import tornado.httpserver
import tornado.netutil
import tornado.web
from evaluate import Translator, to_bytes
from pictures import HERE, list_pictures
from PIL import Image

LARGEST = 4 * 2**20  # bytes of a drawing that the server takes
EXAMPLES = 12


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """The flags of the demo."""
    parser = argparse.ArgumentParser(description="Serve a page on which one draws, and see it translated.")
    add = parser.add_argument
    add("--checkpoint", default="runs/pix2pix", help="folder of a training (default runs/pix2pix)")
    add("--examples", help="folder of pairs whose inputs can be loaded (default: data/edges2cats/test)")
    add("--host", default="127.0.0.1", help="address to listen at (default 127.0.0.1: this machine only)")
    add("--port", type=int, default=8888, help="port to listen at; 0 takes a free one (default 8888)")
    add("--seed", type=int, default=1, help="of the dropout noise (default 1)")
    return parser.parse_args(argv)


def png(picture: np.ndarray) -> bytes:
    """A uint8 picture `(height, width, 3)` as a PNG file."""
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "PNG")
    return buffer.getvalue()


def example_inputs(args: argparse.Namespace, trained: argparse.Namespace) -> list[bytes]:
    """Inputs of some pairs as PNG files; none when there is no folder of pairs."""
    try:
        folder = pairs.find_folder(args.examples, "test")
        paths = list_pictures(folder)
    except runner.Stop:
        if args.examples:
            raise
        return []
    found = []
    for path in paths:
        try:
            pair = pairs.read(path, trained.crop, trained.lab_colorization)
        except ValueError:
            continue
        left = trained.lab_colorization or trained.which_direction == "AtoB"
        found.append(png(pair[:, : trained.crop] if left else pair[:, trained.crop :]))
        if len(found) == EXAMPLES:
            break
    return found


class Page(tornado.web.RequestHandler):
    """The page, with the facts it needs about the generator."""

    def initialize(self, facts: dict) -> None:
        self.facts = facts

    def get(self) -> None:
        text = (HERE / "demo.html").read_text(encoding="utf-8")
        self.set_header("Content-Type", "text/html; charset=utf-8")
        # Nothing from elsewhere, and the browser holds the page to it.
        self.set_header(
            "Content-Security-Policy",
            "default-src 'self'; img-src 'self' blob: data:; style-src 'self' 'unsafe-inline'; "
            "script-src 'self' 'unsafe-inline'",
        )
        self.write(text.replace("{{facts}}", json.dumps(self.facts)))


class Example(tornado.web.RequestHandler):
    """One example outline."""

    def initialize(self, examples: list[bytes]) -> None:
        self.examples = examples

    def get(self, number: str) -> None:
        if int(number) >= len(self.examples):
            raise tornado.web.HTTPError(404, reason=f"there are {len(self.examples)} examples")
        self.set_header("Content-Type", "image/png")
        self.write(self.examples[int(number)])


class Translate(tornado.web.RequestHandler):
    """A drawing in, a picture out."""

    def initialize(self, translator: Translator, pool: ThreadPoolExecutor) -> None:
        self.translator, self.pool = translator, pool

    async def post(self) -> None:
        side = self.translator.args.crop
        try:
            with Image.open(io.BytesIO(self.request.body)) as drawing:
                if max(drawing.size) > 4096:
                    raise ValueError("larger than 4096 pixels")
                drawing = pairs.opaque(drawing).resize((side, side), Image.Resampling.LANCZOS)
        except pairs.UNREADABLE:
            self.set_status(400)
            self.finish("the body must be a PNG of the drawing, at most 4096 pixels wide and high\n")
            return

        def work() -> bytes:
            # Always the noise of picture number 0, so that only the drawing changes the result.
            return png(to_bytes(self.translator.picture(np.asarray(drawing))))

        answer = await asyncio.get_running_loop().run_in_executor(self.pool, work)
        self.set_header("Content-Type", "image/png")
        self.set_header("Cache-Control", "no-store")
        self.finish(answer)


def make_app(args: argparse.Namespace) -> tornado.web.Application:
    """The web application: the generator loaded and run once, so that the first stroke is not slower.

    Raises:
        Stop: no training to load.
    """
    translator = Translator(args.checkpoint, args.seed)
    side = translator.args.crop
    translator.picture(np.full((side, side, 3), 255, np.uint8))
    examples = example_inputs(args, translator.args)
    facts = {"side": side, "examples": len(examples), "step": translator.step}
    pool = ThreadPoolExecutor(1)  # one drawing at a time: a picture already uses all cores
    return tornado.web.Application(
        [
            (r"/", Page, {"facts": facts}),
            (r"/examples/(\d+)", Example, {"examples": examples}),
            (r"/translate", Translate, {"translator": translator, "pool": pool}),
        ],
        log_function=lambda handler: None,
    )


def listen(args: argparse.Namespace) -> tuple[tornado.httpserver.HTTPServer, int]:
    """Start to answer at `--host` and `--port`; returns the server and the port it got.

    Raises:
        Stop: no training to load, or the port is taken.
    """
    app = make_app(args)
    try:
        sockets = tornado.netutil.bind_sockets(args.port, args.host)
    except OSError as error:
        raise runner.Stop(
            f"cannot listen at {args.host}:{args.port} ({error.strerror}): try --port 0"
        ) from None
    server = tornado.httpserver.HTTPServer(app, max_buffer_size=LARGEST)
    server.add_sockets(sockets)
    return server, sockets[0].getsockname()[1]


async def serve(args: argparse.Namespace) -> None:
    """Answer until Ctrl-C or SIGTERM."""
    server, port = listen(args)
    print(f"draw at http://{args.host}:{port}/ (Ctrl-C ends it)", flush=True)
    over, loop = asyncio.Event(), asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        try:
            loop.add_signal_handler(number, over.set)
        except NotImplementedError:  # Windows: Ctrl-C is raised as ever
            break
    await over.wait()
    server.stop()


def main(argv: list[str] | None = None) -> None:
    """Serve the page."""
    asyncio.run(serve(parse_args(argv)))


if __name__ == "__main__":
    runner.guard(main)
