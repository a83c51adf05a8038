"""Networks and the tensor code they share: uint8 pictures in, named raw outputs out; knows nothing of `pipeline`."""

from models.stack import prefer_legacy_keras

prefer_legacy_keras()
