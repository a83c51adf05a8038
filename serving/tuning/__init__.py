"""`convoy tune`: batching settings, chosen by load on a real server."""
