"""The ONNX model: checked before it is parsed, its ZipMap removed, one call for a batch."""

import hashlib
import logging
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray
from onnxruntime.capi.onnxruntime_pybind11_state import Fail, InvalidArgument, RuntimeException

from infra import s3
from infra.errors import TerminalError
from infra.model_store import Package
from infra.settings import Settings
from scoring.features import MAY_BE_MISSING
from scoring.history import ONLINE_INPUTS, Events, History
from scoring.inputs import InputMatrix
from scoring.manifest import (
    ModelManifest,
    booster_path,
    decode_manifest,
    encode_manifest,
    plain_manifest,
    read_manifest,
)
from scoring.reasons import Explainer, explainer

logger = logging.getLogger(__name__)

PROJECT_MODEL = Path(__file__).parent / "models" / "fraud.onnx"
_KNOWN_DOMAINS = {"", "ai.onnx", "ai.onnx.ml"}
# The float32 sum of a forest's hundreds of trees can be that far from a probability.
_ROUNDING = 1e-4
_FAILURES = (Fail, InvalidArgument, RuntimeException)  # what ONNX Runtime raises of an operator


@dataclass
class Model:
    """A loaded classifier."""

    manifest: ModelManifest
    session: ort.InferenceSession
    input_name: str
    outputs: list[str]
    explainer: Explainer | None = None
    """Gives the reasons of its alerts; None where there is no booster, or no LightGBM."""
    matrix: InputMatrix = field(init=False)

    def __post_init__(self) -> None:
        self.matrix = InputMatrix(self.manifest.names)

    @property
    def version(self) -> str:
        """The first characters of the file's sha256."""
        return self.manifest.version

    def predict(self, inputs: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Score rows.

        One row on which the model fails, as on an index beyond a table's end, fails the call for all: the halves of
        the batch are asked then, and theirs, until it is found.

        Args:
            inputs: float32 [N, inputs], as `matrix` builds it.

        Returns:
            The probability of fraud, float32 [N], and the model's own verdict, int64 [N]; see `answered`.
        """
        try:
            return self.run(inputs)
        except _FAILURES as error:
            if len(inputs) == 1:
                logger.warning("model %s fails on a transaction: %s", self.version, error)
                return np.full(1, np.nan, np.float32), np.full(1, -1, np.int64)
        halves = [self.predict(half) for half in np.array_split(inputs, 2)]
        probability, label = zip(*halves, strict=True)
        return np.concatenate(probability), np.concatenate(label)

    def run(self, inputs: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """The same in one call, which fails if one row does."""
        result = self.session.run(self.outputs, {self.input_name: inputs})
        probability = np.asarray(result[0])
        if probability.ndim == 2:
            probability = probability[:, -1]
        label = (probability >= 0.5).astype(np.int64) if len(result) == 1 else np.asarray(result[1]).reshape(-1)
        return np.ascontiguousarray(probability, np.float32), label


def model_file(settings: Settings) -> Path:
    """The model that scorers begin with where nobody gave any a role: the settings' own, or the project's.

    Raises:
        InputError: it is not in S3, where it was said to be; or what `s3.fetch` raises besides.
    """
    named = settings.scoring.model
    if named is None:
        return PROJECT_MODEL
    if not s3.is_s3(named):
        return Path(named)
    return s3.fetch(named, settings.local.cache.expanduser(), settings.aws.region)


def load_model(path: Path, sha256: str | None = None) -> Model:
    """Load an ONNX classifier, with a ZipMap at its end or without.

    Args:
        path: the file; its manifest and its booster are beside it, or it has the 15 static inputs and no reasons.
        sha256: what the file's digest must be, if not what the manifest says; checked before anything is parsed.

    Raises:
        TerminalError: the file is missing, damaged, another one than expected, or not such a classifier.
    """
    data, manifest, booster = _files(path, sha256)
    return _build(data, manifest, booster, path)


def read_package(path: Path, sha256: str | None = None) -> Package:
    """The files of a model on disk, for the store.

    Args:
        path: as for `load_model`.
        sha256: as for `load_model`.

    Raises:
        TerminalError: they cannot be read, are others than expected, or the manifest cannot be served.
    """
    data, manifest, booster = _files(path, sha256)
    return Package(data, encode_manifest(manifest), booster)


def _files(path: Path, sha256: str | None) -> tuple[bytes, ModelManifest, bytes | None]:
    """Model, manifest and booster."""
    try:
        data = path.read_bytes()
        booster = booster_path(path).read_bytes() if booster_path(path).exists() else None
    except OSError as error:
        raise TerminalError(f"cannot read the model {path}: {error.strerror}") from error
    manifest = read_manifest(path) or plain_manifest(data, path.stem)
    digest = hashlib.sha256(data).hexdigest()
    for expected in filter(None, (sha256, manifest.sha256)):
        if digest != expected.lower():
            raise TerminalError(f"the model {path} has sha256 {digest}, expected {expected}: not loaded")
    return data, manifest, booster


def unpack_model(package: Package) -> Model:
    """Load a model from the files that the store keeps.

    Raises:
        TerminalError: they are damaged, do not belong together, or are no such classifier.
    """
    where = f"model {package.version}"
    manifest = decode_manifest(package.manifest, where)
    if manifest.sha256 != package.sha256:
        raise TerminalError(f"{where}: its manifest is that of another file")
    return _build(package.model, manifest, package.booster, where)


def _build(data: bytes, manifest: ModelManifest, booster: bytes | None, where: object) -> Model:
    try:
        proto = onnx.load_model_from_string(data)
        onnx.checker.check_model(proto)
    except Exception as error:
        raise TerminalError(f"{where} is not a valid ONNX model: {error}") from error
    _refuse_foreign_parts(proto, where)
    probability, label = _outputs(proto, where)
    options = ort.SessionOptions()
    # One thread per scorer process: scaling is by processes, and threads that spin for work take its cores.
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    try:
        session = ort.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise TerminalError(f"{where} cannot be run: {error}") from error
    model = Model(manifest, session, session.get_inputs()[0].name, [probability, *label])
    _try(model, where)
    model.explainer = explainer(booster, manifest, where)
    return model


def _try(model: Model, where: object) -> None:
    """Refuse a model that has no answer to a plain row, or to one that lacks what is missing at times.

    A plain row has a 1 in each input, which all of them can have; log(0) would be held against the model.
    """
    names = model.matrix.names
    missing = [place for place, name in enumerate(names) if name in _may_be_missing()]
    # A plain row, then one for each of them that lacks it alone, and one that lacks them all.
    rows = np.ones((len(missing) + 2, len(names)), np.float32)
    rows[np.arange(1, len(missing) + 1), missing] = np.nan
    rows[-1, missing] = np.nan
    try:
        probability, label = model.run(rows)
    except Exception as error:
        raise TerminalError(f"{where} cannot score {len(names)} float32 inputs: {error}") from error
    if not probability.shape == label.shape == (len(rows),):
        raise TerminalError(f"{where}: its outputs {model.outputs} are not one value for each row")
    wrong = np.flatnonzero(~answered(probability, label))
    if not len(wrong):
        return
    said = f"{where} answers with the probability {probability[wrong[0]]:g} and the label {label[wrong[0]]}"
    if not wrong[0]:
        raise TerminalError(f"{said} where each input is 1; it must be a probability from 0 to 1, and a label 0 or 1")
    lacking = ", ".join(names[place] for place in np.flatnonzero(np.isnan(rows[wrong[0]])))
    raise TerminalError(
        f"{said} where {lacking} is missing (NaN), as it is at times: train it with missing values, put an imputer in "
        "front of it, or make it without this input and name its inputs in a manifest"
    )


@cache
def _may_be_missing() -> set[str]:
    """The inputs that are NaN at times. Of the online ones: those that the first transaction of all has not."""
    (first,) = History().observe(Events._make(np.zeros((len(Events._fields), 1), np.intp)))
    return MAY_BE_MISSING | {name for name, value in zip(ONLINE_INPUTS, first, strict=True) if np.isnan(value)}


def answered(probability: NDArray[np.float32], label: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which rows have an answer: a probability, which NaN is not, and a label 0 or 1."""
    return (probability >= -_ROUNDING) & (probability <= 1 + _ROUNDING) & (label >= 0) & (label <= 1)


def _refuse_foreign_parts(proto: onnx.ModelProto, where: object) -> None:
    """A model is one file of standard operators; anything else could read files or run code."""
    if any(t.data_location == onnx.TensorProto.EXTERNAL for t in proto.graph.initializer):
        raise TerminalError(f"{where} keeps weights in other files: save it as a single file")
    foreign = {node.domain for node in proto.graph.node} - _KNOWN_DOMAINS
    if foreign:
        raise TerminalError(f"{where} needs operators outside the ONNX standard: {', '.join(sorted(foreign))}")


def _outputs(proto: onnx.ModelProto, where: object) -> tuple[str, list[str]]:
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
        raise TerminalError(f"{where} has {len(floats)} float outputs; a classifier has one, the probability")
    return floats[0], labels[:1]
