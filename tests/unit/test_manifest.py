"""The manifest of a model: what is refused, and in which words."""

from pathlib import Path

import msgspec
import pytest

from infra.errors import TerminalError
from scoring.features import MODEL_INPUTS
from scoring.history import ONLINE_VERSION
from scoring.manifest import (
    Distribution,
    ModelInput,
    manifest_path,
    plain_manifest,
    read_manifest,
    write_manifest,
)

DATA = b"a model"
ONLINE = [ModelInput("amt"), ModelInput("card_count_1h")]


def test_it_is_read_as_it_was_written(tmp_path: Path):
    model = tmp_path / "m.onnx"
    model.write_bytes(DATA)
    manifest = msgspec.structs.replace(
        plain_manifest(DATA),
        inputs=ONLINE,
        online_version=ONLINE_VERSION,
        threshold=0.3,
        reference={"score": Distribution([0.0, 0.5, 1.0], [0.9, 0.1])},
    )
    write_manifest(manifest, model)
    assert read_manifest(model) == manifest
    assert manifest.names == ("amt", "card_count_1h")
    assert manifest.uses_history


def test_a_model_without_one_has_the_static_inputs(tmp_path: Path):
    assert read_manifest(tmp_path / "m.onnx") is None
    assert plain_manifest(DATA).names == MODEL_INPUTS
    assert not plain_manifest(DATA).uses_history


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"format": 2}, "format 2 is not 1"),
        ({"version": "0" * 16}, "version is not the beginning of sha256"),
        ({"inputs": []}, "inputs is empty"),
        ({"inputs": [ModelInput("amount")]}, "no input is called amount"),
        ({"inputs": [ModelInput("amt"), ModelInput("amt")]}, "named twice"),
        ({"inputs": [ModelInput("amt", "int64")]}, "not float32"),
        ({"inputs": ONLINE, "online_version": "0"}, "trained on version 0 of the online features"),
        ({"inputs": ONLINE, "online_version": None}, "trained on version None of the online features"),
        ({"threshold": 1.5}, "threshold is not within 0 and 1"),
    ],
)
def test_what_cannot_be_served_is_refused(changes, problem, tmp_path: Path):
    model = tmp_path / "m.onnx"
    model.write_bytes(DATA)
    wrong = msgspec.structs.replace(plain_manifest(DATA), **changes)
    with pytest.raises(TerminalError, match=problem):
        write_manifest(wrong, model)
    manifest_path(model).write_bytes(msgspec.json.encode(wrong))
    with pytest.raises(TerminalError, match=problem):
        read_manifest(model)


def test_what_is_no_manifest_is_told(tmp_path: Path):
    manifest_path(tmp_path / "m.onnx").write_text('{"format": "one"}')
    with pytest.raises(TerminalError, match=r"cannot be read: .*\$\.format"):
        read_manifest(tmp_path / "m.onnx")


def test_the_manifest_of_another_file_is_refused(tmp_path: Path):
    (tmp_path / "m.onnx").write_bytes(b"another")
    with pytest.raises(TerminalError, match="is not the file that its manifest names"):
        write_manifest(plain_manifest(DATA), tmp_path / "m.onnx")
