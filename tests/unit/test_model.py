"""Which classifiers are taken, and what those are told that are not."""

import msgspec
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from infra.errors import TerminalError
from infra.model_store import Package
from scoring.history import CARD_EVENTS, ONLINE_INPUTS, ONLINE_VERSION, Events, History
from scoring.manifest import encode_manifest, plain_manifest
from scoring.model import _may_be_missing, answered, unpack_model


def classifier(*inputs: str, steps: tuple[str, ...] = ("ReduceMean", "Sigmoid"), label: int | None = None) -> Package:
    """A model that does these steps with its inputs, one after the other; with `label`, that is always its verdict."""
    names = ["input", *(f"after {step}" for step in steps[:-1]), "probability"]
    arguments = {"ReduceMean": {"axes": [1], "keepdims": 0}}
    nodes = [
        helper.make_node(step, [before], [after], **arguments.get(step, {}))
        for step, before, after in zip(steps, names, names[1:], strict=False)
    ]
    outputs = [helper.make_tensor_value_info("probability", TensorProto.FLOAT, ["rows"])]
    if label is not None:
        value = numpy_helper.from_array(np.array([label], np.int64))
        nodes += [
            helper.make_node("Shape", ["probability"], ["shape"]),
            helper.make_node("ConstantOfShape", ["shape"], ["label"], value=value),
        ]
        outputs.append(helper.make_tensor_value_info("label", TensorProto.INT64, ["rows"]))
    given = [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["rows", len(inputs)])]
    model = helper.make_model(
        helper.make_graph(nodes, "classifier", given, outputs),
        opset_imports=[helper.make_opsetid("", 15)],
        ir_version=8,
    )
    onnx.checker.check_model(model)
    data = model.SerializeToString()
    manifest = msgspec.structs.replace(plain_manifest(data, "tried", inputs), online_version=ONLINE_VERSION)
    return Package(data, encode_manifest(manifest))


@pytest.mark.parametrize(
    "missing", ["category", "card_mean_1h", "card_kmh_since_last", "card_amount_z", "merchant_rate"]
)
def test_a_model_that_has_no_answer_where_an_input_is_missing_is_refused(missing: str):
    problem = f"probability nan and the label 0 where {missing} is missing .*: train it with missing values, put an im"
    with pytest.raises(TerminalError, match=problem):
        unpack_model(classifier("amt", missing, "age"))


@pytest.mark.parametrize(
    "package",
    [
        classifier(
            "amt", "age", "cc_num", "distance_from_home", "card_count_24h", "card_sum_7d", "card_first_at_merchant"
        ),
        classifier("amt", "city_pop", steps=("Log", "Softsign", "ReduceMean", "Sigmoid")),
        classifier("amt", label=0),
        classifier("amt", label=1),
    ],
    ids=["inputs that are always there", "a logarithm", "label 0", "label 1"],
)
def test_a_model_that_has_an_answer_to_what_can_come_is_taken(package: Package):
    assert unpack_model(package).version == package.version


@pytest.mark.parametrize(
    ("package", "problem"),
    [
        (classifier("amt", label=2), r"the label 2 where each input is 1; .* a label 0 or 1"),
        (classifier("amt", label=-1), r"the label -1 where each input is 1"),
        (classifier("amt", steps=("ReduceMean", "Exp")), r"probability 2.718.* where each input is 1"),
        (classifier("amt", steps=("ReduceMean", "Neg")), r"probability -1 .* where each input is 1"),
    ],
    ids=["label 2", "label -1", "above 1", "below 0"],
)
def test_a_model_without_an_answer_to_a_plain_transaction_is_refused(package: Package, problem: str):
    with pytest.raises(TerminalError, match=problem):
        unpack_model(package)


def test_what_is_tried_as_missing_is_what_a_history_leaves_out():
    """Over cards that are new, busy, still, and again and again at the same amount."""
    draw = np.random.default_rng(1)
    rows = 20 * CARD_EVENTS
    events = Events(
        card=draw.integers(0, 30, rows),
        merchant=draw.integers(0, 20, rows),
        category=draw.integers(0, 5, rows),
        time=np.sort(draw.integers(0, 40 * 86_400, rows)),
        amount=draw.choice([0.0, -5.0, 10.0, 1e12], rows),
        latitude=draw.uniform(-90, 90, rows),
        longitude=draw.uniform(-180, 180, rows),
    )
    online = History().observe(events)
    at_times = {name for name, column in zip(ONLINE_INPUTS, online.T, strict=True) if np.isnan(column).any()}
    assert at_times == _may_be_missing() - {"category"}


def test_a_row_on_which_the_model_fails_leaves_the_others_their_answers():
    """As an embedding of ages up to 9 does, asked for one of 50."""
    table = numpy_helper.from_array(np.linspace(0, 0.9, 10, dtype=np.float32), "table")
    nodes = [
        helper.make_node("Cast", ["input"], ["index"], to=TensorProto.INT64),
        helper.make_node("Gather", ["table", "index"], ["looked up"]),
        helper.make_node("Squeeze", ["looked up", "axis"], ["probability"]),
    ]
    graph = helper.make_graph(
        nodes,
        "embedding",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["rows", 1])],
        [helper.make_tensor_value_info("probability", TensorProto.FLOAT, ["rows"])],
        [table, numpy_helper.from_array(np.array([1], np.int64), "axis")],
    )
    data = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 15)], ir_version=8).SerializeToString()
    model = unpack_model(Package(data, encode_manifest(plain_manifest(data, "tried", ("age",)))))
    ages = np.array([1, 50, 2, 9, 70, -80, 3], np.float32)[:, None]
    probability, label = model.predict(ages)
    good = [0, 2, 3, 6]
    np.testing.assert_array_equal(answered(probability, label), np.isin(range(7), good))
    np.testing.assert_array_equal(probability[good], model.run(ages[good])[0])
