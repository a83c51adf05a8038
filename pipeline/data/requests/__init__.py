"""The request log on disk: sampled requests of a server with their answers, one prepared store for each shard.

FOLDER/20261001T120000.000000Z-1a2b3c4d/ is a store of its own (`pipeline.data.store`): TFRecord in TFDS's format,
convoy.json, splits.csv. It is written under a hidden name and renamed once it is whole, so that a reader sees whole
shards only, and the oldest can be removed while others are read. Several servers may write to one FOLDER.
"""
