"""What holds for every way to compress, on a network made for small pictures and on one made for phones."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from models.stack import keras
from pipeline.compress import VARIANTS, CompressionJob
from pipeline.compress.inspect import inspect_content
from pipeline.data.example import ID, IMAGE, TEST
from pipeline.data.input import evaluation_batches
from pipeline.evaluate import labels_of
from pipeline.export.tflite import refuse_other_operators
from pipeline.metrics.base import Evaluator
from pipeline.predictors import KerasPredictor, TFLitePredictor
from pipeline.tasks import Classification
from tests.contracts.subjects import store_for, subject, tiny_task
