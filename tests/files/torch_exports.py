"""Files as PyTorch writes them: both exporters, old and new opsets, dynamic sizes.

python tests/files/torch_exports.py FOLDER
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from torch import nn

LEGACY_OPSETS = (11, 13, 17, 20)
DYNAMO_OPSETS = (18, 20, 23)


class _Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.qkv = nn.ModuleList(nn.Linear(16, 16) for _ in range(3))
        self.norm = nn.LayerNorm(16)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        q, k, v = (layer(x).reshape(*x.shape[:2], 4, 4).transpose(1, 2) for layer in self.qkv)
        weights = torch.softmax(q @ k.transpose(2, 3) / 2, dim=-1)
        return self.norm(x + (weights @ v).transpose(1, 2).reshape(x.shape))


class _Branches(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cond(x.sum() > 0, lambda t: t + 1.0, lambda t: t * 2.0, (x,)).relu()


def _convolutions() -> nn.Module:
    layers = [nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Dropout()]
    return nn.Sequential(*layers, nn.Conv2d(8, 4, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten())


def _recurrent() -> nn.Module:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.lstm = nn.LSTM(16, 8, batch_first=True)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.lstm(x)[0].relu()

    return Net()


_SEQUENCE, _IMAGE = (2, 5, 16), (2, 3, 12, 12)
NETWORKS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "attention": (_Attention, _SEQUENCE),
    "convolutions": (_convolutions, _IMAGE),
    "recurrent": (_recurrent, _SEQUENCE),
    "encoder": (lambda: nn.TransformerEncoderLayer(16, 2, 32, batch_first=True), _SEQUENCE),
}


def export_all(folder: Path) -> Iterator[Path]:
    """Writes every file, and gives its path; what an exporter does not support is raised."""
    for name, (make, shape) in NETWORKS.items():
        for opset in LEGACY_OPSETS:
            if name == "encoder":  # tracing turns an argument of its attention into a tensor
                continue
            yield _export(make, shape, folder / f"{name}_legacy{opset}.onnx", opset, dynamo=False)
        for opset in DYNAMO_OPSETS:
            yield _export(make, shape, folder / f"{name}_dynamo{opset}.onnx", opset, dynamo=True)
    path = folder / "training_legacy17.onnx"
    yield _export(_convolutions, _IMAGE, path, 17, dynamo=False, training=True)
    yield _export(_Branches, (2, 4), folder / "branches_dynamo20.onnx", 20, dynamo=True)


def _export(
    make: Callable[[], nn.Module],
    shape: tuple[int, ...],
    path: Path,
    opset: int,
    *,
    dynamo: bool,
    training: bool = False,
) -> Path:
    torch.manual_seed(0)
    x = torch.randn(shape)
    dynamic = {0: "batch", 1: "length"} if shape == _SEQUENCE else {0: "batch"}
    network, names = make().train(training), {"input_names": ["x"], "output_names": ["y"]}
    if dynamo:
        sizes = {axis: torch.export.Dim(name, min=1, max=512) for axis, name in dynamic.items()}
        program = torch.onnx.export(
            *(network, (x,)), dynamo=True, opset_version=opset, dynamic_shapes=(sizes,),
            verbose=False, **names,
        )  # fmt: skip
        program.save(str(path))
        return path
    mode = torch.onnx.TrainingMode.TRAINING if training else torch.onnx.TrainingMode.EVAL
    torch.onnx.export(
        *(network, (x,), str(path)), dynamo=False, opset_version=opset, training=mode,
        dynamic_axes={"x": dynamic}, do_constant_folding=not training, **names,
    )  # fmt: skip
    return path


if __name__ == "__main__":
    target = Path(sys.argv[1])
    target.mkdir(parents=True, exist_ok=True)
    for written in export_all(target):
        print(written)
