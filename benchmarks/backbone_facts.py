"""Writes the facts that `convoy describe models` shows: `python -m benchmarks.backbone_facts`, a few minutes.

Builds every backbone with random weights and counts; nothing is timed.
"""

from __future__ import annotations

import dataclasses
import json

from models.backbones import BACKBONES
from models.backbones.costs import FACTS, Facts, measured
from models.stack import keras

SMALL = 64
"""Side of the pictures that a network is built for, where it takes so small ones; the counts do not depend on it."""


def facts_of(kind: str) -> Facts:
    """The facts of one backbone."""
    keras.backend.clear_session()
    family = BACKBONES[kind]
    size = max(SMALL, family.least_size)
    levels = family(kind=kind).features(keras.Input((size, size, 3)))
    return measured(levels, family.members[kind].input_size)


def main() -> None:
    """All of them, in the order of the registry."""
    found = {kind: dataclasses.asdict(facts_of(kind)) for kind in BACKBONES}
    FACTS.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
