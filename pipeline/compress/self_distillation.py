"""A variant that is fine-tuned can learn from the float model that it is made of, besides the labels.

After Mishra & Marr 2018, "Apprentice: using knowledge distillation techniques to improve low-precision network
accuracy", scheme C (the teacher is trained, the student starts from its weights), and Kim et al. 2019, "QKD".
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from pipeline.compress.base import CompressionJob
from pipeline.learners.distilled import Lessons, TaughtByNetwork


def taught_by_itself(job: CompressionJob, lessons: Lessons | None) -> CompressionJob:
    """The job with a `fine_tune` whose students learn from the job's own model; as it is where there are no lessons."""
    if lessons is None:
        return job
    learner = TaughtByNetwork(
        label_weight=lessons.label_weight, transfers=lessons.transfers, task=job.task, network=job.model
    )
    return replace(job, fine_tune=partial(job.fine_tune, learner=learner))
