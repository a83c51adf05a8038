"""Networks and the tensor code they share: uint8 pictures in, named raw outputs out; knows nothing of `pipeline`."""

from models.stack import require_legacy_keras

require_legacy_keras()
