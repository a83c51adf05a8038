"""The Run: the folder that each stage reads from and writes to. Stages talk only through it."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from pipeline.errors import RunError, StorageError
from pipeline.files import write_file
from pipeline.locations import URL, is_remote, location, resolved


class Run:
    """One Run folder: where everything in it lies, and reading and writing it without ever leaving half a file.

    Args:
        path: the folder; created by the first write.
        home: where the Run lies, if `path` is a copy of it to work in (`pipeline.mirror`).
    """

    def __init__(self, path: Path, home: Path | None = None):
        self.path = location(path)
        self.home = home or self.path
        self.config = self.path / "config.yaml"
        self.environment = self.path / "environment.json"
        self.data = self.path / "data.json"
        self.checkpoints = self.path / "checkpoints"
        self.model = self.path / "model" / "model.keras"
        self.task = self.path / "model" / "task.json"
        self.history = self.path / "history.csv"
        self.learned_from = self.path / "learned_from.json"
        self.training = self.path / "train.json"
        self.tensorboard = self.path / "tensorboard"
        self.metrics = self.path / "metrics"
        self.evaluation = self.metrics / "evaluation.json"
        self.mistakes = self.metrics / "mistakes.json"
        self.samples = self.metrics / "samples"
        self.captions = self.samples / "captions.json"
        self.preview = self.path / "preview.png"
        self.variants = self.path / "variants"
        self.sweep = self.path / "sweep"
        self.sweep_result = self.sweep / "sweep.json"
        self.export = self.path / "export"
        self.saved_model = self.export / "saved_model"
        self.parts = self.export / "parts"
        self.tflite = self.export / "tflite"
        self.contract = self.export / "contract.json"
        self.verification = self.path / "verification.json"
        self.summary = self.path / "summary.json"
        self.report = self.path / "report.html"
        self.diagnosis = self.path / "doctor.json"
        self.diagnosis_pictures = self.path / "doctor"
        self.drift = self.path / "drift.json"
        self.drift_page = self.path / "drift.html"

    def require(self, file: Path, stage: str) -> Path:
        """The file, or a RunError that says which stage makes it."""
        if not file.exists():
            raise RunError(
                f"The Run {self.home} has no {file.relative_to(self.path)}: the stage `{stage}` has not been run. "
                f"Run `convoy {stage} {self.home}` first."
            )
        return file

    def read_json(self, file: Path, stage: str) -> Any:
        """The content of one of the Run's JSON files; RunError where `stage` has not written it or it is damaged."""
        try:
            return json.loads(self.require(file, stage).read_text(encoding="utf-8"))
        except json.JSONDecodeError as error:
            raise RunError(f"{file} is damaged ({error}). Run `convoy {stage} {self.home}` again.") from error

    def write_json(self, file: Path, content: Any) -> None:
        """Writes plain JSON values whole or not at all."""
        self.create(file.parent)
        write_file(file, json.dumps(content, indent=2, allow_nan=False) + "\n")

    def reference(self, path: Path) -> str:
        """How the Run's files name `path`: from the Run folder where it lies beside it, so that both can be moved."""
        target, folder = resolved(path), resolved(self.home)
        beside = is_remote(target) == is_remote(folder) and target.is_relative_to(folder.parent)
        return os.path.relpath(target, folder) if beside else str(target)

    @property
    def store(self) -> Path:
        """Where the prepared data is; RunError where nothing says so."""
        try:
            name = self.read_json(self.data, "prepare")["store"]
        except (KeyError, TypeError) as error:
            raise RunError(f"{self.data} names no store. Run `convoy prepare {self.home}` again.") from error
        return resolved(location(name) if URL.match(name) else resolved(self.home) / name)

    def create(self, folder: Path) -> Path:
        """The folder, made where it is missing; StorageError where that is impossible."""
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StorageError(f"Cannot make the folder {folder}: {error}. Choose another with --run DIR.") from error
        return folder
