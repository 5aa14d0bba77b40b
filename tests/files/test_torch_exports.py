"""Files as PyTorch writes them are delivered, equal at several sizes."""

from __future__ import annotations

from pathlib import Path

import pytest
from delivering import deliver
from judge import complaints

pytest.importorskip("onnxscript", reason="PyTorch's exporters need onnxscript")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_torch_exports(tmp_path: Path) -> None:
    from torch_exports import export_all

    found = {}
    for path in export_all(tmp_path):
        out = path.with_suffix(".faster.onnx")
        deliver(path, out)
        found[path.stem] = complaints(path, out)
    assert len(found) > 20
    assert {name: lines for name, lines in found.items() if lines} == {}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_transformers_exports(tmp_path: Path) -> None:
    pytest.importorskip("transformers", reason="needs the package transformers")
    from transformers_exports import export_all

    for path in export_all(tmp_path):
        out = path.with_suffix(".faster.onnx")
        deliver(path, out)
        assert complaints(path, out) == [], path.stem
