"""One table of pictures for all contracts."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.contracts.tables import write_table


@pytest.fixture(scope="session")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """60 pictures of 16 pixels, prepared where they lie."""
    return write_table(tmp_path_factory.mktemp("pictures"), 60)
