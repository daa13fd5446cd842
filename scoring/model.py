"""The ONNX model: checked before it is parsed, its ZipMap removed, one call for a batch."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray

from infra.errors import TerminalError
from scoring.features import MODEL_INPUTS

PROJECT_MODEL = Path(__file__).parent / "models" / "fraud.onnx"
_KNOWN_DOMAINS = {"", "ai.onnx", "ai.onnx.ml"}


@dataclass
class Model:
    """A loaded classifier."""

    version: str
    session: ort.InferenceSession
    input_name: str
    outputs: list[str]

    def predict(self, inputs: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Score rows of the 15 inputs.

        Args:
            inputs: float32 [N, 15] in the order of `MODEL_INPUTS`.

        Returns:
            The probability of fraud, float32 [N], and the model's own verdict, int64 [N].
        """
        result = self.session.run(self.outputs, {self.input_name: inputs})
        probability = np.asarray(result[0])
        if probability.ndim == 2:
            probability = probability[:, -1]
        label = (probability >= 0.5).astype(np.int64) if len(result) == 1 else np.asarray(result[1]).reshape(-1)
        return np.ascontiguousarray(probability, np.float32), label


def load_model(path: Path, sha256: str | None = None) -> Model:
    """Load an ONNX classifier with the 15 inputs, with a ZipMap at its end or without.

    Args:
        path: the file.
        sha256: what the file's digest must be, or its first characters; checked before anything is parsed.

    Raises:
        TerminalError: the file is missing, damaged, another one than expected, or not such a classifier.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise TerminalError(f"cannot read the model {path}: {error.strerror}") from error
    digest = hashlib.sha256(data).hexdigest()
    if sha256 and digest != sha256.lower():
        raise TerminalError(f"the model {path} has sha256 {digest}, expected {sha256}: not loaded")
    try:
        proto = onnx.load_model_from_string(data)
        onnx.checker.check_model(proto)
    except Exception as error:
        raise TerminalError(f"{path} is not a valid ONNX model: {error}") from error
    _refuse_foreign_parts(proto, path)
    probability, label = _outputs(proto, path)
    options = ort.SessionOptions()
    # One thread per scorer process: scaling is by processes, and threads that spin for work take its cores.
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    try:
        session = ort.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
        model = Model(digest[:16], session, session.get_inputs()[0].name, [probability, *label])
        sample, _ = model.predict(np.zeros((2, len(MODEL_INPUTS)), np.float32))
    except Exception as error:
        raise TerminalError(f"{path} cannot score {len(MODEL_INPUTS)} float32 inputs: {error}") from error
    if sample.shape != (2,):
        raise TerminalError(f"{path}: output {probability} is not one probability for each row")
    return model


def _refuse_foreign_parts(proto: onnx.ModelProto, path: Path) -> None:
    """A model is one file of standard operators; anything else could read files or run code."""
    if any(t.data_location == onnx.TensorProto.EXTERNAL for t in proto.graph.initializer):
        raise TerminalError(f"{path} keeps weights in other files: save it as a single file")
    foreign = {node.domain for node in proto.graph.node} - _KNOWN_DOMAINS
    if foreign:
        raise TerminalError(f"{path} needs operators outside the ONNX standard: {', '.join(sorted(foreign))}")


def _outputs(proto: onnx.ModelProto, path: Path) -> tuple[str, list[str]]:
    """Cut the ZipMap and name the outputs that hold the probability and, if there is one, the label."""
    graph = proto.graph
    for node in [n for n in graph.node if n.op_type == "ZipMap"]:
        for output in [o for o in graph.output if o.name == node.output[0]]:
            graph.output.remove(output)
        graph.output.append(onnx.helper.make_tensor_value_info(node.input[0], onnx.TensorProto.FLOAT, None))
        graph.node.remove(node)
    kinds = {output.name: output.type.tensor_type.elem_type for output in graph.output}
    floats = [name for name, kind in kinds.items() if kind == onnx.TensorProto.FLOAT]
    labels = [name for name, kind in kinds.items() if kind == onnx.TensorProto.INT64]
    if len(floats) != 1:
        raise TerminalError(f"{path} has {len(floats)} float outputs; a classifier has one, the probability")
    return floats[0], labels[:1]
