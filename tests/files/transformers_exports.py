"""Small Hugging Face networks with random weights, as PyTorch's exporter writes them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import nn

OPSET = 18
_SMALL = {"num_hidden_layers": 2, "hidden_size": 32, "num_attention_heads": 4}


def export_all(folder: Path) -> Iterator[Path]:
    """Writes every file, and gives its path; needs `transformers`, and downloads nothing."""
    import transformers as hf

    texts = {"vocab_size": 100, "max_position_embeddings": 1024}
    bert = hf.BertConfig(**_SMALL, **texts, intermediate_size=64)
    gpt2 = hf.GPT2Config(n_layer=2, n_embd=32, n_head=4, vocab_size=100, use_cache=False)
    distil = hf.DistilBertConfig(dim=32, n_layers=2, n_heads=4, hidden_dim=64, **texts)
    vit = hf.ViTConfig(**_SMALL, intermediate_size=64, image_size=32, patch_size=8)
    tokens, image = torch.randint(0, 100, (2, 7)), torch.randn(2, 3, 32, 32)
    networks = {
        "bert": (hf.BertModel(bert), "input_ids", tokens),
        "gpt2": (hf.GPT2Model(gpt2), "input_ids", tokens),
        "distilbert": (hf.DistilBertModel(distil), "input_ids", tokens),
        "vit": (hf.ViTModel(vit), "pixel_values", image),
    }
    for name, (network, operand, value) in networks.items():
        yield _export(network.eval(), operand, value, folder / f"{name}.onnx")


class _FirstOutput(nn.Module):
    def __init__(self, network: nn.Module, operand: str) -> None:
        super().__init__()
        self.network, self.operand = network, operand

    def forward(self, value: torch.Tensor) -> Any:
        return self.network(**{self.operand: value}, return_dict=False)[0]


def _export(network: nn.Module, operand: str, value: torch.Tensor, path: Path) -> Path:
    sizes: dict[int, Any] = {0: torch.export.Dim("batch", min=1, max=64)}
    if operand == "input_ids":
        sizes[1] = torch.export.Dim("length", min=2, max=1000)
    program = torch.onnx.export(
        *(_FirstOutput(network, operand), (value,)), dynamo=True, opset_version=OPSET,
        dynamic_shapes=(sizes,), input_names=[operand], output_names=["y"], verbose=False,
    )  # fmt: skip
    program.save(str(path))
    return path
