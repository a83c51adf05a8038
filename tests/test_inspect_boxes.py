"""`convoy init` on data with boxes: what is recognised, what is not taken for it, and that the written file loads."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from pipeline import starting_config
from pipeline.config import Config, loads
from pipeline.data.prepare import prepare
from pipeline.errors import DataError
from pipeline.inspect_folder import inspect
from pipeline.wording import quantity
from tests.data.sources.test_coco import annotation as coco_annotation
from tests.data.sources.test_coco import coco, content
from tests.data.sources.test_csv_boxes import table as boxes_table
from tests.data.sources.test_followed import sequence
from tests.data.sources.test_mot_challenge import sequence as mot_sequence
from tests.data.sources.test_mot_challenge import walking
from tests.data.sources.test_voc import voc
from tests.data.sources.test_yolo import BOX, yolo
from tests.test_inspect_folder import class_folders, picture, table


def written(path: Path) -> Config:
    return loads(starting_config.configuration(inspect(path), Path("found.yaml")))


def csv_folder(root: Path) -> Path:
    return boxes_table(root).parent


@pytest.mark.parametrize(
    ("make", "kind", "splits", "counts"),
    [
        (voc, "pascal_voc", {None: 4}, {"cat": 4}),
        (lambda root: coco(root, content(coco_annotation(1))), "coco", {None: 4}, {"fig": 1}),
        (yolo, "yolo", {"train": 3, "validation": 2}, {"dog": 5}),
        (csv_folder, "csv_boxes", {"train": 1, "validation": 1}, {"cat": 1, "dog": 1}),
    ],
)
def test_each_format(
    tmp_path: Path,
    make: Callable[[Path], Path],
    kind: str,
    splits: dict[str | None, int],
    counts: dict[str, int],
) -> None:
    found = inspect(make(tmp_path))
    assert (found.task, found.survey.splits, found.survey.labels) == ("detection", splits, counts)
    document = found.as_document()
    assert (document["source"]["kind"], document["counted"], document["classes"]) == (kind, "objects", counts)
    objects, classes = quantity(sum(counts.values()), "object"), quantity(len(counts), "class", "classes")
    assert f"{objects} of {classes}: " in found.as_text()
    config = written(tmp_path)
    assert (config.task.kind, config.data.source.kind) == ("detection", kind)
    config.data.source.check()


def test_files_and_a_wrapping_folder(tmp_path: Path) -> None:
    root = yolo(tmp_path / "unpacked" / "inner")
    assert inspect(tmp_path / "unpacked").source.model_dump()["path"] == root
    assert inspect(root / "data.yaml").task == "detection"
    (root / "data.yaml").rename(root / "dataset.yml")
    (root / "config.yaml").write_text("train: {epochs: 3}\n")
    assert inspect(root).source.model_dump()["path"] == root / "dataset.yml"
    (tmp_path / "table").mkdir()
    assert inspect(boxes_table(tmp_path / "table")).task == "detection"
    file = coco(tmp_path / "fruits", content(coco_annotation(1))) / "annotations" / "instances.json"
    assert inspect(file).survey.labels == {"fig": 1}


def test_the_configuration_of_small_pictures_prepares(tmp_path: Path) -> None:
    config = written(voc(tmp_path / "cats", {"train": ["1", "2", "3"], "val": ["4"]}))
    task, train = config.task, config.train
    assert (task.picture.height, task.picture.width, task.picture.fit) == (160, 160, "letterbox")
    assert (task.backbone.kind, task.backbone.stem_stride) == ("small_resnet", 2)
    assert (task.detector.kind, task.neck.kind, task.strides) == ("yolo", "fpn", (4, 8, 16))
    assert [operation.kind for operation in config.augment] == ["scale_jitter", "horizontal_flip", "brightness"]
    assert (train.optimizer.kind, train.average_decay, train.batch_size) == ("adamw", 0.998, 4)
    info = prepare(config.data, tmp_path / "store").info
    assert task.resolve(info).class_names == ("cat",)


@pytest.mark.parametrize(
    ("size", "expected"),
    [((640, 480), (480, 640)), ((1920, 1080), (352, 640)), ((250, 200), (192, 256)), ((3000, 300), (160, 640))],
)
def test_large_pictures_keep_their_proportions(
    tmp_path: Path, size: tuple[int, int], expected: tuple[int, int]
) -> None:
    root = voc(tmp_path, names=("1",))
    Image.new("RGB", size).save(root / "JPEGImages" / "1.png")
    config = written(root)
    assert (config.task.picture.height, config.task.picture.width) == expected
    assert (config.task.backbone.kind, config.task.strides) == ("mobilenet_v2", (8, 16, 32))


def test_odd_things_about_objects(tmp_path: Path) -> None:
    root = yolo(tmp_path, "train: images/train\nval: images/val\nnames: [cat, dog, masks]\n")
    (root / "labels" / "val" / "4.txt").write_text(BOX * 40 + "0 0.5 0.5 0.25 0.25\n0 0.5 0.5 0 0.25\n0 x\n")
    found = inspect(root)
    assert found.survey.labels == {"dog": 44, "cat": 1}  # neither the one without area nor that without numbers
    problems = "\n".join(found.problems)
    assert "1 class has fewer than 5 objects: cat" in problems
    assert "very unequal in size: look at the figures of each class beside map" in problems
    assert "1 class has no objects: masks" in problems
    assert "look like detection" not in problems


def test_videos_in_which_one_object_is_followed(tmp_path: Path) -> None:
    sequence(tmp_path / "bag", "1,2,13,14\n" * 3)
    sequence(tmp_path / "cup", "nan,nan,nan,nan\n5,6,17,18\n", frames=2, pictures="img1")
    (tmp_path / "bag" / "meta.json").write_text("{}")
    found = inspect(tmp_path)
    assert (found.task, found.survey.count, found.survey.labels) == ("single_object_tracking", 5, {"object": 4})
    assert found.as_document()["source"] == {"kind": "followed_sequences", "path": str(tmp_path)}
    assert "5 pictures in sequences in which one object is followed" in found.as_text()
    assert any("the data has only 2 videos" in problem for problem in found.problems)
    sequence(tmp_path / "can", "1,2,13,14\n")
    assert not any("the data has only" in problem for problem in inspect(tmp_path).problems)
    config = written(tmp_path)
    store = prepare(config.data, tmp_path / "store")
    assert sorted(store.info.num_examples.values()) == [10, 10, 10]
    with (store.path / "splits.csv").open() as stream:
        places = {(row["id"].partition("/")[0], row["split"]) for row in csv.DictReader(stream)}
    assert len(places) == 3
    config.task.resolve(store.info)


def test_videos_with_the_tracks_of_all_objects(tmp_path: Path) -> None:
    for name in ("MOT16-02", "MOT16-04"):
        mot_sequence(tmp_path / "train" / name, walking())
    (mot_sequence(tmp_path / "test" / "MOT16-01", []) / "gt" / "gt.txt").unlink()
    found = inspect(tmp_path)
    assert (found.task, found.survey.count, found.survey.labels) == ("detection", 6, {"pedestrian": 6})
    assert found.as_document()["source"] == {"kind": "mot_challenge", "path": str(tmp_path)}
    assert "6 pictures in MOTChallenge's sequences (train 6)" in found.as_text()
    assert any("no gt/gt.txt: MOT16-01" in problem for problem in found.problems)
    config = written(tmp_path)
    store = prepare(config.data, tmp_path / "store")
    assert store.info.num_examples == {"train": 3, "validation": 3}
    assert config.task.resolve(store.info).class_names == ("pedestrian",)
    assert any("the data has only 2 videos" in problem for problem in inspect(tmp_path / "train").problems)


def test_grey_videos_are_followed_in_colour_by_their_own_splits(tmp_path: Path) -> None:
    for split in ("train", "test"):
        folder = sequence(tmp_path / split / "bag", "1,2,13,14\n", frames=1)
        Image.new("L", (40, 30)).save(folder / "10.png")
    found = inspect(tmp_path)
    assert found.survey.channels == 1
    assert not any("the data has only" in problem for problem in found.problems)
    assert written(tmp_path).task.picture.shape == (240, 120, 3)


def test_class_folders_stay_class_folders(tmp_path: Path) -> None:
    root = class_folders(tmp_path / "pets")
    (root / "config.yaml").write_text("data: {source: {kind: folders, path: .}}\ntrain: {epochs: 3}\n")
    (root / "data.yaml").write_text("train: cat\nval: dog\nnames: [cat, dog]\n")  # without labels
    (root / "package.json").write_text('{"images": []}')
    (root / "cat" / "0.xml").write_text("<metadata><object/></metadata>")
    found = inspect(root)
    assert (found.task, found.survey.labels) == ("classification", {"cat": 12, "dog": 12})
    assert [problem.partition(":")[0] for problem in found.problems[-3:]] == [
        f"not read as {form}" for form in ("YOLO's text files", "COCO's JSON", "Pascal VOC's XML files")
    ]
    assert found.survey.counted == found.as_document()["counted"] == "pictures"


def test_tables_of_labels_stay_tables(tmp_path: Path) -> None:
    for number in range(12):
        picture(tmp_path / f"{number}.png")
    header = ["image", "label", "x1", "y1"]
    found = inspect(table(tmp_path, header, [[f"{n}.png", "ab"[n % 2], n, n] for n in range(12)]))
    assert (found.task, found.source.model_dump()["kind"]) == ("classification", "table")
    rows = [[f"{n}.png", "ab"[n % 2], n, 2 * n, n / 2, n / 3] for n in range(12)]  # ends before it begins
    found = inspect(table(tmp_path, [*header, "x2", "y2"], rows))
    assert (found.task, found.source.model_dump()["kind"]) == ("classification", "table")


def test_what_cannot_be_used_is_refused_with_the_reason(tmp_path: Path) -> None:
    plain = tmp_path / "plain.yaml"
    plain.write_text("train: {epochs: 3}\n")
    with pytest.raises(DataError, match="is a file, not a folder") as caught:
        inspect(plain)
    assert "YOLO" not in str(caught.value)
    broken = coco(tmp_path / "broken", content(coco_annotation(1)))
    (broken / "annotations" / "instances.json").write_text('{"images": [\n')
    with pytest.raises(DataError, match=r"holds no picture.*\snot read as COCO's JSON: .*json:2: not JSON"):
        inspect(broken)
    for name, held in {"empty": content(), "elsewhere": content(coco_annotation(1))}.items():
        coco(tmp_path / name, held)
    for file in (tmp_path / "elsewhere" / "images").iterdir():
        file.rename(file.with_name(f"other_{file.name}"))
    with pytest.raises(DataError, match="COCO's JSON: none of the pictures that are there has an object"):
        inspect(tmp_path / "empty")
    with pytest.raises(DataError, match=r"None of the first 4 pictures exists.*Set data\.source\.pictures"):
        inspect(tmp_path / "elsewhere")
    named = yolo(tmp_path / "named", "names: [cat]\n")
    with pytest.raises(DataError, match=r"not read as YOLO's text files: .*names no folder of pictures"):
        inspect(named)


@pytest.mark.parametrize(
    ("name", "kind", "objects", "classes"),
    [("bccd", "pascal_voc", 3941, 3), ("fruits_nuts_coco", "coco", 165, 3), ("coco128_yolo", "yolo", 406, 56)],
)
def test_real_data(convoy_data: Path, name: str, kind: str, objects: int, classes: int) -> None:
    found = inspect(convoy_data / name)
    assert (found.task, found.source.model_dump()["kind"]) == ("detection", kind)
    assert (sum(found.survey.labels.values()), len(found.survey.labels)) == (objects, classes)
    assert written(convoy_data / name).task.picture.shape == (480, 640, 3)


def test_a_real_video(convoy_data: Path) -> None:
    found = inspect(convoy_data / "vot_bag")
    assert (found.task, found.survey.count) == ("single_object_tracking", 196)
    (source,) = written(convoy_data / "vot_bag").data.source.model_dump()["sources"]
    assert (source["kind"], source["path"]) == ("followed_sequences", convoy_data / "vot_bag")
