"""Benchmarks: ratios of what Convoy does to a yardstick that is measured beside it, on the same host."""
