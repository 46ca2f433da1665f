"""Towers of pictures with 8-bit weights and activations, quantised once by ONNX Runtime and kept in the bundle.

Its static quantisation, because what it makes is one file of plain ONNX (form QDQ) that the engine which made it also
runs; NNCF would be one package more for the same arithmetic. Convolutions and products with weights, where the time
goes, are done in 8 bits: weights symmetric for each output channel, activations in the range that calibration saw. The
products of attention, norms and softmax stay in float32.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor

from medvlp.core.errors import UserError
from medvlp.core.installed import needs
from medvlp.core.protocols import Encoder, Model
from medvlp.models.backends.engines import Graph, Outputs, Sizes, as_a_sentence, exported

_IN_8_BITS = ("Conv", "Gemm", "MatMul")
_BATCH = 8


@dataclass(frozen=True)
class Int8:
    """What a bundle holds of towers in 8 bits.

    Attributes:
        graphs: ONNX files by the tower's name in the model.
        facts: plain data: ``weights``, hash of the model that they were made of; ``data``, hash of the manifest; and by
            kind of pictures ``calibrated``, on how many records and patients of training, and ``parity``, how far the
            model is from torch's then, on which part of the data.
    """

    graphs: Mapping[str, bytes]
    facts: Mapping[str, Any]

    def engines(self) -> dict[str, Callable[..., Graph]]:
        """Return what answers for each tower with its stored graph.

        Raises:
            UserError: if ONNX Runtime is not installed.
        """
        needs("onnxruntime")
        return {name: _stored(name, graph) for name, graph in self.graphs.items()}

    def told(self) -> str:
        """Return in words what is in 8 bits and what that changed.

        Example:
            >>> found = {"split": "validate", "records": 40, "least": 0.9931, "mean": 0.9984}
            >>> Int8({"towers.image": b""}, {"parity": {"image": found}}).told()
            '8 bits: towers.image; all else is torch. Cosine with torch on 40 pictures (image, validate): 0.9931 or
            more, mean 0.9984.'
        """
        said = f"8 bits: {', '.join(self.graphs)}; all else is torch."
        for kind, found in self.facts["parity"].items():
            said += (
                f" Cosine with torch on {found['records']} pictures ({kind}, {found['split']}): {found['least']:.4f} "
                f"or more, mean {found['mean']:.4f}."
            )
            if area := found.get("auroc"):
                ends = "" if area["low"] is None else f", interval {area['low']:+.3f} to {area['high']:+.3f}"
                said += (
                    f" AUROC of {area['answer']} ({area['label']}, {area['patients']} patients): {area['int8']:.3f}, "
                    f"by torch {area['torch']:.3f}, difference {area['difference']:+.3f}{ends}."
                )
        return said


def picture_towers(model: Model) -> dict[str, Encoder]:
    """Return the towers of images and slices by their names in the model."""
    return {name: each for name, each in model.named_modules() if isinstance(each, Encoder) and "image" in each.kinds}


def quantised(tower: Encoder, pixels: Tensor) -> bytes:
    """Return a tower as an ONNX graph in 8 bits: ``pixels`` -> ``pooled`` and ``tokens``, where it offers them.

    Args:
        tower: in evaluation mode, on the processor.
        pixels: (N, C, H, W) that it was given for calibration pictures; the graph takes any number of that size.

    Raises:
        UserError: if ONNX Runtime, or what writes ONNX, is not installed, or has no such graph.
    """
    needs("onnxruntime", "onnx", "onnxscript")
    from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_static
    from onnxruntime.quantization.quant_utils import add_pre_process_metadata

    class Pixels(CalibrationDataReader):
        def __init__(self) -> None:
            self.rows: Iterator[Tensor] = iter(pixels.split(_BATCH))

        def get_next(self) -> dict[str, Any] | None:
            some = next(self.rows, None)
            return None if some is None else {"pixels": some.contiguous().numpy()}

    wanted = [part for part in ("pooled", "tokens") if part in tower.offers]
    two = torch.cat([pixels[:1]] * 2)  # of one row the exporter would make a graph for one row
    sizes = ({0: torch.export.Dim("rows", min=1)},)
    with as_a_sentence("onnxruntime"), TemporaryDirectory(prefix="medvlp-") as folder:
        traced = exported(Outputs(tower, tower.forward, wanted), (two,), sizes)
        names = {"input_names": ["pixels"], "output_names": wanted}
        program = torch.onnx.export(traced, dynamo=True, verbose=False, **names)
        assert program is not None
        graph, made = program.model_proto, Path(folder) / "int8.onnx"
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


def _stored(name: str, graph: bytes) -> Callable[..., Graph]:
    import onnxruntime as ort

    options = ort.SessionOptions()
    # Without it AVX2 adds pairs of products in 16 bits, which overflow: cosines of 0.95 for 0.999.
    options.add_session_config_entry("session.x64quantprecision", "1")
    session = ort.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    shape = session.get_inputs()[0].shape[1:]

    def make(module: Outputs, inputs: tuple[Tensor, ...], sizes: Sizes) -> Graph:
        if list(inputs[0].shape[1:]) != shape:
            raise UserError(
                f"The tower {name} was quantised for pixels of {shape} and is given {list(inputs[0].shape[1:])}: use "
                "the backend torch."
            )

        def run(given: tuple[Tensor, ...]) -> list[Tensor]:
            found = session.run(list(module.wanted), {"pixels": given[0].contiguous().numpy()})
            return [torch.from_numpy(each) for each in found]

        return run

    return make
