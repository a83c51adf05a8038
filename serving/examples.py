"""Examples that work as they are: requests with the bytes of a real picture, and programs that send them."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from serving.deployment import DeploymentSettings
from serving.server_flags import GRPC_PORT, REST_PORT

WARM_UP = Path("assets.extra", "tf_serving_warmup_requests")
BYTES_INPUT = "image_bytes"
TEMPLATES = {
    "README.md": "README.md.j2",
    "examples/predict.sh": "predict.sh.j2",
    "examples/predict.py": "predict.py.j2",
    "examples/predict_grpc.py": "predict_grpc.py.j2",
}


def files(settings: DeploymentSettings, contract: Mapping[str, Any], picture: bytes) -> dict[str, bytes]:
    """File within the production folder -> content.

    Args:
        contract: of the export.
        picture: JPEG or PNG.
    """
    name = "picture.png" if picture.startswith(b"\x89PNG") else "picture.jpg"
    request = {"instances": [{"b64": base64.b64encode(picture).decode()}]}
    return {
        **{target: _rendered(template, settings, contract, name) for target, template in TEMPLATES.items()},
        f"examples/{name}": picture,
        "examples/request.json": (json.dumps(request) + "\n").encode(),
    }


def warm_up_picture(version_folder: Path) -> bytes | None:
    """The first of `warm_up_pictures`; None where there is none."""
    return next(iter(warm_up_pictures(version_folder)), None)


def warm_up_pictures(version_folder: Path) -> list[bytes]:
    """The encoded pictures in the requests that a SavedModel is warmed up with, each once."""
    from tensorflow_serving.apis import prediction_log_pb2

    from models.stack import tf

    file = version_folder / WARM_UP
    if not file.is_file():
        return []
    found: dict[bytes, None] = {}
    for record in tf.data.TFRecordDataset(str(file)).as_numpy_iterator():
        inputs = prediction_log_pb2.PredictionLog.FromString(record).predict_log.request.inputs
        if BYTES_INPUT in inputs:
            found |= dict.fromkeys(inputs[BYTES_INPUT].string_val)
    return list(found)


def _rendered(template: str, settings: DeploymentSettings, contract: Mapping[str, Any], picture: str) -> bytes:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("serving"), undefined=StrictUndefined, keep_trailing_newline=True, trim_blocks=True
    )
    text = environment.get_template(template).render(
        settings=settings,
        grpc_port=GRPC_PORT,
        rest_port=REST_PORT,
        picture=picture,
        labels=contract.get("labels", []),
        outputs=contract["saved_model"]["signatures"]["serving_default"]["outputs"],
    )
    return text.encode()
