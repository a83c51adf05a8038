"""Every augmentation is shown in docs/augmentation.md."""

from __future__ import annotations

import pytest
from PIL import Image

from pipeline.augment import OPERATIONS
from tests.conftest import ROOT


@pytest.mark.parametrize("kind", OPERATIONS)
def test_every_kind_has_a_small_picture(kind: str) -> None:
    path = ROOT / "docs" / "augmentation" / f"{kind}.png"
    assert path.is_file(), f"python docs/tools/augmentation_pictures.py {kind}"
    assert path.stat().st_size <= 30_000
    with Image.open(path) as picture:
        assert picture.size == (404, 98)
