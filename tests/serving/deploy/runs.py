"""Runs with tiny networks that were never trained, exported and judged as real ones are."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from models.backbones import SmallResNet
from models.preprocess import PictureFormat
from pipeline.tasks import Classification
from pipeline.verification import VariantResult, Verification

CLASS_NAMES = ("rose", "Gänseblümchen", "lily, white")
MODEL = "flowers"
WARM_UP = "saved_model/1/assets.extra/tf_serving_warmup_requests"
JUDGED = VariantResult(
    file=Path("export/saved_model/1"),
    bytes=1000,
    zipped_bytes=500,
    metrics={"accuracy": 0.9},
    drop=0.0,
    agreement=1.0,
    max_difference=0.0,
    mean_difference=0.0,
    latency_ms=2.5,
    float_ops=None,
    decode_ops=0,
    dtypes={"float32": 3},
    operators={},
    slow_operators={},
    weight_bytes={},
    sparsity=None,
    distinct_values=None,
    blessed=True,
    why="accuracy drops by 0 (limit 0.01)",
)


def task() -> Classification:
    return Classification(
        picture=PictureFormat(height=16, width=20),
        backbone=SmallResNet(depth=8, widths=(2, 4, 4)),
        class_names=CLASS_NAMES,
    )


def encoded_picture(seed: int, format: str = "JPEG") -> bytes:
    """A smooth random picture of a size of its own."""
    generator = np.random.default_rng(seed)
    coarse = generator.integers(0, 256, (4, 5, 3), dtype=np.uint8)
    size = tuple(int(side) for side in generator.integers(20, 60, 2))
    stream = io.BytesIO()
    Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC).save(stream, format, quality=95)
    return stream.getvalue()


def make_run(folder: Path, seed: int) -> Path:
    """A Run with one exported version of an untrained network."""
    from models.stack import keras
    from pipeline.export import ExportSettings, contract, saved_model

    keras.utils.set_random_seed(seed)
    model = task().build()
    kernel, bias = model.get_layer("logits").get_weights()
    model.get_layer("logits").set_weights([kernel * 8, bias])  # answers that differ between pictures
    export = folder / "export"
    settings = ExportSettings(warmup_requests=2, warmup_batch_sizes=(1,), model_name=MODEL)
    version = saved_model.export_saved_model(task(), model, export / "saved_model", [encoded_picture(0)], settings)
    contract.write_contract(export, task(), version, {}, {"versions": {"tensorflow": "2.21.0"}})
    configuration = {
        "data": {"source": {"kind": "folders", "path": "pictures"}},
        "task": {"kind": "classification"},
        "export": {"model_name": MODEL},
    }
    (folder / "config.yaml").write_text(json.dumps(configuration), encoding="utf-8")
    judge(folder)
    return folder


def judge(run: Path, **changes: Any) -> None:
    """Writes what `convoy verify` would have found."""
    result = replace(JUDGED, **changes)
    variants = {"saved_model": result, "saved_model_images": result}
    found = Verification("test", 10, {"accuracy": 0.9}, variants, {}, {"threads": 1})
    plain = found.as_json(Path())
    (run / "verification.json").write_text(json.dumps(plain), encoding="utf-8")


def without_warm_up(run: Path) -> Path:
    """Takes the warm-up requests out of a Run's export, and out of its contract."""
    (run / "export" / WARM_UP).unlink()
    change_contract(run, lambda contract: contract["checksums"].pop(WARM_UP))
    return run


def change_contract(run: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Changes a Run's `contract.json` in place."""
    file = run / "export" / "contract.json"
    contract = json.loads(file.read_text(encoding="utf-8"))
    change(contract)
    file.write_text(json.dumps(contract), encoding="utf-8")
