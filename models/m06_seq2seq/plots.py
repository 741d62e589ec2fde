"""Attention as a picture: for each character that was written, which symbols the decoder looked at."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from data import START, Vocabulary

FONTS = (
    "WenQuanYi Micro Hei",
    "Noto Sans CJK SC",
    "Source Han Sans",
    "Droid Sans Fallback",
    "PingFang SC",
    "SimHei",
)
FONTS += ("Microsoft YaHei", "Hiragino Sans GB", "Arial Unicode MS")


def chinese_font() -> str | None:
    """The name of an installed font that has Chinese characters, or None."""
    from matplotlib import font_manager

    installed = {font.name for font in font_manager.fontManager.ttflist}
    return next((name for name in FONTS if name in installed), None)


def attention_weights(
    network: tf.Module, symbols: Sequence[int], characters: Sequence[int]
) -> np.ndarray | None:
    """`(characters, symbols)`: the weights while these characters are written; None of a network without attention."""
    before = tf.constant([[START, *characters[:-1]]], tf.int32)
    weights = network.logits(tf.constant([symbols], tf.int32), before)[1]
    return None if weights is None else weights[0].numpy()


def attention_picture(network: tf.Module, vocabulary: Vocabulary, symbols, characters) -> np.ndarray | None:
    """The weights as uint8 `(height, width, 3)`, a row a character; without a Chinese font, rows have numbers."""
    weights = attention_weights(network, symbols, characters)
    if weights is None:
        return None
    from matplotlib.figure import Figure
    from PIL import Image

    font = chinese_font()
    names = [vocabulary.characters[c] if font else str(i + 1) for i, c in enumerate(characters)]
    figure = Figure(
        figsize=(1.6 + 0.42 * len(symbols), 1.1 + 0.34 * len(names)), dpi=100, layout="constrained"
    )
    axes = figure.add_subplot()
    shown = axes.imshow(weights, vmin=0, vmax=1, cmap="viridis", aspect="auto")
    axes.set_xticks(range(len(symbols)), [vocabulary.symbols[s] for s in symbols], rotation=45, fontname=font)
    axes.set_yticks(range(len(names)), names, fontname=font)
    axes.set_xlabel("syllable looked at")
    axes.set_ylabel("character written" if font else "character number (no Chinese font installed)")
    figure.colorbar(shown, label="weight")
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return np.array(Image.open(buffer).convert("RGB"))
