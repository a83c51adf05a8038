"""Imports point one way, and what only reads settings loads no heavy library."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.conftest import ROOT

LAYERS: tuple[tuple[str, ...], ...] = (
    ("models",),
    (
        *("pipeline.errors", "pipeline.wording", "pipeline.console", "pipeline.files", "pipeline.locations"),
        *("pipeline.mirror", "pipeline.run", "pipeline.processors"),
    ),
    ("pipeline.data", "pipeline.augment", "pipeline.metrics", "pipeline.pictures_kept", "pipeline.drawing"),
    ("pipeline.tasks",),
    ("pipeline.trained", "pipeline.predictors"),
    ("pipeline.learners",),
    (
        *("pipeline.train", "pipeline.fit", "pipeline.optimizers", "pipeline.strategy", "pipeline.callbacks"),
        *("pipeline.hosts", "pipeline.team"),
        *("pipeline.checkpoints", "pipeline.averaging", "pipeline.environment"),
        *("pipeline.evaluate", "pipeline.predict", "pipeline.latency", "pipeline.views"),
        *("pipeline.compress", "pipeline.export", "pipeline.report", "pipeline.summary", "pipeline.diagnosis"),
        *("pipeline.verify", "pipeline.verification", "pipeline.parity", "pipeline.profile", "pipeline.measuring"),
        *("pipeline.preview", "pipeline.limits", "pipeline.sweep", "pipeline.answers", "pipeline.drift"),
        "pipeline.tracking",
    ),
    ("pipeline.config", "pipeline.yaml_file", "pipeline.setting_types"),
    (
        "pipeline.stages",
        "pipeline.ownership",
        "pipeline.sweep_stage",
        "pipeline.preflight",
        "pipeline.before_training",
        "pipeline.train_stage",
    ),
    (
        *(
            "pipeline.cli",
            "pipeline.cli_data",
            "pipeline.cli_describe",
            "pipeline.cli_options",
            "pipeline.cli_serving",
            "pipeline.cli_serve_options",
            "pipeline.cli_rollout",
            "pipeline.cli_rollout_options",
            "pipeline.cli_load",
            "pipeline.cli_load_options",
            "pipeline.pictures_to_send",
            "pipeline.cli_requests",
            "pipeline.cli_track",
            "pipeline.cli_follow",
            "pipeline.labelled_pictures",
            "pipeline.labelled_requests",
            "pipeline.predict_server",
            "pipeline.command",
            "pipeline.opening",
            "pipeline.outcome",
            "pipeline.describe",
            "pipeline.describe_models",
            "pipeline.schema",
            "pipeline.doctor",
        ),
        *("pipeline.inspect_folder", "pipeline.inspect_table", "pipeline.starting_config"),
    ),
)
"""What a module may import: its own layer and those above it in this list."""
SERVING_MAY_IMPORT = (
    *("pipeline.errors", "pipeline.wording", "pipeline.console", "pipeline.files", "pipeline.locations"),
    *("pipeline.export.contract", "pipeline.data.pictures", "pipeline.trained", "pipeline.metrics.plots"),
    "pipeline.data.requests.picture",
)
VERBS_OF_SERVING = (
    *("pipeline.cli_serving", "pipeline.cli_rollout", "pipeline.cli_load"),
    *("pipeline.predict_server", "pipeline.pictures_to_send", "pipeline.cli_requests"),
)
"""The only modules of the product that may import `serving`: inside its functions, so that `--help` stays quick."""
PACKAGES = ("models", "pipeline", "serving", "benchmarks", "tests")
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)
BRING_TENSORFLOW = (
    *("tensorflow", "tf_keras", "keras_cv", "tensorflow_model_optimization", "tensorflow_datasets"),
    *("tensorflow_serving", "etils"),
)
LIGHT = ("pipeline.config", "pipeline.cli", "models.graphs", "models.heads", "models.pooling", "models.pretrained")
"""What loads no heavy library: all settings, and the functions of `models` that need none before they are called."""
HEAVY = ("tensorflow", "tf_keras", "tensorflow_datasets", "pandas", "sklearn", "scipy", "matplotlib", "PIL")


@dataclass(frozen=True)
class Import:
    """`module` imports `target`; `deferred` where it happens inside a function."""

    module: str
    target: str
    deferred: bool

    def __str__(self) -> str:
        return f"{self.module} imports {self.target}"


def module_name(file: Path) -> str:
    parts = file.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


FILES = {module_name(file): file for package in PACKAGES[:3] for file in sorted((ROOT / package).rglob("*.py"))}


def is_for_type_checkers(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)


def statements(node: ast.AST, deferred: bool = False) -> Iterator[tuple[ast.AST, bool]]:
    """Every node that runs, and whether only when a function is called."""
    for child in ast.iter_child_nodes(node):
        for one in child.orelse if is_for_type_checkers(child) else [child]:
            yield one, deferred
            yield from statements(one, deferred or isinstance(one, FUNCTIONS))


def targets(node: ast.AST) -> list[str]:
    """The modules that an import statement names."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        assert node.level == 0, "imports are absolute in this project"
        names = [f"{node.module}.{alias.name}" for alias in node.names]
        return [name if name in FILES else str(node.module) for name in names]
    return []


def imports() -> Iterator[Import]:
    for module, file in FILES.items():
        for node, deferred in statements(ast.parse(file.read_text(encoding="utf-8"))):
            yield from (Import(module, target, deferred) for target in targets(node))


IMPORTS = tuple(imports())
OWN = tuple(one for one in IMPORTS if one.target.split(".")[0] in PACKAGES)


def is_in(module: str, package: str) -> bool:
    return module == package or module.startswith(f"{package}.")


def layer_of(module: str) -> int:
    """The place in LAYERS; a new module has to be given one."""
    places = [place for place, layer in enumerate(LAYERS) for package in layer if is_in(module, package)]
    assert len(places) == 1, f"{module} stands in {len(places)} layers; name it in one of LAYERS"
    return places[0]


def test_every_module_has_its_place_and_every_place_a_module() -> None:
    modules = [module for module in FILES if not is_in(module, "serving") and module != "pipeline"]
    assert all(layer_of(module) is not None for module in modules)
    unused = [package for layer in LAYERS for package in layer if package not in FILES]
    assert unused == []


def test_the_pipeline_imports_only_its_own_layer_and_those_below() -> None:
    inside = [one for one in OWN if is_in(one.module, "pipeline") and not is_in(one.target, "serving")]
    assert [str(one) for one in inside if layer_of(one.target) > layer_of(one.module)] == []


def test_models_import_nothing_of_the_pipeline() -> None:
    assert [str(one) for one in OWN if is_in(one.module, "models") and not is_in(one.target, "models")] == []


def test_serving_imports_only_the_contract_of_an_export() -> None:
    inside = [one for one in OWN if is_in(one.module, "serving") and is_in(one.target, "pipeline")]
    assert [str(one) for one in inside if not any(is_in(one.target, name) for name in SERVING_MAY_IMPORT)] == []


def test_the_product_imports_neither_serving_nor_benchmarks_nor_tests() -> None:
    product = [one for one in OWN if not is_in(one.module, "serving")]
    others = ("serving", "benchmarks", "tests")
    wrong = [one for one in product if any(is_in(one.target, name) for name in others)]
    verbs = [one for one in wrong if one.module in VERBS_OF_SERVING and is_in(one.target, "serving") and one.deferred]
    assert [str(one) for one in wrong if one not in verbs] == []


def test_keras_2_is_chosen_before_anything_imports_tensorflow() -> None:
    """Which `models` does. `pipeline` itself does not import it: the light client lives beside any Keras."""
    using = {one.module for one in IMPORTS if one.target.split(".")[0] in BRING_TENSORFLOW}
    assert sorted(module for module in using if "models" not in loaded_with(module)) == []


def loaded_with(module: str) -> set[str]:
    """The modules of this project that importing one loads."""
    reached, waiting = set(), [module]
    while waiting:
        module = waiting.pop()
        if module in FILES and module not in reached:
            reached.add(module)
            waiting.append(module.rpartition(".")[0])
            waiting += [one.target for one in OWN if one.module == module and not one.deferred]
    return reached


def test_no_modules_import_each_other_while_they_are_loaded() -> None:
    waiting = {module: {one.target for one in OWN if one.module == module and not one.deferred} for module in FILES}
    while ready := [module for module, needs in waiting.items() if not needs & (waiting.keys() - {module})]:
        for module in ready:
            del waiting[module]
    assert waiting == {}


def test_keras_is_the_one_of_the_stack_everywhere() -> None:
    direct = [str(one) for one in IMPORTS if one.target.split(".")[0] == "keras" or one.target == "tensorflow.keras"]
    assert direct == []


def test_settings_load_without_heavy_libraries() -> None:
    code = f"import sys, {', '.join(LIGHT)}; print(*sorted({set(HEAVY)} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_nothing_that_the_configuration_loads_imports_tensorflow_itself() -> None:
    """Not even unseen, in a branch that this machine does not take."""
    reached = loaded_with("pipeline.config")
    direct = [one for one in IMPORTS if one.module in reached and not one.deferred]
    assert [str(one) for one in direct if one.target.split(".")[0] in HEAVY] == []
