"""What a request log holds, for the terminal and for machines."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pipeline.data.requests.picture import UNKNOWN_VERSION
from pipeline.data.requests.reader import LoggedShard, RequestLog, as_time

if TYPE_CHECKING:
    from rich.console import RenderableType


def as_document(log: RequestLog) -> dict[str, Any]:
    """Plain JSON values."""
    return {
        "folder": str(log.folder),
        "pictures": sum(shard.count for shard in log.shards),
        "bytes": sum(shard.bytes for shard in log.shards),
        "shards": [
            {
                **shard.kind.as_document(),
                "path": str(shard.path),
                "pictures": shard.count,
                "bytes": shard.bytes,
                "versions": {str(version): count for version, count in shard.versions.items()},
                "first": shard.first,
                "last": shard.last,
            }
            for shard in log.shards
        ],
    }


def as_table(log: RequestLog) -> RenderableType:
    """A row for each model, signature and version."""
    from rich.table import Table

    columns = ("model", "version", "signature", "came as", "pictures", "shards", "first", "last", "outputs")
    table = Table(*columns, box=None, header_style="bold", padding=(0, 2, 0, 0))
    groups: dict[tuple[str, ...], list[tuple[LoggedShard, int]]] = {}
    for shard in log.shards:
        for version, count in shard.versions.items():
            said = "unknown" if version == UNKNOWN_VERSION else str(version)
            key: tuple[str, ...] = (shard.kind.model, said, shard.kind.signature, shard.kind.came_as)
            groups.setdefault(key, []).append((shard, count))
    for key, held in sorted(groups.items()):
        shards = [shard for shard, _ in held]
        outputs = sorted({one.name for shard in shards for one in shard.kind.outputs})
        period = as_time(min(one.first for one in shards)), as_time(max(one.last for one in shards))
        table.add_row(
            *key, f"{sum(count for _, count in held):,}", str(len(held)), *period, ", ".join(outputs) or "none"
        )
    return table
