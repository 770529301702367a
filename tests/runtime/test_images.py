"""Anything that is an image goes in, and comes out upright, 8 bits, RGB."""

from __future__ import annotations

import gc
import threading
import warnings
from io import BytesIO, RawIOBase
from pathlib import Path

import numpy as np
import pytest
from conftest_types import Encode
from PIL import Image, ImageOps

from vit_runtime.artifact import Preprocessing
from vit_runtime.preprocess import UInt8Array, load_pixels, read_rgb
