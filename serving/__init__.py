"""Deployment: what stands behind an export. It knows the contract of an export, and nothing else of `pipeline`."""
