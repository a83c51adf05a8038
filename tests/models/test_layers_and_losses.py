"""Layers, pooling, heads and losses against values worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from models import heads, layers, losses, metrics, penalties, pooling
from models.preprocess import PictureFormat
from models.stack import keras, tf

FEATURES = np.array([[[[1.0, 0.0], [3.0, 2.0]]]], np.float32)  # [1, 1, 2, 2]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("average", [2.0, 1.0]),
        ("max", [3.0, 2.0]),
        ("average_max", [2.0, 1.0, 3.0, 2.0]),
        ("gem", [14 ** (1 / 3), 4 ** (1 / 3)]),  # cube root of (1 + 27) / 2 and of (0 + 8) / 2
    ],
)
def test_poolings(name: str, expected: list[float]) -> None:
    image = keras.Input((1, 2, 2))
    model = keras.Model(image, pooling.POOLINGS[name](image))
    np.testing.assert_allclose(model(FEATURES)[0], expected, rtol=1e-6)


def test_gem_learns_its_power_and_stays_finite_at_zero() -> None:
    layer = layers.GeneralizedMeanPooling2D()
    features = tf.zeros([2, 3, 3, 4])
    with tf.GradientTape() as tape:
        tape.watch(features)
        total = tf.reduce_sum(layer(features))
    gradients = tape.gradient(total, [features, layer.power])
    assert all(np.isfinite(gradient).all() for gradient in gradients)
    assert layer.power.constraint(tf.constant(0.2)) == 1.0


def test_layers_come_back_from_their_config() -> None:
    layer = layers.GeneralizedMeanPooling2D(initial_power=2.5, epsilon=1e-4, name="gem_pool")
    again = layers.GeneralizedMeanPooling2D.from_config(layer.get_config())
    assert (again.initial_power, again.epsilon, again.name) == (2.5, 1e-4, "gem_pool")


def test_picture_input_is_uint8_and_named() -> None:
    image, floats = heads.picture_input(PictureFormat(height=4, width=6, channels=1))
    assert (image.name, image.dtype, image.shape) == ("image", tf.uint8, (None, 4, 6, 1))
    assert floats.dtype == tf.float32
    picture = np.full((1, 4, 6, 1), 255, np.uint8)
    assert (keras.Model(image, floats)(picture).numpy() == 255.0).all()


def test_classifier_names_its_output_and_drops_out_only_in_training() -> None:
    features = keras.Input((6,))
    model = keras.Model(features, heads.classifier(features, 3, 0.5, "logits"))
    assert model.output_names == ["logits"]
    assert model.output_shape == (None, 3)
    ones = np.ones((1, 6), np.float32)
    assert np.array_equal(model(ones), model(ones))


CROSS_ENTROPY = penalties.CrossEntropy()


def per_example(loss: keras.losses.Loss, expected: list[list[float]], answered: list[list[float]]) -> np.ndarray:
    return loss.call(tf.constant(expected), tf.constant(answered)).numpy()


def test_softmax_cross_entropy() -> None:
    logits = np.log([[0.5, 0.25, 0.25], [0.1, 0.1, 0.8]]).tolist()
    targets = [[1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]
    np.testing.assert_allclose(
        per_example(losses.ClassLoss(CROSS_ENTROPY), targets, logits), -np.log([0.5, 0.8]), rtol=1e-6
    )
    smooth = per_example(losses.ClassLoss(CROSS_ENTROPY, 0.3), targets, logits)
    np.testing.assert_allclose(smooth[0], -(0.8 * np.log(0.5) + 0.2 * np.log(0.25)), rtol=1e-6)


def test_sigmoid_cross_entropy_is_the_mean_over_classes() -> None:
    logits = [[0.0, np.log(3.0)]]  # probabilities 1/2, 3/4
    value = per_example(losses.PresenceLoss(CROSS_ENTROPY), [[1.0, 0.0]], logits)
    np.testing.assert_allclose(value, [-(np.log(0.5) + np.log(0.25)) / 2], rtol=1e-6)


def test_regression_losses_are_means_over_targets() -> None:
    np.testing.assert_allclose(per_example(losses.NumberLoss(penalties.Squared()), [[0.0, 0.0]], [[1.0, 3.0]]), [5.0])
    np.testing.assert_allclose(
        per_example(losses.NumberLoss(penalties.Huber(delta=2.0)), [[0.0, 0.0]], [[1.0, 3.0]]), [(0.5 + 4.0) / 2]
    )


@pytest.mark.parametrize("penalty", penalties.NUMBER_PENALTIES.values())
def test_every_loss_of_numbers_gives_one_value_per_example(penalty: type[penalties.NumberPenalty]) -> None:
    found = per_example(losses.NumberLoss(penalty()), [[0.0, 1.0]] * 3, [[0.3, 0.7]] * 3)
    assert (found.shape, found.dtype) == ((3,), np.float32)


@pytest.mark.parametrize("loss", [losses.ClassLoss, losses.PresenceLoss])
@pytest.mark.parametrize("penalty", penalties.CLASS_PENALTIES.values())
def test_every_loss_of_classes_gives_one_value_per_example(
    penalty: type[penalties.ClassPenalty], loss: type[keras.losses.Loss]
) -> None:
    found = per_example(loss(penalty()), [[0.0, 1.0]] * 3, [[0.3, 0.7]] * 3)
    assert (found.shape, found.dtype) == ((3,), np.float32)


NAN = float("nan")
CLASSES = [penalty() for penalty in penalties.CLASS_PENALTIES.values()]
UNKNOWN = [  # loss, what is known in part and not at all
    *((losses.ClassLoss(penalty, 0.1, (2.0, 0.5)), [[0.3, 0.7], [0.0, 0.0]]) for penalty in CLASSES),
    *((losses.ClassLoss(penalty, 0.1), [[0.3, 0.7], [0.0, 0.0]]) for penalty in CLASSES),
    *((losses.PresenceLoss(penalty, 0.1, (2.0, 0.5)), [[NAN, 1.0], [NAN, NAN]]) for penalty in CLASSES),
    *((losses.NumberLoss(penalty()), [[3.0, NAN], [NAN, NAN]]) for penalty in penalties.NUMBER_PENALTIES.values()),
]


@pytest.mark.parametrize(
    ("loss", "targets"), UNKNOWN, ids=lambda value: value.penalty.kind if hasattr(value, "penalty") else ""
)
def test_what_is_not_known_costs_nothing_and_gradients_stay_finite(
    loss: keras.losses.Loss, targets: list[list[float]]
) -> None:
    answers = tf.Variable([[0.3, -0.7], [5.0, -80.0]])
    with tf.GradientTape() as tape:
        values = loss.call(tf.constant(targets), answers)
        total = tf.reduce_sum(values)
    assert values[0] > 0 and values[1] == 0
    gradient = tape.gradient(total, answers).numpy()
    assert np.isfinite(gradient).all() and not gradient[1].any()
    np.testing.assert_array_equal(gradient[0] == 0, np.isnan(targets[0]))


def test_an_example_is_divided_by_what_is_known_of_it() -> None:
    number = per_example(
        losses.NumberLoss(penalties.Squared()), [[0.0, NAN, 0.0], [0.0, 0.0, 0.0]], [[1.0, 9.0, 3.0]] * 2
    )
    np.testing.assert_allclose(number, [(1 + 9) / 2, (1 + 81 + 9) / 3])
    zeros = [[0.0, 0.0, 0.0]]
    np.testing.assert_allclose(
        per_example(losses.PresenceLoss(CROSS_ENTROPY), [[1.0, NAN, 0.0]], zeros), [np.log(2)], rtol=1e-6
    )


def test_class_weights_multiply_by_the_true_class() -> None:
    logits = np.log([[0.5, 0.25, 0.25], [0.1, 0.1, 0.8], [0.5, 0.25, 0.25]]).tolist()
    targets = [[1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.5, 0.5, 0.0]]
    found = per_example(losses.ClassLoss(CROSS_ENTROPY, class_weights=(2.0, 1.0, 3.0)), targets, logits)
    mixed = -(0.5 * np.log(0.5) + 0.5 * np.log(0.25))
    np.testing.assert_allclose(found, [-2 * np.log(0.5), -3 * np.log(0.8), 1.5 * mixed], rtol=1e-6)


def test_positive_weights_leave_absence_alone() -> None:
    logits = [[0.0, np.log(3.0)]] * 2  # probabilities 1/2, 3/4
    loss = losses.PresenceLoss(CROSS_ENTROPY, positive_weights=(2.0, 5.0))
    found = per_example(loss, [[1.0, 0.0], [0.0, 1.0]], logits)
    expected = [(2 * np.log(2) + np.log(4)) / 2, (np.log(2) + 5 * np.log(4 / 3)) / 2]
    np.testing.assert_allclose(found, expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("loss", "targets"), UNKNOWN, ids=lambda value: value.penalty.kind if hasattr(value, "penalty") else ""
)
def test_losses_come_back_from_their_config(loss: keras.losses.Loss, targets: list[list[float]]) -> None:
    again = keras.losses.deserialize(keras.losses.serialize(loss))
    assert again.get_config() == loss.get_config()
    answers = [[0.3, -0.7], [5.0, -80.0]]
    np.testing.assert_array_equal(per_example(again, targets, answers), per_example(loss, targets, answers))


def test_losses_are_those_of_keras_where_all_is_known() -> None:
    generator = np.random.default_rng(0)
    logits = generator.normal(size=(5, 4)).astype(np.float32) * 3
    shares = generator.dirichlet(np.ones(4), 5).astype(np.float32)
    pairs = [
        (
            losses.ClassLoss(CROSS_ENTROPY, 0.2),
            keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=0.2),
        ),
        (
            losses.PresenceLoss(CROSS_ENTROPY, 0.2),
            keras.losses.BinaryCrossentropy(from_logits=True, label_smoothing=0.2),
        ),
        (losses.NumberLoss(penalties.Huber(delta=0.4)), keras.losses.Huber(0.4)),
        (losses.NumberLoss(penalties.Squared()), keras.losses.MeanSquaredError()),
    ]
    for ours, reference in pairs:
        np.testing.assert_allclose(ours.call(shares, logits), reference.call(shares, logits), rtol=1e-5)


def test_metrics_while_training_leave_out_what_is_not_known() -> None:
    accuracy = metrics.KnownAccuracy()
    shares = [[0.6, 0.4], [0.0, 0.0], [0.0, 1.0], [0.0, 1.0]]
    answers = [[2.0, 1.0], [2.0, 1.0], [2.0, 1.0], [1.0, 2.0]]
    accuracy.update_state(tf.constant(shares), tf.constant(answers))
    assert float(accuracy.result()) == pytest.approx(2 / 3)
    accuracy.reset_state()
    accuracy.update_state(tf.constant(shares), tf.constant(answers), tf.constant([1.0, 1.0, 1.0, 0.0]))
    assert float(accuracy.result()) == pytest.approx(1 / 2)

    error = metrics.KnownAbsoluteError()
    error.update_state(tf.constant([[1.0, NAN], [NAN, NAN], [2.0, 5.0]]), tf.zeros([3, 2]))
    assert float(error.result()) == pytest.approx(8 / 3)
    error.reset_state()
    error.update_state(tf.constant([[1.0, NAN], [2.0, 5.0]]), tf.zeros([2, 2]), tf.constant([1.0, 0.0]))
    assert float(error.result()) == pytest.approx(1.0)


def test_area_under_the_curve_leaves_out_what_is_not_known() -> None:
    generator = np.random.default_rng(1)
    labels = generator.integers(0, 2, (40, 2)).astype(np.float32)
    logits = (generator.normal(size=(40, 2)) + labels).astype(np.float32)
    options = {"curve": "PR", "multi_label": True, "num_labels": 2, "from_logits": True}
    holes = labels.copy()
    holes[:10, 0] = NAN
    found = metrics.KnownAUC(**options)
    found.update_state(tf.constant(holes), tf.constant(logits))
    parts = []
    for chosen in (slice(10, None), slice(None)):
        single = keras.metrics.AUC(**options)
        single.update_state(labels[chosen], logits[chosen])
        parts.append(single)
    first, second = (part.true_positives.numpy()[:, k] for k, part in enumerate(parts))
    np.testing.assert_array_equal(found.true_positives.numpy(), np.stack([first, second], axis=1))
