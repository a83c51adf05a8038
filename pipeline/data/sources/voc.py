"""Pascal VOC: a picture, and beside it an XML file with its objects.

| layout                                              | splits                                                 |
|-----------------------------------------------------|--------------------------------------------------------|
| `JPEGImages/`, `Annotations/`, `ImageSets/Main/`    | `train.txt`, `val.txt`, `test.txt`; then `trainval.txt` |
| the first two alone                                 | none                                                   |
| folders with pictures and XML files side by side    | the topmost, where all have a split's name             |

M. Everingham et al., "The Pascal Visual Object Classes (VOC) Challenge", IJCV 2010, and its development kit.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from xml.etree.ElementTree import Element

from pipeline.data.example import TRAIN, RawExample, RawObject
from pipeline.data.sources.base import existing_folder, files_below, fingerprint_of, is_picture, split_named, text_of
from pipeline.data.sources.boxes import (
    LabelFiles,
    class_files,
    count_of,
    lines_of,
    listed_classes,
    number_box,
    of_classes,
    unusable_object,
)
from pipeline.data.sources.xml_lines import place, read_xml
from pipeline.errors import DataError

SET_FILES = ("train", "val", "test", "trainval")
"""In `ImageSets/Main`, those read first decide. Others, such as `cat_train`, are about one class and are not read."""
CORNERS = ("xmin", "ymin", "xmax", "ymax")


@dataclass(frozen=True)
class Listed:
    """One picture of the set.

    Args:
        name: its id.
        split: which the set says, or None.
        picture: its file; may be missing.
        annotation: its XML file, or None where there is none.
        where: what names it.
    """

    name: str
    split: str | None
    picture: Path
    annotation: Path | None
    where: str


class PascalVoc(LabelFiles):
    """Pictures with boxes in Pascal VOC's XML files, as many annotation tools write them."""

    kind: Literal["pascal_voc"] = "pascal_voc"
    """Pascal VOC, with or without its folders."""
    path: Path
    """The folder with `JPEGImages`, `Annotations` and `ImageSets`, or with pictures and XML files side by side."""
    first_pixel: Literal[0, 1] = 0
    """The number of the first pixel: 1 for the VOC challenge's own files, where a box around a whole picture is
    (1, 1, width, height); 0 for most tools, where it is (0, 0, width, height)."""
    difficult: Literal["keep", "drop"] = "keep"
    """Whether objects that are marked as difficult are kept, with their mark."""

    def check(self) -> None:
        self.own_classes()
        if next(self._listed(), None) is None:
            raise DataError(
                f"data.source.path: {self._folder()} holds no Pascal VOC annotations. Expected Annotations/*.xml and "
                "JPEGImages/, or pictures and XML files side by side."
            )

    def own_classes(self) -> tuple[str, ...] | None:
        return listed_classes(self._folder())

    def examples(self) -> Iterator[RawExample]:
        names = self.chosen_classes()
        for listed in self._listed():
            identity, where = text_of(listed.name), text_of(listed.where)
            if listed.annotation is None:
                yield self.unlabelled(identity, listed.picture, listed.split, where)
                continue
            objects: list[RawObject] = []
            why = ""
            try:
                objects = of_classes(self._objects(listed.annotation), names)
            except DataError as error:
                why = str(error)
            yield RawExample(
                id=identity, image=listed.picture, split=listed.split, objects=objects, where=where, unusable=why
            )

    def fingerprint(self) -> str:
        sets = [*class_files(self._folder()), *(file for file, _ in self._set_files())]
        listed = (file for one in self._listed() for file in (one.annotation, one.picture) if file is not None)
        return fingerprint_of([*sets, *listed])

    def warnings(self) -> list[str]:
        """Pictures that were passed over: no set names them, or no XML file describes them."""
        taken = {one.picture for one in self._listed()}
        others = [text_of(str(file)) for file in self._pictures().values() if file not in taken]
        if self._set_files():
            one, many = "no file of ImageSets/Main names it", "no file of ImageSets/Main names them"
        else:
            one, many = "it has no XML file", "they have no XML file"
        return count_of(others, f"picture was passed over, since {one}", f"pictures were passed over, since {many}")

    def _folder(self) -> Path:
        return existing_folder(self.path, "data.source.path")

    def _pictures(self) -> Mapping[str, Path]:
        """Path without suffix, from the pictures' folder -> file."""
        root = self._pictures_folder()
        return {
            file.relative_to(root).with_suffix("").as_posix(): file for file in files_below(root) if is_picture(file)
        }

    def _pictures_folder(self) -> Path:
        return _either(self._folder() / "JPEGImages", self._folder())

    def _annotations_folder(self) -> Path:
        return _either(self._folder() / "Annotations", self._folder())

    def _set_files(self) -> list[tuple[Path, str]]:
        """(file, its split), those that decide first."""
        folder = self._folder() / "ImageSets" / "Main"
        files = [(folder / f"{name}.txt", split_named(name) or TRAIN) for name in SET_FILES]
        return [(file, split) for file, split in files if file.is_file()]

    def _listed(self) -> Iterator[Listed]:
        return self._from_sets() if self._set_files() else self._from_annotations()

    def _from_sets(self) -> Iterator[Listed]:
        annotations, pictures, seen = self._annotations_folder(), self._pictures(), set()
        for file, split in self._set_files():
            for number, line in enumerate(lines_of(file), 1):
                name = line.strip()
                if not (annotations / f"{name}.xml").is_file():
                    name = next(iter(name.split()), "")  # files of one class have a mark behind the name
                if name and name not in seen:
                    seen.add(name)
                    yield self._named(name, split, pictures, annotations / f"{name}.xml", f"{file}:{number}")

    def _from_annotations(self) -> Iterator[Listed]:
        root, pictures = self._annotations_folder(), self._pictures()
        files = [file for file in files_below(root) if file.suffix.lower() == ".xml"]
        splits = [split_named(file.relative_to(root).parts[0]) for file in files]
        given = TRAIN in splits and None not in splits
        for file, split in zip(files, splits, strict=True):
            name = file.relative_to(root).with_suffix("").as_posix()
            yield self._named(name, split if given else None, pictures, file, str(file))

    def _named(
        self, name: str, split: str | None, pictures: Mapping[str, Path], annotation: Path, where: str
    ) -> Listed:
        """A picture is known by the XML file's own name; what the XML calls it is often from another machine."""
        picture = pictures.get(name, self._pictures_folder() / f"{name}.jpg")
        found = annotation if annotation.is_file() else None
        return Listed(name, split, picture, found, str(found or where))

    def _objects(self, file: Path) -> list[RawObject]:
        found = [self._object(file, element) for element in read_xml(file).iterfind("object")]
        return [one for one in found if not (one.difficult and self.difficult == "drop")]

    def _object(self, file: Path, element: Element) -> RawObject:
        """Edges in pixels; the challenge's boxes count their last pixel in, and so end at its far edge."""
        where = text_of(place(file, element))
        label = (element.findtext("name") or "").strip()
        if not label:
            return unusable_object(where, "it has no name")
        texts = [element.findtext(f"bndbox/{name}") for name in CORNERS]
        box = number_box(texts)
        if box is None:
            return unusable_object(where, f"expected a bndbox with the numbers {', '.join(CORNERS)}, found {texts}")
        first = self.first_pixel
        difficult = (element.findtext("difficult") or "0").strip() == "1"
        edges = box[0] - first, box[1] - first, box[2], box[3]
        return RawObject(label=label, box=edges, where=where, difficult=difficult)


def _either(folder: Path, otherwise: Path) -> Path:
    return folder if folder.is_dir() else otherwise
