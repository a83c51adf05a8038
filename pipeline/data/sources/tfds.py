"""A TensorFlow Datasets set by name, or one that was written in its format."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import Field

from pipeline.data.example import RawExample, RawObject
from pipeline.data.sources.base import SPLIT_NAMES, DataSource, existing_folder, located, split_named
from pipeline.data.sources.boxes import unusable_object
from pipeline.errors import DataError, nearest

SplitName = Literal["train", "validation", "test"]


class Tfds(DataSource):
    """A set of TensorFlow Datasets. It is downloaded and prepared by TFDS where `data_dir` does not hold it yet."""

    kind: Literal["tfds"] = "tfds"
    """TensorFlow Datasets, by name."""
    name: str
    """Name, with configuration and version where wanted, such as `cifar10:3.0.2`; `.` if `data_dir` itself is one."""
    data_dir: Path | None = None
    """Where TFDS keeps its data; by default its own folder in the home directory."""
    splits: dict[str, SplitName] = Field(default_factory=dict)
    """TFDS split -> split here, such as `{train: train, test: test}`; slices such as `train[:10%]` are allowed. By
    default the splits with usual names."""
    image_feature: str = "image"
    """The feature with the picture."""
    label_feature: str | None = "label"
    """The feature with one class (a ClassLabel, an integer or a text), or null. A ClassLabel of -1 is not known."""
    labels_feature: str | None = None
    """The feature with any number of classes (a sequence of ClassLabel or text), for multi-label."""
    value_features: tuple[str, ...] = ()
    """Features with one number each, for regression."""
    objects_feature: str | None = None
    """The feature with the objects of a picture (a sequence of boxes and classes), for detection; often `objects`.
    Their marks `is_crowd` and `is_difficult` are taken as well."""
    box_feature: str = "bbox"
    """Within `objects_feature`: the boxes."""
    class_feature: str = "label"
    """Within `objects_feature`: the classes; `type` in some sets."""
    text_feature: str | None = None
    """The feature with text that belongs to the picture."""

    def check(self) -> None:
        builder = self._builder()
        for feature in self._wanted():
            if feature not in builder.info.features:
                raise DataError(
                    f"data.source: {self.name} has no feature {feature!r}. {nearest(feature, builder.info.features)}"
                )
        self._check_objects(builder.info.features)
        self._chosen_splits(builder)

    def class_names(self) -> tuple[str, ...] | None:
        features = self._builder().info.features
        if self.objects_feature is not None:
            feature = _inner(features[self.objects_feature])[self.class_feature]
        elif name := self.labels_feature or self._label():
            feature = features[name]
        else:
            return None
        names = _names(feature)
        return None if names is None else tuple(names)

    def value_names(self) -> tuple[str, ...]:
        return self.value_features

    def examples(self) -> Iterator[RawExample]:
        import tensorflow_datasets as tfds

        builder = self._builder()
        undecoded = {self.image_feature: tfds.decode.SkipDecoding()}
        # One file after the other, in their order: the same examples in the same order each time.
        in_order = tfds.ReadConfig(interleave_cycle_length=1, add_tfds_id=True)
        for name, split in self._chosen_splits(builder).items():
            rows = builder.as_dataset(split=name, shuffle_files=False, decoders=undecoded, read_config=in_order)
            yield from (self._example(row, split, builder) for row in tfds.as_numpy(rows))

    def fingerprint(self) -> str:
        info = self._builder().info
        checksums = {name: [split.num_examples, split.num_bytes] for name, split in sorted(info.splits.items())}
        return f"{info.full_name} {info.data_dir} {checksums}"

    def _label(self) -> str | None:
        return None if self.labels_feature or self.value_features or self.objects_feature else self.label_feature

    def _wanted(self) -> list[str]:
        named = [self.image_feature, self._label(), self.labels_feature, self.text_feature, self.objects_feature]
        return [*(name for name in named if name is not None), *self.value_features]

    def _builder(self) -> Any:
        import tensorflow_datasets as tfds

        folder = None if self.data_dir is None else located(self.data_dir)
        try:
            if self.name == ".":
                return tfds.builder_from_directory(existing_folder(self.data_dir or Path(), "data.source.data_dir"))
            builder = tfds.builder(self.name, data_dir=folder, try_gcs=False)
            builder.download_and_prepare()
        except DataError:
            raise
        except Exception as error:  # TFDS raises its own, the file system's, the network's and protobuf's errors here
            first_line = str(error).strip().partition("\n")[0]
            raise DataError(
                f"data.source.name: TensorFlow Datasets cannot give {self.name!r} from {folder or 'its own folder'}: "
                f"{type(error).__name__}: {first_line}. Check the name, or run `tfds build {self.name}` first."
            ) from error
        return builder

    def _chosen_splits(self, builder: Any) -> Mapping[str, str]:
        known = list(builder.info.splits)
        if not self.splits:
            found = {name: split for name in known if (split := split_named(name)) is not None}
            if not found:
                raise DataError(
                    f"data.source.splits: {self.name} has the splits {', '.join(known)}; none has a usual name "
                    f"({', '.join(SPLIT_NAMES)}). Say which is which, such as {{{known[0]}: train}}."
                )
            return found
        for name in self.splits:
            if (base := name.partition("[")[0]) not in known:
                raise DataError(f"data.source.splits: {self.name} has no split {base!r}. {nearest(base, known)}")
        return self.splits

    def _example(self, row: Mapping[str, Any], split: str, builder: Any) -> RawExample:
        identity = row["tfds_id"].decode()
        features, label, labels = builder.info.features, self._label(), self.labels_feature
        return RawExample(
            id=identity,
            image=row[self.image_feature],
            split=split,
            label=None if label is None else _class_name(features[label], row[label]),
            labels=None if labels is None else _class_names(features[labels], row[labels]),
            labels_unknown=() if labels is None else _unknown_names(features[labels], row[labels]),
            value=[float(row[name]) for name in self.value_features] or None,
            objects=None if self.objects_feature is None else self._objects(features, row, f"{self.name} {identity}"),
            text=None if self.text_feature is None else row[self.text_feature].decode("utf-8", "replace"),
            where=f"{self.name} {identity}",
        )

    def _check_objects(self, features: Any) -> None:
        if self.objects_feature is None:
            return
        inner = _inner(features[self.objects_feature])
        for setting, name in (("box_feature", self.box_feature), ("class_feature", self.class_feature)):
            if name not in inner:
                held = nearest(name, inner) if inner else "It is no sequence of boxes and classes."
                raise DataError(f"data.source.{setting}: {self.objects_feature} has no feature {name!r}. {held}")

    def _objects(self, features: Any, row: Mapping[str, Any], where: str) -> list[RawObject]:
        feature, held = _inner(features[self.objects_feature])[self.class_feature], row[str(self.objects_feature)]
        numbers = range(len(held[self.box_feature]))
        return [self._object(feature, held, number, f"{where}, object {number}") for number in numbers]

    def _object(self, feature: Any, held: Mapping[str, Any], number: int, where: str) -> RawObject:
        """TFDS's boxes are y_min, x_min, y_max, x_max in shares of the picture."""
        label = _class_name(feature, held[self.class_feature][number])
        if not label:
            return unusable_object(where, "it has no class")
        y_min, x_min, y_max, x_max = map(float, held[self.box_feature][number])
        return RawObject(
            label=label,
            box=(x_min, y_min, x_max, y_max),
            unit="picture",
            crowd=_mark(held, "is_crowd", number),
            difficult=_mark(held, "is_difficult", number),
            where=where,
        )


def _inner(feature: Any) -> Mapping[str, Any]:
    """The features of a sequence of dictionaries; none where it is something else."""
    within = getattr(feature, "feature", feature)
    return within if hasattr(within, "keys") else {}


def _mark(held: Mapping[str, Any], name: str, number: int) -> bool:
    return bool(held[name][number]) if name in held else False


def _names(feature: Any) -> list[str] | None:
    return getattr(getattr(feature, "feature", feature), "names", None)


def _class_name(feature: Any, value: Any) -> str:
    """The class; empty where it is not known, which TFDS writes as -1."""
    names = _names(feature)
    if names is not None:
        return names[int(value)] if 0 <= int(value) < len(names) else ""
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def _class_names(feature: Any, values: np.ndarray) -> list[str]:
    """Those that are known."""
    return [name for value in values if (name := _class_name(feature, value))]


def _unknown_names(feature: Any, values: np.ndarray) -> list[str]:
    """Where one of the classes is not known, it may be any that is not named."""
    known = _class_names(feature, values)
    return [] if len(known) == len(values) else [name for name in _names(feature) or () if name not in known]
