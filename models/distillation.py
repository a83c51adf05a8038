"""What a student can learn from a teacher, as numbers: one value per example [B], which only Keras reduces.

The gradient goes to the student alone. B = batch (of one replica), N = pictures of all replicas together, h, w = a
feature level, F = its channels, D = an embedding.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from models.preprocess import KNOWN, PictureFormat
from models.stack import keras, tf

SMALLEST_SQUARE = 1e-12
"""Below it the root of a squared distance has no usable gradient."""
SHORT = 1e-2
"""Share of the mean distance below which two embeddings count as the same, and have no direction between them."""


# ------------------------------------------------------------------------------------------------- parts of a graph


class Computed(keras.layers.Layer):
    """A function of tensors as a layer, in float32 also under mixed precision.

    Whatever the function holds, such as the weights of a teacher, stays its own: it is in no list of weights, so that
    neither an optimizer nor a checkpoint knows of it. For models that are trained, not for those that are saved.

    Args:
        function: (inputs, training) -> outputs, both nested structures of tensors.
    """

    def __init__(self, function: Callable[[Any, bool], Any], name: str):
        super().__init__(name=name, dtype="float32")
        self.function = function

    @tf.autograph.experimental.do_not_convert
    def call(self, inputs: Any, training: bool | None = None) -> Any:
        return self.function(inputs, bool(training))


class GivenLoss(keras.losses.Loss):
    """For an output [B, 1] that is a loss already; the target is not looked at."""

    def call(self, y_true: tf.Tensor, y_pred: tf.Tensor) -> tf.Tensor:
        return tf.squeeze(y_pred, axis=-1)


class WeightedLoss(keras.losses.Loss):
    """Another loss times a constant.

    Args:
        loss: gives one value per example.
        weight: what it counts.
    """

    def __init__(self, loss: keras.losses.Loss, weight: float):
        super().__init__(reduction=loss.reduction, name=loss.name)
        self.loss, self.weight = loss, weight

    def call(self, y_true: tf.Tensor, y_pred: tf.Tensor) -> tf.Tensor:
        return self.weight * self.loss.call(y_true, y_pred)


def pictures_for(theirs: PictureFormat, ours: PictureFormat, pictures: tf.Tensor) -> tf.Tensor:
    """Pictures of one network as another takes them: stretched (bilinear), grey made colour or colour made grey.

    Args:
        theirs: what is wanted. Where it marks missing pixels and `ours` does not, all are known.
        ours: what `pictures` are.
        pictures: [B, H, W, C], 0..255, uint8 or whole numbers in float32.

    Returns:
        uint8 [B, theirs.height, theirs.width, theirs.channels]; the same values where nothing differs.
    """
    numbers = tf.cast(pictures, tf.float32)
    parts = [_in_colours(theirs.colours, numbers[..., : ours.colours])]
    if theirs.marks_missing:
        known = numbers[..., -1:] if ours.marks_missing else tf.fill(tf.shape(numbers[..., :1]), float(KNOWN))
        parts.append(known)
    wanted = tf.concat(parts, axis=-1)
    if (ours.height, ours.width) != (theirs.height, theirs.width):
        wanted = tf.image.resize(wanted, (theirs.height, theirs.width), antialias=True)
    return tf.ensure_shape(tf.cast(tf.clip_by_value(tf.round(wanted), 0.0, 255.0), tf.uint8), (None, *theirs.shape))


def _in_colours(wanted: int, numbers: tf.Tensor) -> tf.Tensor:
    if numbers.shape[-1] == wanted:
        return numbers
    return tf.image.grayscale_to_rgb(numbers) if wanted == 3 else tf.image.rgb_to_grayscale(numbers)


# ------------------------------------------------------------------------------------------------- answers


def softened_softmax(student: tf.Tensor, teacher: tf.Tensor, temperature: float) -> tf.Tensor:
    """How far the student's distribution over classes is from the teacher's, both softened: logits [B, K] -> [B].

    The Kullback-Leibler divergence times the square of the temperature, so that its gradient does not shrink with the
    temperature (Hinton et al. 2015, section 2).
    """
    targets = tf.nn.log_softmax(teacher / temperature)
    given = tf.nn.log_softmax(student / temperature)
    return temperature**2 * tf.reduce_sum(tf.exp(targets) * (targets - given), axis=-1)


def softened_sigmoid(student: tf.Tensor, teacher: tf.Tensor, temperature: float) -> tf.Tensor:
    """The same for classes that are each present or not: logits [B, K] -> [B], the mean over K."""
    soft = teacher / temperature
    targets = tf.math.sigmoid(soft)
    cross = tf.nn.sigmoid_cross_entropy_with_logits(targets, student / temperature)
    least = tf.nn.sigmoid_cross_entropy_with_logits(targets, soft)
    return temperature**2 * tf.reduce_mean(cross - least, axis=-1)


def squared_error(student: tf.Tensor, teacher: tf.Tensor) -> tf.Tensor:
    """[B, ...] -> [B], the mean over all but the batch."""
    return tf.reduce_mean(tf.square(student - teacher), axis=list(range(1, len(student.shape))))


# ------------------------------------------------------------------------------------------------- features


def attention_distance(student: tf.Tensor, teacher: tf.Tensor) -> tf.Tensor:
    """How unlike two networks' attention is, [B] from 0 to 2; features [B, h, w, F], of any two sizes and depths.

    The squared distance between the attention maps, each brought to length 1 (Zagoruyko & Komodakis 2017, "Paying more
    attention to attention", section 3.1, with p = 2). The teacher's map is brought to the size of the student's.
    """
    _, height, width, _ = student.shape
    wanted = attention_map(teacher)
    if teacher.shape[1:3] != student.shape[1:3]:
        wanted = tf.image.resize(wanted, (height, width), antialias=True)
    wanted, found = (tf.nn.l2_normalize(_flat(one), axis=-1) for one in (wanted, attention_map(student)))
    return tf.reduce_sum(tf.square(found - tf.stop_gradient(wanted)), axis=-1)


def attention_map(features: tf.Tensor) -> tf.Tensor:
    """Where a network looks: the mean square over the channels, [B, h, w, F] -> [B, h, w, 1]."""
    return tf.reduce_mean(tf.square(features), axis=-1, keepdims=True)


def _flat(tensor: tf.Tensor) -> tf.Tensor:
    return tf.reshape(tensor, (-1, tensor.shape[1] * tensor.shape[2]))


# ------------------------------------------------------------------------------------------------- relations


def embedding(features: tf.Tensor) -> tf.Tensor:
    """One vector a picture: the mean over the places of a feature level [B, h, w, F]; outputs [B, K] as they are."""
    return tf.reduce_mean(features, axis=(1, 2)) if len(features.shape) == 4 else features


def relational_distance(student: tf.Tensor, teacher: tf.Tensor, distance: float, angle: float) -> tf.Tensor:
    """How unlike the relations between the pictures of a batch are: embeddings [B, D], D may differ -> [B].

    Distance-wise and angle-wise (Park et al. 2019, "Relational knowledge distillation", section 3.2): each picture's
    distances to all others, as a share of the mean distance, and the cosines of the angles that it forms with all pairs
    of others, by Huber's loss. Pictures on all replicas are related to each other, so that two replicas learn what one
    would.

    Args:
        distance, angle: what the two count.
    """
    distances, cosines = zip(*(relations(one) for one in (student, tf.stop_gradient(teacher))), strict=True)
    apart = tf.reduce_mean(huber(distances[0] - distances[1]), axis=1)
    turned = tf.reduce_mean(huber(cosines[0] - cosines[1]), axis=(1, 2))
    return distance * apart + angle * turned


def relations(vectors: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Vectors [B, D] of this replica -> their distances to those of all, [B, N], the mean over all pairs being 1; and
    the cosines of the angles at each between all pairs, [B, N, N], 0 where it is as good as the same as one of them."""
    everyone = of_all_replicas(vectors)
    centre = tf.reduce_mean(everyone, axis=0)  # relations do not depend on it, but rounding does
    here, everyone = vectors - centre, everyone - centre
    products = tf.matmul(everyone, everyone, transpose_b=True)  # [N, N]
    ours = tf.matmul(here, everyone, transpose_b=True)  # [B, N]
    own = tf.reduce_sum(tf.square(here), axis=1)[:, tf.newaxis, tf.newaxis]
    # (i - j) . (k - j) for each j of ours and all i, k; the squared distance of i and j where k is i.
    dots = products[tf.newaxis] - ours[:, :, tf.newaxis] - ours[:, tf.newaxis] + own  # [B, N, N]
    lengths = root(tf.linalg.diag_part(dots))
    mean = mean_distance(products)
    apart = lengths > SHORT * mean
    inverse = tf.where(apart, 1.0 / lengths, 0.0)
    return tf.math.divide_no_nan(lengths, mean), dots * inverse[:, :, tf.newaxis] * inverse[:, tf.newaxis]


def mean_distance(products: tf.Tensor) -> tf.Tensor:
    """The mean distance of all pairs of vectors, from their scalar products [N, N]; 0 for a single one."""
    squares = tf.linalg.diag_part(products)
    distances = root(squares[:, tf.newaxis] + squares - 2.0 * products)
    count = tf.cast(tf.shape(products)[0], products.dtype)
    return tf.math.divide_no_nan(tf.reduce_sum(distances), count * (count - 1.0))


def root(squares: tf.Tensor) -> tf.Tensor:
    """The square root, its gradient finite at 0."""
    return tf.sqrt(tf.maximum(squares, SMALLEST_SQUARE))


def huber(errors: tf.Tensor) -> tf.Tensor:
    """Huber's loss of each error, which grows linearly beyond 1."""
    size = tf.abs(errors)
    return tf.where(size <= 1.0, 0.5 * tf.square(errors), size - 0.5)


def of_all_replicas(values: tf.Tensor) -> tf.Tensor:
    """[B, ...] of each replica -> [N, ...], in the order of the replicas; gradients find their way back."""
    context = tf.distribute.get_replica_context()
    if context is None or context.num_replicas_in_sync == 1:  # none while a graph is laid out
        return values
    return context.all_gather(values, axis=0)
