"""Brings the bodies of If, Loop and Scan to opset 18: they stay with their node as they are."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx

from xflowrl.onnx_io.folding import MAX_KNOWN_FLOATS
from xflowrl.onnx_io.inference import body_types
from xflowrl.onnx_io.inlining import bodies, expand_function
from xflowrl.onnx_io.known import Known
from xflowrl.onnx_io.model import Array
from xflowrl.onnx_io.reading import opset_of
from xflowrl.onnx_io.tensor_types import CANONICAL_OPSET, UniqueNames
from xflowrl.onnx_io.upgrade import upgrade


class BodyUpgrade:
    """Upgrades bodies, and replaces calls of the model's functions inside them."""

    def __init__(
        self,
        functions: Mapping[tuple[str, str, str], onnx.FunctionProto],
        names: UniqueNames,
        custom_opsets: Mapping[str, int],
    ) -> None:
        self._functions = functions
        self._names = names
        self._custom_opsets = custom_opsets

    def upgrade(self, node: onnx.NodeProto, opset: int, known: Known) -> None:
        """Brings the bodies of a node to opset 18, in place, nested ones first."""
        if not bodies(node):
            return
        inner = body_types(node, opset, known, self._custom_opsets)
        here = Known({**known.types, **inner}, known.value, lambda name: True, self._names)
        for body in bodies(node):
            self._upgrade_body(body, opset, here)

    def _upgrade_body(self, body: onnx.GraphProto, opset: int, known: Known) -> None:
        inner: dict[str, Array] = {
            t.name: onnx.numpy_helper.to_array(t)
            for t in body.initializer
            if np.prod(t.dims) <= MAX_KNOWN_FLOATS
        }

        def value(name: str) -> Array | None:
            return inner[name] if name in inner else known.value(name)

        here = Known(known.types, value, known.is_used, known.names)
        pending = [(node, opset) for node in reversed(body.node)]
        upgraded: list[onnx.NodeProto] = []
        while pending:
            node, version = pending.pop()
            for nested in bodies(node):
                self._upgrade_body(nested, version, here)
            function = self._functions.get((node.domain, node.op_type, node.overload))
            if function is not None:
                new_nodes = expand_function(node, function, self._names)
                version = opset_of(function.opset_import) or version
                pending.extend((new, version) for new in reversed(new_nodes))
            elif node.domain not in ("", "ai.onnx") or version >= CANONICAL_OPSET:
                upgraded.append(node)
            else:
                upgraded.extend(upgrade(node, version, here))
        del body.node[:]
        body.node.extend(upgraded)
        del body.value_info[:]
