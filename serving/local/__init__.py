"""`convoy serve`: a local server for development and tests that answers like TF Serving."""

import models as models  # chooses Keras 2 before tensorflow_serving imports TensorFlow
