"""Towers of pictures with 8-bit weights and activations, quantised once by ONNX Runtime and kept in the bundle.

Its static quantisation, because what it makes is one file of plain ONNX (form QDQ) that the engine which made it also
runs; NNCF would be one package more for the same arithmetic. Convolutions and products with weights, where the time
goes, are done in 8 bits: weights symmetric for each output channel, activations in the range that calibration saw. The
products of attention, norms and softmax stay in float32.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor

from medvlp.core.errors import UserError
from medvlp.core.installed import needs
from medvlp.core.protocols import Encoder
from medvlp.models.backends.engines import (
    Graph,
    Outputs,
    Sizes,
    as_a_sentence,
    as_onnx,
    exported,
    onnx_session,
    session_graph,
)

_IN_8_BITS = ("Conv", "Gemm", "MatMul")
_BATCH = 8


@dataclass(frozen=True)
class Int8:
    """What a bundle holds of towers in 8 bits.

    Attributes:
        graphs: ONNX files by the tower's name in the model.
        facts: plain data: ``weights``, hash of the model that they were made of; ``calibrated``, on how many records of
            training; ``parity`` with torch, on which part of the data; ``auroc`` of both, where it could be measured.
    """

    graphs: Mapping[str, bytes]
    facts: Mapping[str, Any]

    def summary(self) -> str:
        """Return in words what is in 8 bits and what that changed.

        Example:
            >>> found = {"split": "validate", "records": 40, "least": 0.9931, "mean": 0.9984}
            >>> Int8({"towers.image": b""}, {"calibrated": {"records": 200}, "parity": found}).summary()
            '8 bits: towers.image, calibrated on 200 records; all else is torch. Cosine with torch on 40 records
            (validate): 0.9931 or more, mean 0.9984.'
        """
        parity, area = self.facts["parity"], self.facts.get("auroc")
        said = (
            f"8 bits: {', '.join(self.graphs)}, calibrated on {self.facts['calibrated']['records']} records; all else "
            f"is torch. Cosine with torch on {parity['records']} records ({parity['split']}): {parity['least']:.4f} or "
            f"more, mean {parity['mean']:.4f}."
        )
        if area is not None:
            ends = "" if area["low"] is None else f", interval {area['low']:+.3f} to {area['high']:+.3f}"
            said += (
                f" AUROC ({area['label']}, {area['patients']} patients): {area['int8']:.3f}, by torch "
                f"{area['torch']:.3f}, difference {area['difference']:+.3f}{ends}."
            )
        return said


def quantised(tower: Encoder, pixels: Tensor) -> bytes:
    """Return a tower as an ONNX graph in 8 bits: ``pixels`` -> ``pooled`` and ``tokens``, where it offers them.

    Args:
        tower: in evaluation mode, on the processor.
        pixels: (N, C, H, W) that it was given for calibration pictures; the graph takes any number of that size.

    Raises:
        UserError: if ONNX Runtime, or what writes ONNX, is not installed, or has no such graph.
    """
    needs("serve", "onnxruntime", "onnx", "onnxscript")
    from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_static
    from onnxruntime.quantization.quant_utils import add_pre_process_metadata

    class Pixels(CalibrationDataReader):
        rows = iter(pixels.split(_BATCH))

        def get_next(self) -> Any:  # noqa: ANN401
            return next(({"pixels": some.contiguous().numpy()} for some in self.rows), None)

    wanted = [part for part in ("pooled", "tokens") if part in tower.offers]
    two, rows = torch.cat([pixels[:1]] * 2), torch.export.Dim("rows", min=1)  # of one row the graph would be for one
    with as_a_sentence("onnxruntime"), TemporaryDirectory(prefix="medvlp-") as folder:
        traced = exported(Outputs(tower, tower.forward, wanted), (two,), ({0: rows},))
        graph, made = as_onnx(traced, inputs=["pixels"], outputs=wanted), Path(folder) / "int8.onnx"
        add_pre_process_metadata(graph)  # torch's exporter has folded norms and inferred shapes already
        quantize_static(
            graph, made, Pixels(), per_channel=True, activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8,
            op_types_to_quantize=list(_IN_8_BITS), nodes_to_quantize=_with_weights(graph.graph),
        )  # fmt: skip
        return made.read_bytes()


def _with_weights(graph: Any) -> list[str]:  # noqa: ANN401
    """Return the names of the convolutions and products of which one side is weights."""
    weights = {each.name for each in graph.initializer}
    return [each.name for each in graph.node if each.op_type in _IN_8_BITS and each.input[1] in weights]


def stored(name: str, graph: bytes) -> Callable[..., Graph]:
    """Return what answers for a tower with the graph that `quantised` made of it.

    Raises:
        UserError: if ONNX Runtime is not installed.
    """
    needs("serve", "onnxruntime")
    import onnxruntime as ort

    options = ort.SessionOptions()
    # Without it AVX2 adds pairs of products in 16 bits, which overflow: cosines of 0.95 for 0.999.
    options.add_session_config_entry("session.x64quantprecision", "1")
    with as_a_sentence("onnxruntime"):
        session = onnx_session(graph, options)
    shape = session.get_inputs()[0].shape[1:]

    def make(module: Outputs, inputs: tuple[Tensor, ...], sizes: Sizes) -> Graph:
        if list(inputs[0].shape[1:]) != shape:
            raise UserError(
                f"The tower {name} was quantised for pixels of {shape} and is given {list(inputs[0].shape[1:])}: use "
                "the backend torch."
            )
        return session_graph(session, module.wanted)

    return make
