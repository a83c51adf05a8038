"""What holds for every task with every learner, from the settings to the exported file."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import TypeAdapter

from models.stack import keras, tf
from pipeline import stages, trained
from pipeline.callbacks import ExactValidationLoss
from pipeline.compress import CompressionJob
from pipeline.compress.inspect import inspect_content
from pipeline.compress.post_training import Float32
from pipeline.data.example import ID, IMAGE, TEST, TRAIN, DataInfo
from pipeline.data.input import encoded_pictures, evaluation_batches, validation_batches
from pipeline.errors import ConfigError, DataError
from pipeline.evaluate import evaluate_predictor
from pipeline.export import ExportSettings
from pipeline.export.saved_model import export_saved_model
from pipeline.export.tflite import refuse_other_operators
from pipeline.metrics.base import Evaluator
from pipeline.ownership import flat
from pipeline.predictors import KerasPredictor, SavedModelPredictor, TFLitePredictor, named
from pipeline.run import Run
from pipeline.tasks import TASKS, AnyTask, Task
from tests.contracts.subjects import (
    BATCH,
    ONCE,
    PAIRS,
    TRAINED,
    Subject,
    gradients,
    store_for,
    subject,
    task_class,
    tiny_task,
)

STEPS = 20
UNEVEN = 7
"""A batch size that leaves padding in the last batch of the 12 test pictures."""


FEWER = {
    "test_padding_of_the_last_batch_does_not_count_in_validation": ONCE,
    "test_the_loss_falls_on_one_batch": TRAINED,
}
"""What Keras does with the values of all losses alike, and what takes long."""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Of what each test sees `one`."""
    if "one" in metafunc.fixturenames:
        pairs = FEWER.get(metafunc.function.__name__, PAIRS)
        metafunc.parametrize("one", pairs, ids=" ".join, indirect=True, scope="module")


@pytest.fixture(scope="module")
def one(request: pytest.FixtureRequest, table: Path) -> Subject:
    """A task with a learner, freshly built; tests that train it come last."""
    kind, learner = request.param
    store = store_for(task_class(kind), table)
    return subject(tiny_task(kind, store), learner, store)


@pytest.fixture(scope="module", params=[name for name, learner in PAIRS if learner == "supervised"])
def plain(request: pytest.FixtureRequest, table: Path) -> Subject:
    """The same for what looks at the task's own network alone, which no learner changes."""
    store = store_for(task_class(request.param), table)
    return subject(tiny_task(request.param, store), "supervised", store)


@pytest.fixture(scope="module")
def pictures(plain: Subject) -> np.ndarray:
    """uint8 [12, H, W, C]: the test split as the model sees it."""
    batch = next(iter(evaluation_batches(plain.store, plain.task, TEST, plain.store.info.num_examples[TEST])))
    return batch[IMAGE].numpy()


@pytest.fixture(scope="module")
def predictor(plain: Subject) -> KerasPredictor:
    """The Keras model with its decoding."""
    return KerasPredictor(plain.task.serving_model(plain.model))


@pytest.fixture(scope="module")
def answers(predictor: KerasPredictor, pictures: np.ndarray) -> dict[str, np.ndarray]:
    """Its decoded predictions for `pictures`."""
    return predictor({IMAGE: pictures})


@pytest.fixture(scope="module")
def uneven(plain: Subject, predictor: KerasPredictor) -> Evaluator:
    """The test split scored with padding in the last batch."""
    return scored(plain, predictor, UNEVEN)


def same_answers(task: Task, found: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> None:
    assert set(found) == set(expected)
    found = dict(task.comparable(expected, found))
    for name, values in expected.items():
        assert found[name].dtype == values.dtype
        np.testing.assert_allclose(found[name], values, rtol=1e-5, atol=1e-5 * np.abs(values).max(), err_msg=name)


# ------------------------------------------------------------------------------------------------- settings, data


def test_settings_survive_json(one: Subject) -> None:
    for task in (one.task, TASKS[one.task.kind]()):
        assert TypeAdapter(AnyTask).validate_json(task.model_dump_json()) == task
    assert type(one.learner).model_validate_json(one.learner.model_dump_json()) == one.learner


def test_what_the_data_decides_is_filled_in(one: Subject) -> None:
    assert TASKS[one.task.kind]() != one.task
    assert one.task.resolve(one.store.info) == one.task


def test_data_without_the_label_is_refused(one: Subject) -> None:
    with pytest.raises(DataError, match=repr(one.task.label_field)):
        TASKS[one.task.kind]().resolve(DataInfo(fields=(ID, IMAGE), num_examples={TRAIN: 10}))


def test_data_with_other_names_than_were_resolved_is_refused(one: Subject) -> None:
    names = ("other", "names", "than", "before")
    other = DataInfo(fields=one.store.info.fields, class_names=names, value_names=names)
    with pytest.raises(DataError, match="other"):
        one.task.resolve(other)


def test_encoded_batches_are_what_the_model_takes_and_gives(one: Subject) -> None:
    taken = dict(zip(one.fitted.input_names, one.fitted.inputs, strict=True))
    assert forms(one.inputs) == forms(taken)
    assert set(one.targets) == set(one.learner.losses(one.task)) <= set(one.fitted.output_names)
    for value in (*one.inputs.values(), *one.targets.values()):
        assert value.shape[0] == BATCH


def forms(tensors: dict[str, Any]) -> dict[str, Any]:
    """Name -> shape of one example, and number type."""
    return {name: (tuple(tensor.shape[1:]), tensor.dtype) for name, tensor in tensors.items()}


def test_encoding_has_fixed_shapes_inside_tf_data(one: Subject) -> None:
    encoded = validation_batches(one.store, one.task, TEST, UNEVEN).element_spec
    for spec in tf.nest.flatten(encoded):
        assert spec.shape.is_fully_defined()


# ------------------------------------------------------------------------------------------------- model, losses


def test_the_model_takes_uint8_pictures_and_names_its_outputs(plain: Subject) -> None:
    assert plain.model.input_names == [IMAGE]
    (image,) = plain.model.inputs
    assert (image.dtype, tuple(image.shape)) == (tf.uint8, (None, *plain.task.picture.shape))
    assert all(output.dtype == tf.float32 for output in plain.model.outputs)
    assert not any(isinstance(layer, keras.Model) for layer in plain.model.layers)


def test_losses_give_one_value_for_each_example(one: Subject) -> None:
    outputs = dict(zip(one.fitted.output_names, tf.nest.flatten(one.fitted(one.inputs)), strict=True))
    for name, loss in one.learner.losses(one.task).items():
        values = loss.call(one.targets[name], outputs[name])
        assert values.shape == (BATCH,)
        assert loss.reduction in ("auto", "sum_over_batch_size")  # Keras divides by the global batch, replicas add up
        mean = float(loss(one.targets[name], outputs[name]))
        assert mean == pytest.approx(float(tf.reduce_mean(values)), rel=1e-5)


def test_gradients_reach_every_trainable_weight(one: Subject) -> None:
    found = gradients(one)
    assert {weight.name for weight in one.model.trainable_weights} <= set(found)
    unreached = [name for name, gradient in found.items() if gradient is None or not np.any(gradient)]
    assert unreached == []
    assert [name for name, gradient in found.items() if not np.all(np.isfinite(gradient))] == []


def raw_outputs(one: Subject) -> dict[str, tf.Tensor]:
    return named(one.model, one.model(one.inputs[IMAGE], training=False))


def test_a_student_that_answers_as_its_teacher_has_nothing_to_learn(plain: Subject) -> None:
    found = raw_outputs(plain)
    for factor, unlike in ((1.0, False), (3.0, True)):
        values = plain.task.distillation_loss({name: factor * value for name, value in found.items()}, found, 2.0)
        assert values.shape == (BATCH,)
        assert bool(np.all(values > 1e-7)) is unlike
        np.testing.assert_allclose(values, np.maximum(values, 0.0), atol=1e-6)
    assert plain.task.outputs_of(plain.task, found).keys() == found.keys()


def test_decoding_is_undone_as_far_as_predictions_tell(plain: Subject) -> None:
    """A task whose decoding cannot be undone says so."""
    asked = plain.task.with_views(plain.model)
    predictions = plain.task.decode(named(asked, asked(plain.inputs[IMAGE], training=False)))
    try:
        again = plain.task.decode(plain.task.raw_outputs(predictions))
    except ConfigError as error:
        assert "Give the Run" in str(error)
        return
    found, expected = ({name: value.numpy() for name, value in values.items()} for values in (again, predictions))
    same_answers(plain.task, found, expected)


# ------------------------------------------------------------------------------------------------- predictions, scores


def test_predictions_are_named_and_explained(plain: Subject, answers: dict[str, np.ndarray]) -> None:
    assert set(plain.task.meanings()) == set(answers)
    for name, meaning in plain.task.meanings().items():
        low = -math.inf if meaning.low is None else meaning.low
        high = math.inf if meaning.high is None else meaning.high
        assert np.all((answers[name] >= low) & (answers[name] <= high))
    first = {name: values[0] for name, values in answers.items()}
    assert json.loads(json.dumps(plain.task.answer(first), allow_nan=False)) == plain.task.answer(first)


def scored(one: Subject, predictor: KerasPredictor, batch_size: int) -> Evaluator:
    return evaluate_predictor(predictor, evaluation_batches(one.store, one.task, TEST, batch_size), one.task)


def test_padding_of_the_last_batch_does_not_count_in_evaluation(
    plain: Subject, predictor: KerasPredictor, uneven: Evaluator
) -> None:
    assert plain.store.info.num_examples[TEST] % UNEVEN
    single = scored(plain, predictor, 1)
    assert single.agreement_with(uneven) == 1.0
    expected, found = flat(single.result()), flat(uneven.result())
    assert found == {name: nearly(value) for name, value in expected.items()}


def nearly(value: Any) -> Any:
    """What is as good as equal to a number; None, which says that there is none, is only equal to itself."""
    return value if value is None else pytest.approx(value, rel=1e-4, abs=1e-5, nan_ok=True)


def test_padding_of_the_last_batch_does_not_count_in_validation(one: Subject) -> None:
    count = one.store.info.num_examples[TEST]
    fitted = one.compile(keras.optimizers.SGD(0.0), run_eagerly=True)  # three steps are not worth tracing
    results = {}
    for size in (count, UNEVEN):
        batches = one.learner.batches(one.task, validation_batches(one.store, one.task, TEST, size))
        results[size] = fitted.evaluate(batches, return_dict=True, verbose=0)
        factor = ExactValidationLoss(count, size).factor
        outputs = [f"{name}_loss" for name in one.learner.losses(one.task)]
        for name in {"loss", *outputs} & set(results[size]):
            results[size][name] *= factor
    assert results[UNEVEN] == pytest.approx(results[count], rel=1e-4, abs=1e-5)


def test_the_numbers_that_a_task_is_judged_by_exist(plain: Subject, uneven: Evaluator) -> None:
    result = uneven.result()
    assert isinstance(result[plain.task.metric.name], float)
    assert json.loads(json.dumps(result, allow_nan=False)) == result
    shown = {metric.name for metrics in plain.task.metrics().values() for metric in metrics}
    assert plain.task.monitor.name in {"loss", *shown}


# ------------------------------------------------------------------------------------------------- files


def test_a_saved_model_answers_the_same(
    plain: Subject, pictures: np.ndarray, answers: dict[str, np.ndarray], tmp_path: Path
) -> None:
    run = Run(tmp_path)
    stages.keep_model(run, plain.model, plain.task)
    task, model = trained.load_task(run), trained.load_model(run)
    assert task == plain.task
    found = KerasPredictor(task.serving_model(model))({IMAGE: pictures})
    for name, values in answers.items():
        np.testing.assert_array_equal(found[name], values)


@pytest.fixture
def settled(plain: Subject, pictures: np.ndarray) -> Iterator[dict[str, np.ndarray]]:
    """Answers of the network while its normalisations know the pictures, as those of any trained one do: else numbers
    grow from layer to layer, and rounding with them."""
    before = plain.model.get_weights()
    layers = [layer for layer in plain.model.layers if isinstance(layer, keras.layers.BatchNormalization)]
    momenta = [layer.momentum for layer in layers]
    for layer in layers:
        layer.momentum = 0.0
    plain.model(pictures, training=True)
    for layer, momentum in zip(layers, momenta, strict=True):
        layer.momentum = momentum
    yield KerasPredictor(plain.task.serving_model(plain.model))({IMAGE: pictures})
    plain.model.set_weights(before)


def test_a_tflite_file_answers_the_same_with_builtin_operators(
    plain: Subject, pictures: np.ndarray, settled: dict[str, np.ndarray], tmp_path: Path
) -> None:
    content = Float32().convert(CompressionJob(plain.task, plain.model, pictures, lambda *_, **__: None, lambda _: 0.0))
    refuse_other_operators(content, "float32")
    assert not [name for name in inspect_content(content).operators if "Flex" in name or name == "CUSTOM"]
    file = tmp_path / "model.tflite"
    file.write_bytes(content)
    same_answers(plain.task, TFLitePredictor(file)({IMAGE: pictures}), settled)


def test_an_exported_saved_model_answers_the_same(
    plain: Subject, pictures: np.ndarray, answers: dict[str, np.ndarray], tmp_path: Path
) -> None:
    encoded = encoded_pictures(plain.store, TEST, len(pictures))
    settings = ExportSettings(warmup_requests=1, warmup_batch_sizes=(1,))
    version = export_saved_model(plain.task, plain.model, tmp_path, encoded, settings)
    same_answers(plain.task, SavedModelPredictor(version, "images")({IMAGE: pictures}), answers)
    same_answers(
        plain.task, SavedModelPredictor(version, "serving_default")({"image_bytes": np.array(encoded, object)}), answers
    )


# ------------------------------------------------------------------------------------------------- training; goes last


def test_the_loss_falls_on_one_batch(one: Subject) -> None:
    fitted = one.compile(keras.optimizers.Adam(0.01))
    batches = tf.data.Dataset.from_tensors((one.inputs, one.targets)).repeat()
    losses = fitted.fit(batches, steps_per_epoch=1, epochs=STEPS, verbose=0).history["loss"]
    assert losses[-1] < 0.7 * losses[0]
