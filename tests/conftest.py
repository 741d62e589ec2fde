"""Shared pieces of the tests."""

import os
from pathlib import Path

# Before any test imports TensorFlow: no start-up messages between the dots.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

REPO = Path(__file__).resolve().parent.parent
