"""What is taken over from a teacher, against values computed with numpy and scipy, one example or pair at a time."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy.special import expit, rel_entr, softmax

from models import distillation
from models.preprocess import PictureFormat
from models.stack import keras, tf

GENERATOR = np.random.default_rng(2)
STUDENT, TEACHER = (GENERATOR.normal(0, 3, (5, 4)).astype(np.float32) for _ in range(2))


def features(size: int, channels: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(5, size, size, channels)).astype(np.float32)


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_softened_softmax_is_the_divergence_of_the_softened_distributions(temperature: float) -> None:
    found = distillation.softened_softmax(STUDENT, TEACHER, temperature)
    targets, given = softmax(TEACHER / temperature, axis=1), softmax(STUDENT / temperature, axis=1)
    np.testing.assert_allclose(found, temperature**2 * rel_entr(targets, given).sum(axis=1), rtol=1e-4)


def test_softened_sigmoid_is_the_mean_divergence_of_the_classes() -> None:
    found = distillation.softened_sigmoid(STUDENT, TEACHER, 2.0)
    targets, given = expit(TEACHER / 2), expit(STUDENT / 2)
    divergence = rel_entr(targets, given) + rel_entr(1 - targets, 1 - given)
    np.testing.assert_allclose(found, 4 * divergence.mean(axis=1), rtol=1e-3)


def test_the_gradient_hardly_shrinks_with_the_temperature() -> None:
    sizes = []
    for temperature in (20.0, 200.0):
        student = tf.Variable(STUDENT)
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(distillation.softened_softmax(student, TEACHER, temperature))
        sizes.append(np.abs(tape.gradient(loss, student)).mean())
    assert sizes[1] == pytest.approx(sizes[0], rel=0.2)


def test_several_teachers_give_the_gradient_of_the_mean_of_their_softened_answers() -> None:
    teachers, student = [TEACHER, TEACHER[::-1].copy()], tf.Variable(STUDENT)
    with tf.GradientTape(persistent=True) as tape:
        mean_loss = tf.add_n([distillation.softened_softmax(student, one, 4.0) for one in teachers]) / 2
        mean_answer = np.log(np.mean([softmax(one / 4, axis=1) for one in teachers], axis=0)) * 4
        to_mean = distillation.softened_softmax(student, mean_answer.astype(np.float32), 4.0)
    np.testing.assert_allclose(tape.gradient(mean_loss, student), tape.gradient(to_mean, student), atol=1e-5)
    assert np.all(mean_loss.numpy() >= to_mean.numpy() - 1e-5)  # by how far the teachers disagree


def test_squared_error_is_a_mean_over_all_but_the_batch() -> None:
    student, teacher = features(3, 2, 1), features(3, 2, 2)
    expected = ((student - teacher) ** 2).reshape(5, -1).mean(axis=1)
    np.testing.assert_allclose(distillation.squared_error(student, teacher), expected, rtol=1e-5)


def test_attention_is_the_distance_of_maps_of_length_one() -> None:
    student, teacher = features(4, 3, 1), features(4, 7, 2)
    maps = [(one**2).mean(axis=-1).reshape(5, -1) for one in (student, teacher)]
    units = [one / np.linalg.norm(one, axis=1, keepdims=True) for one in maps]
    expected = ((units[0] - units[1]) ** 2).sum(axis=1)
    np.testing.assert_allclose(distillation.attention_distance(student, teacher), expected, rtol=1e-4)


def test_attention_does_not_depend_on_scale_and_size() -> None:
    student = np.repeat(np.repeat(features(4, 1, 1), 2, axis=1), 2, axis=2)
    np.testing.assert_allclose(distillation.attention_distance(student, 5 * student), np.zeros(5), atol=1e-6)
    level = distillation.attention_distance(student, np.ones((5, 3, 5, 2), np.float32))
    np.testing.assert_allclose(level, distillation.attention_distance(student, np.ones_like(student)), rtol=1e-5)


def test_attention_of_nothing_has_a_finite_gradient() -> None:
    student = tf.Variable(np.zeros((2, 3, 3, 2), np.float32))
    with tf.GradientTape() as tape:
        loss = distillation.attention_distance(student, features(3, 2, 1)[:2])
    assert np.all(np.isfinite(tape.gradient(loss, student)))


def potentials(vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Distances and angles of Park et al. 2019, equations 5 to 8, one pair and one triplet at a time."""
    count = len(vectors)
    distances = np.zeros((count, count))
    cosines = np.zeros((count,) * 3)
    for i, j in itertools.product(range(count), repeat=2):
        distances[i, j] = np.linalg.norm(vectors[i] - vectors[j])
    for j, i, k in itertools.product(range(count), repeat=3):
        if j not in (i, k):
            cosines[j, i, k] = np.dot(vectors[i] - vectors[j], vectors[k] - vectors[j]) / distances[i, j]
            cosines[j, i, k] /= distances[k, j]
    return distances / (distances.sum() / (count * (count - 1))), cosines


def huber(errors: np.ndarray) -> np.ndarray:
    return np.where(np.abs(errors) <= 1, 0.5 * errors**2, np.abs(errors) - 0.5)


@pytest.mark.parametrize("offset", [0.0, 300.0])
def test_relations_are_those_of_the_paper_wherever_the_embeddings_lie(offset: float) -> None:
    student, teacher = STUDENT + offset, GENERATOR.normal(size=(5, 9)).astype(np.float32)
    (ours, theirs), (our_angles, their_angles) = zip(potentials(student), potentials(teacher), strict=True)
    apart, turned = huber(ours - theirs).mean(axis=1), huber(our_angles - their_angles).mean(axis=(1, 2))
    for weights, expected in (((2.0, 0.0), 2 * apart), ((0.0, 3.0), 3 * turned), ((1.0, 1.0), apart + turned)):
        np.testing.assert_allclose(
            distillation.relational_distance(student, teacher, *weights), expected, rtol=1e-3, atol=1e-5
        )


@pytest.mark.parametrize("count", [1, 2, 5])
def test_twins_and_single_pictures_have_finite_relations(count: int) -> None:
    student = tf.Variable(np.ones((count, 3), np.float32))
    with tf.GradientTape() as tape:
        loss = distillation.relational_distance(student, TEACHER[:count], 25.0, 50.0)
    assert np.all(np.isfinite(loss))
    assert np.all(np.isfinite(tape.gradient(loss, student)))


def test_a_given_loss_is_passed_on_and_a_weighted_one_multiplied() -> None:
    given = distillation.GivenLoss()
    np.testing.assert_array_equal(given.call(np.zeros((2, 1)), tf.constant([[1.0], [5.0]])), [1, 5])
    assert float(given(np.zeros((2, 1)), tf.constant([[1.0], [5.0]]), sample_weight=[1.0, 0.0])) == 0.5
    weighted = distillation.WeightedLoss(keras.losses.MeanSquaredError(), 3.0)
    assert float(weighted(tf.zeros((2, 1)), tf.ones((2, 1)))) == 3.0


def test_pictures_of_the_same_format_are_left_as_they_are() -> None:
    shown = GENERATOR.integers(0, 256, (2, 5, 4, 3), dtype=np.uint8)
    format = PictureFormat(height=5, width=4)
    for values in (shown, shown.astype(np.float32)):
        found = distillation.pictures_for(format, format, values)
        assert found.dtype == tf.uint8
        np.testing.assert_array_equal(found, shown)


def test_pictures_are_brought_to_another_size_and_colour() -> None:
    ours, grey = PictureFormat(height=4, width=4), PictureFormat(height=8, width=6, channels=1)
    flat = np.broadcast_to(np.array([200, 100, 50], np.uint8), (1, 4, 4, 3))
    found = distillation.pictures_for(grey, ours, flat)
    assert np.unique(found).tolist() == [round(0.2989 * 200 + 0.587 * 100 + 0.114 * 50)]
    assert found.shape == (1, 8, 6, 1)
    np.testing.assert_array_equal(
        distillation.pictures_for(ours, grey, np.full((1, 8, 6, 1), 9, np.uint8)), np.full((1, 4, 4, 3), 9)
    )


def test_marks_of_missing_pixels_are_kept_dropped_or_all_known() -> None:
    plain, marked = PictureFormat(height=2, width=2), PictureFormat(height=2, width=2, channels=4)
    shown = GENERATOR.integers(0, 256, (1, 2, 2, 4), dtype=np.uint8)
    np.testing.assert_array_equal(distillation.pictures_for(marked, marked, shown), shown)
    np.testing.assert_array_equal(distillation.pictures_for(plain, marked, shown), shown[..., :3])
    assert np.all(distillation.pictures_for(marked, plain, shown[..., :3])[..., 3] == 255)
