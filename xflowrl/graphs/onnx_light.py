"""The nine networks that the onnx package itself contains.

They are real topologies (opset 9) whose weights are placeholders, all equal, so the weights are
drawn anew: with equal weights many wrong rewrites would go unnoticed.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

from xflowrl.onnx_io import Model, load_onnx

_FILES = {
    "alexnet": "light_bvlc_alexnet.onnx",
    "densenet121": "light_densenet121.onnx",
    "inception_v1": "light_inception_v1.onnx",
    "inception_v2": "light_inception_v2.onnx",
    "resnet50": "light_resnet50.onnx",
    "shufflenet": "light_shufflenet.onnx",
    "squeezenet": "light_squeezenet.onnx",
    "vgg19": "light_vgg19.onnx",
    "zfnet512": "light_zfnet512.onnx",
}

NAMES = tuple(_FILES)
"""What `onnx_light` accepts."""


def onnx_light(name: str = "squeezenet", *, seed: int = 0) -> Model:
    """The network `name` of the onnx package, batch 1, weights drawn from `seed`."""
    if name not in _FILES:
        raise ValueError(f"onnx_light: name {name!r} is unknown; give one of {', '.join(NAMES)}")
    return load_onnx(_folder() / _FILES[name], redraw_weights=True, seed=seed)


def _folder() -> Path:
    """Found without importing onnx, whose import is not this module's business."""
    spec = importlib.util.find_spec("onnx")
    if spec is None or spec.origin is None:
        raise ValueError("onnx_light: the onnx package is not installed; install onnx")
    return Path(spec.origin).parent / "backend" / "test" / "data" / "light"
