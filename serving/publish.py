"""Versions in a production folder: copied from an export, checked against its contract, put in place by one rename."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pipeline.errors import ConfigError, RunError, VerificationError
from pipeline.export.contract import checksum
from pipeline.files import PARTIAL, flush, new_folder, storage_errors, write_file

CONTRACT = "contract.json"
PUBLICATION = "publication.json"
SAVED_MODELS = ("saved_model", "saved_model_images")
"""What `verification.json` calls the SavedModel, a name for each of its signatures that was judged."""


@dataclass(frozen=True)
class Export:
    """What `convoy export` left, ready to be published.

    Args:
        run: the Run, or the export folder where it was copied alone.
        version_folder: the SavedModel.
        contract: of all exported files.
        checksums: file within the SavedModel -> SHA-256.
        blessed: whether `convoy verify` found that it keeps its limits.
        why: the reasons, for either.
        picture_ms: median milliseconds for one picture, as `convoy verify` measured it; None where it did not.
    """

    run: Path
    version_folder: Path
    contract: Mapping[str, Any]
    checksums: Mapping[str, str]
    blessed: bool
    why: str
    picture_ms: float | None = None

    @property
    def tensorflow(self) -> str:
        """Version of TensorFlow that wrote it; RunError where the contract does not say."""
        try:
            return str(self.contract["environment"]["versions"]["tensorflow"])
        except (KeyError, TypeError) as error:
            raise RunError(f"The contract of {self.run} names no TensorFlow. Run `convoy export` again.") from error

    @property
    def digest(self) -> str:
        """The same for the same content, whatever the version's number."""
        lines = "".join(f"{digest}  {name}\n" for name, digest in sorted(self.checksums.items()))
        return hashlib.sha256(lines.encode()).hexdigest()


@dataclass(frozen=True)
class Published:
    """A version in a production folder.

    Args:
        digest: of its content, as `Export.digest`.
        blessed, why: as they were when it was published.
    """

    version: int
    folder: Path
    digest: str
    blessed: bool
    why: str


def read_export(run: Path) -> Export:
    """What there is to publish of a Run (or of an export folder alone).

    Raises:
        RunError: nothing was exported, or the contract is damaged.
    """
    folder = run if (run / CONTRACT).is_file() else run / "export"
    file = folder / CONTRACT
    if not file.is_file():
        raise RunError(f"{run} holds no export. Run `convoy export {run}` first, then `convoy verify {run}`.")
    try:
        contract = json.loads(file.read_text(encoding="utf-8"))
        path = str(contract["saved_model"]["path"])
        within = {name: digest for name, digest in contract["checksums"].items() if name.startswith(f"{path}/")}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise RunError(f"{file} is damaged ({error!r}). Run `convoy export` again.") from error
    checksums = {name.removeprefix(f"{path}/"): digest for name, digest in within.items()}
    return Export(run, folder / path, contract, checksums, *_verdict(run, (folder / path).resolve()))


def require_blessed(subject: str, *, blessed: bool, why: str, force: bool) -> None:
    """Raises VerificationError where something is to be served that misses its limits, unless that is forced."""
    if not blessed and not force:
        raise VerificationError(
            f"{subject} is not blessed: {why}. Run `convoy verify`, train or quantize differently, or give --force."
        )


def publish(
    export: Export, base_path: Path, used: Collection[int], version: int | None = None
) -> tuple[Published, bool]:
    """Puts an export beside the versions that are there. The caller holds the folder's lock.

    Args:
        base_path: of all versions.
        used: numbers that were ever given, so that none is given twice.
        version: its number; by default one more than the highest that was ever used.

    Returns:
        The version, and whether it is new: the same content is published once.

    Raises:
        RunError: a file differs from the contract.
        ConfigError: the number is taken by another content.
        StorageError: the disk is full or cannot be written; nothing half-written is left.
    """
    for there in published_in(base_path).values():
        if there.digest == export.digest and version in (None, there.version):
            require_whole(there)
            return there, False
    taken = {*version_folders(base_path), *used}
    number = max(taken, default=0) + 1 if version is None else version
    if number in taken:
        raise ConfigError(f"Version {number} was published already. Leave --version out to get {max(taken) + 1}.")
    _copy(export, base_path / str(number))
    return read_publication(base_path / str(number)), True


def version_folders(base_path: Path) -> dict[int, Path]:
    """The versions as TF Serving finds them: every name that is a number."""
    if not base_path.is_dir():
        return {}
    return {int(path.name): path for path in base_path.iterdir() if path.name.isascii() and path.name.isdigit()}


def published_in(base_path: Path) -> dict[int, Published]:
    """The versions that were put there by `publish`, whole or damaged since."""
    folders = version_folders(base_path)
    return {
        number: read_publication(folder)
        for number, folder in sorted(folders.items())
        if (folder / PUBLICATION).is_file()
    }


def find(base_path: Path, version: int) -> Published:
    """A published version that is whole.

    Raises:
        RunError: it is not there, was not put there by Convoy, or differs from its contract.
    """
    there = published_in(base_path)
    if version not in there:
        known = ", ".join(map(str, there)) or "none"
        raise RunError(f"{base_path} holds no published version {version} (published: {known}). Use `convoy publish`.")
    require_whole(there[version])
    return there[version]


def read_publication(folder: Path) -> Published:
    """What was noted when a version was published; RunError where that is damaged."""
    file = folder / PUBLICATION
    try:
        noted = json.loads(file.read_text(encoding="utf-8"))
        return Published(int(folder.name), folder, noted["digest"], noted["blessed"], noted["why"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RunError(f"{file} is damaged ({error!r}). Publish the model again as another version.") from error


def require_whole(published: Published) -> None:
    """Raises RunError where a version's files are not those of its contract."""
    folder = published.folder
    try:
        checksums = json.loads((folder / CONTRACT).read_text(encoding="utf-8"))["checksums"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RunError(f"{folder / CONTRACT} is damaged ({error!r}). Publish the model again.") from error
    require_content(folder, checksums, beside=(CONTRACT, PUBLICATION))


def require_content(folder: Path, checksums: Mapping[str, str], beside: Collection[str] = ()) -> None:
    """Raises RunError where a folder does not hold exactly the files of `checksums` (and those in `beside`)."""
    found = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    missing, extra = sorted(checksums.keys() - found), sorted(found - checksums.keys() - set(beside))
    changed = [name for name in sorted(found & checksums.keys()) if checksum(folder / name) != checksums[name]]
    if missing or extra or changed:
        kinds = {"missing": missing, "not in the contract": extra, "changed": changed}
        what = "; ".join(f"{kind}: {', '.join(names)}" for kind, names in kinds.items() if names)
        raise RunError(f"{folder} differs from its contract ({what}). Run `convoy export` again and publish that.")


def changes(before: Path, after: Path) -> list[str]:
    """What clients have to know of another version: labels, preprocessing or signatures that are not as they were."""
    old, new = (json.loads((folder / CONTRACT).read_text(encoding="utf-8")) for folder in (before, after))
    found = [name for name in ("labels", "preprocessing") if old.get(name) != new.get(name)]
    signatures = ["signatures"] if old["saved_model"]["signatures"] != new["saved_model"]["signatures"] else []
    return [*found, *signatures]


def surplus(base_path: Path, keep: int, needed: Collection[int]) -> list[int]:
    """All versions but the `keep` newest, and never one of `needed`."""
    there = sorted(version_folders(base_path))
    return sorted(set(there[: max(len(there) - keep, 0)]) - set(needed))


def remove(base_path: Path, numbers: Collection[int]) -> None:
    """Removes versions. Each is first renamed to what is no number: no server sees half of one."""
    folders = version_folders(base_path)
    with storage_errors(base_path):
        aside = [folders[number].rename(base_path / f".{number}.removed{PARTIAL}") for number in numbers]
        flush(base_path)
    for folder in aside:
        shutil.rmtree(folder, ignore_errors=True)


def _verdict(run: Path, version_folder: Path) -> tuple[bool, str, float | None]:
    """What `convoy verify` found of this very version: whether it is blessed, why, and its latency."""
    file = run / "verification.json"
    if not file.is_file():
        return False, f"there is no {file}, so it was never verified", None
    try:
        variants = json.loads(file.read_text(encoding="utf-8"))["variants"]
        judged = {name: variants[name] for name in SAVED_MODELS if name in variants}
        others = [one["file"] for one in judged.values() if (run / one["file"]).resolve() != version_folder]
        found = {f"{name}: {one['why']}": bool(one["blessed"]) for name, one in judged.items()}
        latency = judged.get(SAVED_MODELS[0], {}).get("latency_ms")
    except (ValueError, KeyError, TypeError) as error:
        raise RunError(f"{file} is damaged ({error!r}). Run `convoy verify {run}` again.") from error
    if others or not judged:
        return False, f"{file} is about {', '.join(others) or 'no SavedModel'}, not about {version_folder.name}", None
    blessed = all(found.values())
    return blessed, "; ".join(why for why, kept in found.items() if kept == blessed), latency


def _copy(export: Export, target: Path) -> None:
    """Copies, checks what arrived, and renames."""
    require_content(export.version_folder, export.checksums)
    with new_folder(target) as unfinished:
        shutil.copytree(export.version_folder, unfinished, dirs_exist_ok=True, copy_function=shutil.copyfile)
        require_content(unfinished, export.checksums)
        write_file(unfinished / CONTRACT, _as_json(_own_contract(export)))
        write_file(unfinished / PUBLICATION, _as_json(_publication(export)))


def _own_contract(export: Export) -> dict[str, Any]:
    """The contract of this version alone: its paths are relative to the version's folder."""
    kept = {name: value for name, value in export.contract.items() if name != "parts"}
    saved_model = {**export.contract["saved_model"], "path": "."}
    return {**kept, "saved_model": saved_model, "tflite": {}, "checksums": dict(export.checksums)}


def _publication(export: Export) -> dict[str, Any]:
    return {
        "published": datetime.now(UTC).isoformat(timespec="seconds"),
        "run": export.run.absolute().name,
        "exported_version": export.version_folder.name,
        "digest": export.digest,
        "blessed": export.blessed,
        "why": export.why,
    }


def _as_json(content: Mapping[str, Any]) -> str:
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"
