"""The request log of a server: which requests are kept, and what of them. Where they go is `pipeline.data.requests`."""
