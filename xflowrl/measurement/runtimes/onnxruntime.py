"""ONNX Runtime on the CPU: sessions bound to buffers, and nothing left behind."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from xflowrl.measurement.device import DeviceLock, cpu_name, device_lock
from xflowrl.measurement.runtimes.runtime import clock_ns, refusal, trim_memory

if TYPE_CHECKING:
    import onnxruntime

DEVICES = ("cpu",)
PRECISIONS = ("fp32",)

# Activations of its CPU kernels FusedConv and FusedGemm.
_GEMM_ACTIVATIONS = ("Relu", "LeakyRelu", "Sigmoid", "Tanh", "HardSigmoid")
_FUSED = frozenset(
    [("Gemm", "float32", activation) for activation in _GEMM_ACTIVATIONS]
    + [
        ("Conv", dtype, activation)
        for dtype in ("float32", "float16")
        for activation in (*_GEMM_ACTIVATIONS, "Clip", "HardSwish")
    ]
)
_BFLOAT16 = 16  # TensorProto.DataType; NumPy has no such type
_FATAL = 4


def optimised(device: str, threads: int, precision: str = "fp32") -> OnnxRuntime:
    """With all of its own optimisations: standard ONNX as people deploy it."""
    return OnnxRuntime("onnxruntime", device, threads, is_optimised=True)


def plain(device: str, threads: int, precision: str = "fp32") -> OnnxRuntime:
    """Its own optimisations off, fused nodes as its fused kernels: the graph as it is."""
    return OnnxRuntime("onnxruntime_plain", device, threads, is_optimised=False)


@dataclass(frozen=True)
class OnnxRuntime:
    """ONNX Runtime with or without its optimisations; see `Runtime`."""

    name: str
    kind: str  # of device
    threads: int
    is_optimised: bool
    driver: str = ""
    precision: str = "fp32"
    views: bool = False

    @property
    def device(self) -> str:
        """The CPU's name."""
        return cpu_name()

    @property
    def version(self) -> str:
        """For example "onnxruntime 1.31.1, cpu, 1 thread, unoptimised"."""
        import onnxruntime

        threads = f"{self.threads} thread{'s' * (self.threads > 1)}"
        optimised = "optimised" if self.is_optimised else "unoptimised"
        return f"onnxruntime {onnxruntime.__version__}, {self.kind}, {threads}, {optimised}"

    @property
    def lock(self) -> DeviceLock:
        """The device's lock."""
        return device_lock(self.kind)

    @property
    def fused(self) -> Collection[tuple[str, str, str]]:
        """None where it fuses by itself, so that it is given standard ONNX."""
        return frozenset() if self.is_optimised else _FUSED

    def compile(self, model: bytes | Path, feeds: Mapping[str, np.ndarray]) -> BoundSession:
        """A session bound to `feeds`."""
        session = open_session(model, is_optimised=self.is_optimised, threads=self.threads)
        return BoundSession(session, feeds, threads=self.threads)

    def release(self) -> None:
        """Gives freed memory back to the system."""
        trim_memory()


def open_session(
    model: bytes | Path,
    *,
    is_optimised: bool = False,
    threads: int = 1,
    folder: Path | None = None,
    prepack: bool = True,
) -> onnxruntime.InferenceSession:
    """A session without memory arena; operators run one after the other.

    Memory is given back when the session is dropped; with the arena some would stay.
    A path is needed for models beyond protobuf's 2 GB. `threads` 0 is one for each core.
    `folder` is where the external data of a model given as bytes lie. Without `prepack` weights are
    used as they lie in their files, mapped into memory; kernels are slower, and no copies are made:
    that is for a few runs.

    Raises:
        RuntimeError: the runtime refuses the model; onnxruntime's exceptions are all made such,
            with the runtime's message.
        MemoryError: there is too little memory for it.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.enable_cpu_mem_arena = False
    options.log_severity_level = _FATAL
    if folder is not None:
        key = "session.model_external_initializers_file_folder_path"
        options.add_session_config_entry(key, str(folder.resolve()))
    if not prepack:
        options.enable_mem_pattern = False  # planning takes longer than a few runs save
        # At small operators threads that wait busily take twice the time of one.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.add_session_config_entry("session.disable_prepacking", "1")
    level = onnxruntime.GraphOptimizationLevel
    options.graph_optimization_level = (
        level.ORT_ENABLE_ALL if is_optimised else level.ORT_DISABLE_ALL
    )
    source = str(model) if isinstance(model, Path) else model
    try:
        return onnxruntime.InferenceSession(  # a second attempt fails as well, and prints
            source, options, providers=["CPUExecutionProvider"], enable_fallback=0
        )
    except Exception as error:  # the runtime's exceptions share no narrower base class
        raise refusal(error) from error


class BoundSession:
    """A session bound to its inputs; calling it executes, copying neither inputs nor outputs.

    Output buffers are allocated by the first execution, here, and used again by the later ones;
    where the model declares another shape the runtime refuses that, and each allocates its own.
    bfloat16 feeds are given as their uint16 bits.

    Raises:
        RuntimeError: from construction or a call, as `open_session`.
    """

    layout = ""

    def __init__(
        self,
        session: onnxruntime.InferenceSession,
        feeds: Mapping[str, np.ndarray],
        *,
        threads: int = 1,
    ) -> None:
        import onnxruntime

        self._session = session
        self._threads = threads
        self._binding = session.io_binding()
        self._lent = []  # the binding does not keep its inputs' memory alive
        for wanted in session.get_inputs():
            value = np.ascontiguousarray(feeds[wanted.name])
            if wanted.type == "tensor(bfloat16)":
                tensor = onnxruntime.OrtValue.ortvalue_from_numpy_with_onnx_type(value, _BFLOAT16)
            else:
                tensor = onnxruntime.OrtValue.ortvalue_from_numpy(value)
            self._lent.append(tensor)
            self._binding.bind_ortvalue_input(wanted.name, tensor)
        self._keeps_outputs = False
        self()
        results = zip(session.get_outputs(), self._binding.get_outputs(), strict=True)
        self._keeps_outputs = all(
            _agree(output.shape, value.shape()) for output, value in results if value.is_tensor()
        )

    def __call__(self) -> float:
        if not self._keeps_outputs:
            for output in self._session.get_outputs():
                self._binding.bind_output(output.name, "cpu")
        try:
            started_ns = clock_ns(self._threads)
            self._session.run_with_iobinding(self._binding)
            return (clock_ns(self._threads) - started_ns) / 1e6
        except Exception as error:  # as in open_session
            raise refusal(error) from error

    def output_shapes(self) -> list[tuple[int, ...]]:
        """The shapes that the last execution produced."""
        return [tuple(value.shape()) for value in self._binding.get_outputs()]


def _agree(declared: Sequence[int | str | None], shape: Sequence[int]) -> bool:
    """Whether an output has the shape that the model declares; [] may be no declaration."""
    return not declared or (
        len(declared) == len(shape)
        and all(d == s for d, s in zip(declared, shape, strict=True) if isinstance(d, int))
    )
