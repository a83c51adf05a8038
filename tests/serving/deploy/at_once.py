"""Publishes several Runs into one folder at the same time: python -m tests.serving.deploy.at_once FOLDER RUN..."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from serving.deployment import Deployment
from serving.publish import read_export
from serving.rollout import Rollout


def main() -> None:
    deployment = Deployment(Path(sys.argv[1]))
    exports = [read_export(Path(run)) for run in sys.argv[2:]]
    begin, opened = os.pipe()
    children = []
    for export in exports:
        children.append(os.fork())
        if children[-1] == 0:
            os.close(opened)
            os.read(begin, 1)  # returns once the parent closes its end: all begin together
            Rollout(deployment, deployment.settings()).publish(export)
            os._exit(0)
    os.close(opened)
    sys.exit(any(os.waitpid(child, 0)[1] for child in children))


if __name__ == "__main__":
    main()
