"""Memory and seconds of optimising a large model file. Not a timed test.

    python scripts/benchmark_large_file.py [--gigabytes 1.6] [--external] [--csv PATH] [-- OPTIONS]

Writes a network of MatMul, Mul, Add and Relu with so many bytes of random weights (beyond 2 GB, or
with --external, in a data file beside it), gives it to `xflowrl`, with OPTIONS, in a process of its
own, and prints its seconds and the peak of its resident memory: what it holds itself (anonymous)
and the pages of files that are mapped into it, which the system takes back when it needs them.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import onnx
from onnx import helper

from xflowrl.report import write_csv

WIDTH = 4096
MAX_INLINE_BYTES = 1.9e9


def write_network(path: Path, num_bytes: float, *, external: bool) -> None:
    """Blocks of `WIDTH` x `WIDTH` weights, written one by one."""
    rng = np.random.default_rng(0)
    nodes, tensors, tensor, location = [], [], "x", f"{path.name}.data"
    with (path.parent / location).open("wb") as data:
        for i in range(max(1, round(num_bytes / (4 * WIDTH**2)))):
            weight = rng.standard_normal((WIDTH, WIDTH), np.float32) / np.float32(WIDTH**0.5)
            kernel = onnx.TensorProto(name=f"w{i}", data_type=1, dims=weight.shape)
            kernel.data_location = onnx.TensorProto.EXTERNAL
            places = {"location": location, "offset": data.tell(), "length": weight.nbytes}
            for key, place in places.items():
                kernel.external_data.add(key=key, value=str(place))
            data.write(weight.tobytes())
            scale = rng.uniform(0.5, 1.5, WIDTH).astype(np.float32)
            bias = rng.standard_normal(WIDTH).astype(np.float32)
            tensors += [kernel, onnx.numpy_helper.from_array(scale, f"s{i}")]
            tensors.append(onnx.numpy_helper.from_array(bias, f"b{i}"))
            nodes += [
                helper.make_node("MatMul", [tensor, f"w{i}"], [f"m{i}"]),
                helper.make_node("Mul", [f"m{i}", f"s{i}"], [f"t{i}"]),
                helper.make_node("Add", [f"t{i}", f"b{i}"], [f"a{i}"]),
                helper.make_node("Relu", [f"a{i}"], [f"r{i}"]),
            ]
            tensor = f"r{i}"
    shape = ["batch", WIDTH]
    graph = helper.make_graph(
        *(nodes, "large"),
        [helper.make_tensor_value_info("x", 1, shape)],
        [helper.make_tensor_value_info(tensor, 1, shape)],
        tensors,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, path)
    if not external:
        model = onnx.load(path)  # with its data
        (path.parent / location).unlink()
        onnx.save(model, path)


def watch(command: list[str]) -> tuple[float, dict[str, float], str]:
    """Runs a command; its seconds, the peaks of its memory in GB, and what it printed."""
    peaks = {"VmRSS": 0.0, "RssAnon": 0.0, "RssFile": 0.0}
    started = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        while process.poll() is None:
            try:
                status = Path(f"/proc/{process.pid}/status").read_text()
            except OSError:
                break
            for name, kilobytes in re.findall(r"(VmRSS|RssAnon|RssFile):\s+(\d+) kB", status):
                peaks[name] = max(peaks[name], int(kilobytes) / 1e6)
            time.sleep(0.02)
        printed = process.communicate()[0]
    if process.returncode:
        sys.exit(f"it failed with {process.returncode}")
    return time.perf_counter() - started, peaks, printed


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--gigabytes", type=float, default=1.6)
    parser.add_argument("--external", action="store_true")
    parser.add_argument("--csv", type=Path)
    parser.add_argument("options", nargs="*")
    arguments = parser.parse_args()
    num_bytes = 1e9 * arguments.gigabytes
    with tempfile.TemporaryDirectory() as folder:
        path, out = Path(folder) / "large.onnx", Path(folder) / "faster.onnx"
        is_external = arguments.external or num_bytes > MAX_INLINE_BYTES
        write_network(path, num_bytes, external=is_external)
        command = [sys.executable, "-m", "xflowrl", str(path), "-o", str(out), *arguments.options]
        seconds, peaks, printed = watch(command)
    print(printed)
    row: dict[str, str] = {
        "gigabytes": f"{arguments.gigabytes:g}",
        "external": str(is_external),
        "options": " ".join(arguments.options),
        "seconds": f"{seconds:.1f}",
        "resident_gb": f"{peaks['VmRSS']:.2f}",
        "anonymous_gb": f"{peaks['RssAnon']:.2f}",
        "mapped_gb": f"{peaks['RssFile']:.2f}",
    }
    print("  ".join(f"{name} {value}" for name, value in row.items() if value))
    if arguments.csv:
        write_csv(arguments.csv, [row])


if __name__ == "__main__":
    main()
