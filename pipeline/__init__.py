"""The road from pictures to a model in production. Read `stages.py` first."""
