"""`convoy compress CONFIG --check`: what is said of each layer before any training."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from models.stack import keras
from pipeline.cli import execute
from pipeline.config import loads
from pipeline.errors import ExportError
from pipeline.preflight import require_quantizable, resolved_task
from pipeline.run import Run
from pipeline.tasks import TASKS

CONFIG = """
data: {source: digits}
task:
  kind: classification
  picture: {height: 16, width: 16}
  backbone: {kind: small_resnet, depth: 8, widths: [8, 8, 8], attention: squeeze_excite}
  head: {pooling: gem}
compress:
  variants: [{kind: int8_qat, skip: [logits]}]
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    file = tmp_path / "config.yaml"
    file.write_text(CONFIG)
    return file


def test_each_layer_of_a_configuration_is_judged_and_nothing_written(config, capsys):
    assert execute(["compress", str(config), "--check", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    layers = {row["layer"]: row for row in document["layers"]}
    assert (layers["stem_conv"]["status"], layers["stem_bn"]["why"][:17]) == ("supported", "done by stem_conv")
    assert (layers["gem_pool"]["kind"], layers["gem_pool"]["status"]) == ("GeneralizedMeanPooling2D", "annotated")
    assert (layers["logits"]["status"], layers["logits"]["why"]) == ("float", "named by `skip`")
    totals = document["totals"]
    assert sum(totals.values()) == len(layers)
    assert (totals["float"], totals["refused"]) == (1, 0)
    assert totals["annotated"] >= 2
    assert list(config.parent.iterdir()) == [config]


def test_the_table_for_people_ends_with_totals(config, capsys):
    assert execute(["compress", str(config), "--check"]) == 0
    lines = capsys.readouterr().out.strip().splitlines()
    assert lines[0].split() == ["layer", "class", "why"]
    assert "1 float (left in float), 0 refused (cannot be quantized)" in " ".join(lines[-3:])


def test_a_layer_to_skip_that_does_not_exist_is_named(config, capsys):
    assert execute(["compress", str(config), "--check", "compress.variants.0.skip=[logit]"]) == 2
    assert "Did you mean 'logits'?" in capsys.readouterr().err


def test_check_and_sweep_exclude_each_other(config, capsys):
    assert execute(["compress", str(config), "--check", "--sweep"]) == 2
    assert "exclude each other" in capsys.readouterr().err


@pytest.mark.parametrize("kind", TASKS)
def test_the_task_is_known_before_its_data_is_prepared(kind, tmp_path):
    config = loads(f"data: {{source: digits}}\ntask: {{kind: {kind}}}\n")
    assert resolved_task(config, Run(tmp_path)).name == kind


@pytest.mark.parametrize(
    ("task", "outputs"),
    [
        ("kind: multi_label, thresholds: [0.4, 0.5, 0.6]", 3),
        ("kind: multi_label", 2),
        ("kind: multi_label, class_names: [a, b, c, d]", 4),
        ("kind: regression, value_mean: [3.0]", 1),
        ("kind: regression, value_std: [1.0, 2.0, 0.5], value_mean: [0.0, 0.0, 0.0]", 3),
    ],
)
def test_as_many_outputs_as_settings_have_numbers_for(task: str, outputs: int, tmp_path: Path):
    config = loads(f"data: {{source: digits}}\ntask: {{{task}}}\n")
    assert len(resolved_task(config, Run(tmp_path)).output_names) == outputs


def test_all_that_becomes_simpler_layers_says_which():
    from pipeline.compress.qat import simplify
    from pipeline.compress.qat.check import table_of

    image = keras.Input((8, 8, 3), name="image")
    table = table_of(keras.Model(image, {"y": keras.layers.Activation("hard_sigmoid", name="y")(image)}))
    assert table.rows[0].why == "becomes simpler layers: A factor and a shift, a ReLU6, and a sixth of it"
    assert all(expand.__doc__ for expand in (*simplify.EXPANSIONS.values(), *simplify.ACTIVATIONS.values()))


def test_a_refused_layer_is_in_the_table_and_an_error_behind_it():
    from pipeline.compress.qat.check import table_of

    image = keras.Input((8, 8, 3), name="image")
    x = keras.layers.Conv2D(4, 1, name="conv")(image)
    x = keras.layers.Lambda(lambda x: x * x, name="square")(x)
    table = table_of(keras.Model(image, {"y": keras.layers.Activation("softplus", name="y")(x)}))
    assert [(row.layer, row.kind, row.status) for row in table.rows] == [
        ("conv", "Conv2D", "supported"),
        ("square", "Lambda", "refused"),
        ("y", "Activation softplus", "refused"),
    ]
    with pytest.raises(ExportError, match=r"2 layers cannot .*: square \(Lambda\), y \(Activation softplus\)"):
        require_quantizable(table)
