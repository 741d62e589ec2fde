"""Export mode: the trained generator as a SavedModel and as one ONNX file, each compared with test mode.

Both take a picture as it comes out of a file and give one that can be written to a file:

    picture  uint8   (1, crop, crop, 3)
    noise    float32 (1, n) of 1 and 0, which values dropout keeps; may be left out
    → output float32 (1, crop, crop, 3) in [0, 1]

ONNX has no random operation with a seed, and a graph that draws other numbers than test mode cannot be compared with
it. So the noise is an input. Left out, it is the noise of picture number 0, which the file holds.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import shutil
from pathlib import Path

import model as networks
import numpy as np
import pairs
import runner
import tensorflow as tf
from evaluate import Translator
from pictures import list_pictures

TOLERANCE = 2e-3  # of a value in [0, 1]: half a grey level of 255
COMPARED = 5  # pictures that all forms translate


class Exported(tf.Module):
    """The graph that is exported. Its normalization is written out in operations that other runtimes have."""

    def __init__(self, translator: Translator):
        super().__init__("pix2pix")
        self.args, self.generator = translator.args, translator.generator
        self.usual_noise = tf.constant(translator.noise(tf.constant(0, tf.int64)).numpy())

    def translate(self, picture: tf.Tensor, noise: tf.Tensor) -> dict[str, tf.Tensor]:
        """uint8 picture and dropout noise → output in [0, 1]."""
        both = picture if self.args.lab_colorization else tf.concat([picture, picture], axis=2)
        inputs, _ = pairs.rows_of_batch(both, tf.constant(0, tf.int64), self.args, training=False)
        outputs = self.generator(inputs, noise)
        return {"output": tf.clip_by_value(pairs.to_rgb(inputs, outputs, self.args), 0.0, 1.0)}

    def translate_as_usual(self, picture: tf.Tensor) -> dict[str, tf.Tensor]:
        """The same with the noise of picture number 0."""
        return self.translate(picture, self.usual_noise)

    @property
    def signature(self) -> list[tf.TensorSpec]:
        side = self.args.crop
        return [
            tf.TensorSpec([1, side, side, 3], tf.uint8, "picture"),
            tf.TensorSpec([1, self.generator.noise_size], tf.float32, "noise"),
        ]


def write_saved_model(exported: Exported, folder: Path) -> None:
    """Write the SavedModel with the signatures `serving_default` (picture) and `with_noise` (picture, noise)."""
    picture, noise = exported.signature
    usual = tf.function(exported.translate_as_usual, input_signature=[picture])
    full = tf.function(exported.translate, input_signature=[picture, noise])
    part = folder.with_name(f".{folder.name}.{os.getpid()}.part")
    shutil.rmtree(part, ignore_errors=True)
    try:
        tf.saved_model.save(exported, str(part), signatures={"serving_default": usual, "with_noise": full})
        shutil.rmtree(folder, ignore_errors=True)
        part.replace(folder)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def write_onnx(exported: Exported, path: Path) -> None:
    """Write the ONNX file. Its input `noise` has a default value, so that a runtime asks for `picture` only."""
    logging.getLogger("tf2onnx").setLevel(logging.ERROR)
    import tf2onnx
    from onnx import numpy_helper

    full = tf.function(exported.translate, input_signature=exported.signature)
    proto, _ = tf2onnx.convert.from_function(full, input_signature=exported.signature, opset=17)
    # An initial value of the same name makes an input optional.
    proto.graph.initializer.append(numpy_helper.from_array(exported.usual_noise.numpy(), "noise"))
    for node in proto.graph.output:
        node.doc_string = "the translated picture, 0 to 1"
    runner.write_whole(path, proto.SerializeToString())


def compare(translator: Translator, target: Path, pictures: list[np.ndarray]) -> dict[str, float]:
    """The largest difference from test mode, over all values of all pictures, for each exported form.

    Args:
        pictures: uint8 `(crop, crop, 3)`; number i gets the noise of picture number i, the first one by default too.
    """
    import onnxruntime

    loaded = tf.saved_model.load(str(target / "saved_model"))
    usual, full = loaded.signatures["serving_default"], loaded.signatures["with_noise"]
    session = onnxruntime.InferenceSession(
        str(target / "model.onnx"), providers=["CPUExecutionProvider"], sess_options=quiet_options()
    )
    worst = {"saved_model": 0.0, "onnx": 0.0}
    for number, picture in enumerate(pictures):
        expected = translator.picture(picture, number)
        noise = translator.noise(tf.constant(number, tf.int64)).numpy()
        given = {
            "saved_model": [
                full(picture=tf.constant(picture[None]), noise=tf.constant(noise))["output"].numpy()
            ],
            "onnx": session.run(["output"], {"picture": picture[None], "noise": noise}),
        }
        if number == 0:
            given["saved_model"].append(usual(picture=tf.constant(picture[None]))["output"].numpy())
            given["onnx"] += session.run(["output"], {"picture": picture[None]})
        for form, outputs in given.items():
            for output in outputs:
                worst[form] = max(worst[form], float(np.abs(output[0] - expected).max()))
    return worst


def quiet_options():
    """Options of an ONNX session: errors only, no hints about optional inputs."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    return options


def sample_pictures(args: argparse.Namespace, trained: argparse.Namespace) -> list[np.ndarray]:
    """Pictures to compare with: inputs from `--input_dir` or the test set when there are any, and random colours."""
    random = np.random.default_rng(0)
    chosen = [random.integers(0, 256, (trained.crop, trained.crop, 3), np.uint8)]
    try:
        folder = pairs.find_folder(args.input_dir, "test")
    except runner.Stop:
        if args.input_dir:
            raise
        return chosen
    for path in list_pictures(folder):
        try:
            pair = pairs.read(path, trained.crop, trained.lab_colorization, args.aspect_ratio)
        except ValueError:
            continue
        first = trained.lab_colorization or trained.which_direction == "AtoB"
        chosen.append(pair[:, : trained.crop] if first else pair[:, trained.crop :])
        if len(chosen) == COMPARED:
            break
    return chosen


def export(args: argparse.Namespace) -> None:
    """Write `saved_model/`, `model.onnx` and `parity.json` to `--output_dir`.

    Raises:
        Stop: no training to load, a package is missing, or an exported form differs from test mode.
    """
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
        import tf2onnx  # noqa: F401
    except ImportError as error:
        raise runner.Stop(
            f"the package {error.name} is missing: pip install onnx onnxruntime tf2onnx"
        ) from None
    target = Path(args.output_dir)
    translator = Translator(args.checkpoint, args.seed)
    exported = Exported(translator)
    norms = [part for part in translator.generator.submodules if isinstance(part, networks.PictureNorm)]
    for norm in norms:
        norm.fused = False
    target.mkdir(parents=True, exist_ok=True)
    write_saved_model(exported, target / "saved_model")
    write_onnx(exported, target / "model.onnx")
    for norm in norms:
        norm.fused = True  # test mode's own form, for the comparison
    worst = compare(translator, target, sample_pictures(args, translator.args))
    facts = {"step": translator.step, "seed": args.seed, "tolerance": TOLERANCE, "largest_difference": worst}
    runner.write_whole(target / "parity.json", (json.dumps(facts, indent=1) + "\n").encode())
    for form, difference in worst.items():
        print(f"{form}: differs from test mode by at most {difference:.1e} (allowed {TOLERANCE:.0e})")
        if not difference <= TOLERANCE:
            raise runner.Stop(f"{form} differs from test mode by {difference:.1e}: do not use it")
    size = (target / "model.onnx").stat().st_size / 2**20
    print(f"written: {target / 'saved_model'} and {target / 'model.onnx'} ({size:.0f} MiB)")
