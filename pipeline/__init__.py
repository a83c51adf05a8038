"""The road from pictures to a model in production. Read `stages.py` first."""

import models as models  # chooses Keras 2 before anything can import TensorFlow
