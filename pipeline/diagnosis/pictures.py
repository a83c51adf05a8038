"""Pictures that cannot be used, or that show little: what is wrong with each on its own."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from pathlib import Path

from pipeline.data.example import RawExample
from pipeline.data.pictures import BadPicture
from pipeline.diagnosis.facts import PictureFacts
from pipeline.diagnosis.findings import Finding
from pipeline.diagnosis.settings import DoctorSettings
from pipeline.wording import quantity

SAME_FORMAT = {"MPO": "JPEG"}
"""Pillow's name of a format -> the one whose file names it shares."""


def picture_findings(
    example: RawExample, facts: PictureFacts | BadPicture, settings: DoctorSettings
) -> Iterator[Finding]:
    """What is wrong with one picture."""
    if isinstance(facts, BadPicture):
        yield _unusable(example, facts)
        return
    yield from _wrong_suffix(example, facts)
    shorter, longer = sorted((facts.height, facts.width))
    size = f"{facts.width} x {facts.height} pixels"
    if shorter < settings.smallest_side:
        yield _about(example, "tiny_picture", f"only {size}", "Use a larger original, or lower doctor.smallest_side.")
    if longer > settings.largest_aspect * shorter:
        fix = "Check that it is a whole picture; with task.picture.fit=letterbox its shape is kept."
        yield _about(example, "extreme_shape", f"{size}: one side is {longer / shorter:.1f} times the other", fix)
    if (look := facts.appearance).contrast < settings.blank_contrast:
        what = f"blank: grey {look.brightness:.0f} everywhere (standard deviation {look.contrast:.2f})"
        yield _about(example, "blank_picture", what, "Remove it, or export it anew if it should show something.")


def too_many_unusable(count: int, total: int, limit: float) -> Iterator[Finding]:
    """`prepare` refuses data with too many unusable pictures.

    Args:
        limit: `data.max_bad_pictures`.
    """
    if count > limit * (total if limit < 1 else 1):
        yield Finding(
            kind="too_many_unusable",
            severity="error",
            what=f"{count:,} of {quantity(total, 'picture')} cannot be used; "
            f"data.max_bad_pictures={limit:g} allows fewer",
            fix="Repair or remove them, or raise data.max_bad_pictures.",
            numbers={"unusable": count, "pictures": total},
        )


def _unusable(example: RawExample, reason: BadPicture) -> Finding:
    return Finding(
        kind="unusable_picture",
        severity="warning",
        what=f"cannot be used: {reason}",
        where=example.where if example.unusable else _file(example),
        fix="Copy or export it again, or remove it; it is left out of the store.",
        ids=(example.id,),
    )


def _wrong_suffix(example: RawExample, facts: PictureFacts) -> Iterator[Finding]:
    """Convoy goes by the content; other programs, and people, by the name."""
    if not isinstance(example.image, Path):
        return
    suffix = example.image.suffix.lower()
    known, content = _formats().get(suffix), SAME_FORMAT.get(facts.format, facts.format)
    if known and known != content:
        yield Finding(
            kind="wrong_extension",
            severity="note",
            what=f"the name ends in {suffix}, but the content is {facts.format}",
            where=_file(example),
            fix="Rename it, for programs that go by the name; Convoy goes by the content.",
            ids=(example.id,),
        )


@cache
def _formats() -> dict[str, str]:
    """Suffix -> Pillow's name of the format."""
    from PIL import Image

    return {suffix: SAME_FORMAT.get(name, name) for suffix, name in Image.registered_extensions().items()}


def _about(example: RawExample, kind: str, what: str, fix: str) -> Finding:
    return Finding(kind=kind, severity="warning", what=what, where=_file(example), fix=fix, ids=(example.id,))


def _file(example: RawExample) -> str:
    """Where the picture is: its own file, else what names it."""
    return str(example.image) if isinstance(example.image, Path) else example.where
