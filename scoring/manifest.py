"""What a model is: a JSON file beside it, `<model file>.manifest.json`, says what goes in and what it was made of."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import msgspec

from infra.errors import TerminalError
from infra.model_store import VERSION_CHARACTERS
from scoring.features import MODEL_INPUTS
from scoring.history import ONLINE_INPUTS, ONLINE_VERSION
from scoring.inputs import INPUT_NAMES

FORMAT = 1


class ModelInput(msgspec.Struct, frozen=True):
    """One column of the model's input."""

    name: str
    type: str = "float32"


class TrainingData(msgspec.Struct, frozen=True):
    """What a model was trained on."""

    source: str
    """Files with their digests, or topics with their offsets."""
    first: str
    """The earliest transaction_date in it."""
    last: str
    """The latest."""
    rows: int
    fraud: int
    features_version: str


class Parity(msgspec.Struct, frozen=True):
    """How far the ONNX file and the booster that it was made of differ."""

    rows: int
    largest_difference: float


class Distribution(msgspec.Struct, frozen=True):
    """How the values of an input, or of the score, were spread in the training data.

    `shares[i]` of the values were in [edges[i], edges[i + 1]), the last edge included; what is left to 1 was missing.
    """

    edges: list[float]
    shares: list[float]


class ModelManifest(msgspec.Struct, frozen=True, kw_only=True):
    """All of it. `version` names the model everywhere: the first 16 characters of the file's sha256."""

    format: int = FORMAT
    name: str
    version: str
    sha256: str
    created: str
    """ISO 8601, UTC."""
    inputs: list[ModelInput]
    """In the order of the columns; any of INPUT_NAMES."""
    online_version: str | None = None
    """Of the definition of the online inputs; None where the model has none."""
    trained_on: TrainingData | None = None
    metrics: dict[str, float] = {}
    threshold: float | None = None
    """A transaction with this probability or more is an alert; None: the setting decides."""
    parity: Parity | None = None
    reference: dict[str, Distribution] = {}
    """By input, and `score`."""
    booster_sha256: str | None = None
    """Of the LightGBM text that explains the model's answers; None where there is none."""

    @property
    def names(self) -> tuple[str, ...]:
        """The inputs' names in order."""
        return tuple(column.name for column in self.inputs)

    @property
    def uses_history(self) -> bool:
        """Whether the model has online inputs."""
        return not set(self.names).isdisjoint(ONLINE_INPUTS)

    def check(self, where: object) -> None:
        """Nothing, if a scorer can serve this.

        Raises:
            TerminalError: it cannot; the message says why, and names `where`.
        """
        problem = self._problem()
        if problem:
            raise TerminalError(f"the manifest of {where} cannot be used: {problem}")

    def _problem(self) -> str | None:
        unknown = sorted(set(self.names) - set(INPUT_NAMES))
        checks = (
            (self.format != FORMAT, f"format {self.format} is not {FORMAT}; train the model again"),
            (self.version != self.sha256[:VERSION_CHARACTERS], "version is not the beginning of sha256"),
            (not self.inputs, "inputs is empty"),
            (bool(unknown), f"no input is called {', '.join(unknown)}"),
            (len(set(self.names)) < len(self.names), "an input is named twice"),
            (any(column.type != "float32" for column in self.inputs), "an input is not float32"),
            (
                self.uses_history and self.online_version != ONLINE_VERSION,
                f"it was trained on version {self.online_version} of the online features, this is version "
                f"{ONLINE_VERSION}; train it again",
            ),
            (self.threshold is not None and not 0 <= self.threshold <= 1, "threshold is not within 0 and 1"),
        )
        return next((problem for wrong, problem in checks if wrong), None)


def manifest_path(model: Path) -> Path:
    """Where a model's manifest is."""
    return model.with_name(model.name + ".manifest.json")


def booster_path(model: Path) -> Path:
    """Where the LightGBM text is that a model's reasons come from."""
    return model.with_name(model.name + ".booster.txt")


def plain_manifest(data: bytes, name: str = "model", inputs: Sequence[str] = MODEL_INPUTS) -> ModelManifest:
    """The manifest of a model file that has none: the 15 static inputs, and nothing known of where it comes from."""
    digest = hashlib.sha256(data).hexdigest()
    return ModelManifest(
        name=name,
        version=digest[:VERSION_CHARACTERS],
        sha256=digest,
        created="",
        inputs=[ModelInput(column) for column in inputs],
    )


def decode_manifest(data: bytes, where: object) -> ModelManifest:
    """Parse and check.

    Raises:
        TerminalError: it is no manifest, or not one that a scorer can serve.
    """
    try:
        manifest = msgspec.json.decode(data, type=ModelManifest)
    except msgspec.MsgspecError as error:
        raise TerminalError(f"the manifest of {where} cannot be read: {error}") from error
    manifest.check(where)
    return manifest


def encode_manifest(manifest: ModelManifest) -> bytes:
    """JSON for people and programs."""
    return msgspec.json.format(msgspec.json.encode(manifest), indent=2) + b"\n"


def read_manifest(model: Path) -> ModelManifest | None:
    """The manifest beside a model file; None if it has none.

    Raises:
        TerminalError: it is no manifest, or not one that a scorer can serve.
    """
    path = manifest_path(model)
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise TerminalError(f"cannot read {path}: {error.strerror}") from error
    return decode_manifest(data, model)


def write_manifest(manifest: ModelManifest, model: Path) -> None:
    """Write it beside a model file.

    Raises:
        TerminalError: a scorer could not serve it, or it is that of another file.
    """
    manifest.check(model)
    if hashlib.sha256(model.read_bytes()).hexdigest() != manifest.sha256:
        raise TerminalError(f"{model} is not the file that its manifest names by sha256")
    manifest_path(model).write_bytes(encode_manifest(manifest))
