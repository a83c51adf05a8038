"""What a diagnosis leaves in the Run folder, for the report and for machines."""

from __future__ import annotations

from pipeline.data.sources import DataSource
from pipeline.diagnosis.findings import Diagnosis
from pipeline.diagnosis.illustrations import illustrate
from pipeline.files import new_folder
from pipeline.run import Run


def keep(diagnosis: Diagnosis, source: DataSource, run: Run, most: int) -> None:
    """Writes RUN/doctor.json, and to RUN/doctor/ the pictures of at most `most` findings of each kind.

    Raises:
        StorageError: they cannot be written; what an earlier diagnosis left is as it was.
    """
    run.create(run.path)
    with new_folder(run.diagnosis_pictures) as folder:
        pictures = illustrate(diagnosis, source, folder, most)
    run.write_json(run.diagnosis, {**diagnosis.as_document(), "pictures": [one.as_document() for one in pictures]})
