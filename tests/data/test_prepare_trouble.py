"""A full disk, a killed process, two processes at once, memory: each in a real process of its own."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import cast

import numpy as np
import pytest
from PIL import Image

from pipeline.data import making
from pipeline.data.example import RawExample
from pipeline.data.pool import in_order
from pipeline.data.prepare import DataSettings, prepare
from pipeline.data.scenes.render import Scene
from pipeline.data.search_windows import Window
from pipeline.data.shards import Work, is_worth_a_thread, with_drawn
from pipeline.data.sources import ClassFolders, Scenes
from pipeline.data.sources.template_pairs import Crop, Pair
from pipeline.data.splits import Splits
from pipeline.errors import StorageError
from tests.data.pictures import class_folders, encoded

PREPARE = """
import sys
from pathlib import Path
from pipeline.data.prepare import DataSettings, prepare
from pipeline.data.sources import ClassFolders

def report(done, total):
    if total:
        print(done, flush=True)

store = prepare(DataSettings(source=ClassFolders(path=sys.argv[1]), shard_mib=8), Path(sys.argv[2]), report)
print(store.path.name, flush=True)
"""

MEMORY = """
import resource, sys
from pathlib import Path
from pipeline.data.prepare import DataSettings, prepare
from pipeline.data.sources import ClassFolders

for name in ("few", "many"):
    prepare(DataSettings(source=ClassFolders(path=f"{sys.argv[1]}/{name}"), shard_mib=8), Path(sys.argv[2]))
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


LIMITED = """
import resource, sys
from pathlib import Path
from pipeline.data.prepare import DataSettings, prepare
from pipeline.data.sources import ClassFolders
from pipeline.errors import StorageError

resource.setrlimit(resource.RLIMIT_FSIZE, (2**20, 2**20))
try:
    prepare(DataSettings(source=ClassFolders(path=sys.argv[1])), Path(sys.argv[2]))
except StorageError as error:
    print(error)
"""


def large_pictures(root: Path, count: int, size: int = 500) -> Path:
    """`count` files of size * size * 3 bytes, in two classes."""
    pixels = np.random.default_rng(0).integers(0, 256, (size, size, 3), np.uint8)
    data = encoded(Image.fromarray(pixels), compress_level=0)
    for number in range(count):
        path = root / f"{number % 2}" / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return root


def start(script: str, *arguments: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", script, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )


def stores(folder: Path) -> list[Path]:
    """All that could be taken for a store."""
    return [path for path in folder.iterdir() if not path.name.startswith(".")]


def test_killed_prepare_leaves_nothing_that_looks_whole(tmp_path):
    root = large_pictures(tmp_path / "data", 60)
    process = start(PREPARE, root, tmp_path / "stores")
    with process, process.stdout:
        next(line for line in process.stdout if line.strip() == "20")
        os.kill(process.pid, signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    assert stores(tmp_path / "stores") == []
    assert any(path.suffix == ".partial" for path in (tmp_path / "stores").iterdir())
    store = prepare(DataSettings(source=ClassFolders(path=root), shard_mib=8), tmp_path / "stores")
    assert stores(tmp_path / "stores") == [store.path]
    assert not any(path.suffix == ".partial" for path in (tmp_path / "stores").iterdir())
    assert sum(store.info.num_examples.values()) == 60


def test_two_at_once_make_one_store(tmp_path):
    root = large_pictures(tmp_path / "data", 20)
    processes = [start(PREPARE, root, tmp_path / "stores") for _ in range(2)]
    outputs = [process.communicate()[0].split() for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    assert outputs[0][-1] == outputs[1][-1]
    assert sorted(len(output) for output in outputs) == [
        1,
        21,
    ]  # one prepared 20 pictures, the other waited and took them
    assert len(stores(tmp_path / "stores")) == 1


def test_file_size_limit(tmp_path):
    root = large_pictures(tmp_path / "data", 12)
    process = start(LIMITED, root, tmp_path / "stores")
    assert process.communicate()[0].startswith(f"Cannot write {tmp_path / 'stores'}")
    assert [path for path in (tmp_path / "stores").iterdir() if path.suffix != ".lock"] == []


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 3 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(folder)], capture_output=True)
    if mounted.returncode:
        pytest.skip(f"cannot mount a small file system: {mounted.stderr.decode().strip()}")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_full_disk_says_so_and_leaves_what_was_there(tmp_path, small_disk):
    """40 pictures of 0.75 MB do not fit."""
    earlier = prepare(
        DataSettings(source=ClassFolders(path=class_folders(tmp_path / "e", {"a": 4, "b": 4}))), small_disk
    )
    before = {path: path.read_bytes() for path in earlier.path.iterdir()}
    free = shutil.disk_usage(small_disk).free
    root = large_pictures(tmp_path / "data", 40)
    with pytest.raises(StorageError, match="No space left on device"):
        prepare(DataSettings(source=ClassFolders(path=root), splits=Splits(validation=0.2, test=0)), small_disk)
    assert {path: path.read_bytes() for path in earlier.path.iterdir()} == before
    assert stores(small_disk) == [earlier.path]
    assert shutil.disk_usage(small_disk).free >= free - 64 * 1024


def test_memory_is_flat(tmp_path):
    large_pictures(tmp_path / "data" / "few", 30)
    large_pictures(tmp_path / "data" / "many", 120)
    process = start(MEMORY, tmp_path / "data", tmp_path / "stores")
    output, _ = process.communicate()
    few, many = (int(line) / 1024 for line in output.split())
    assert many - few < 30, f"{few:.0f} MiB for 22 MB of pictures, {many:.0f} MiB for 90 MB"


def test_pool_keeps_the_order_and_reads_few_ahead():
    taken = []

    def items():
        for number in range(500):
            taken.append(number)
            yield number

    def slow_square(number: int) -> int:
        time.sleep(0.001 if number % 7 == 0 else 0)
        return number * number

    results = in_order(slow_square, items(), in_thread=lambda number: number % 2 == 0)
    assert next(results) == (0, 0)
    assert len(taken) < 100
    assert list(results) == [(number, number * number) for number in range(1, 500)]


def test_what_waits_has_a_thread_and_what_is_drawn_a_process(tmp_path: Path):
    """Two threads that draw are slower than one."""
    scene = next(iter(Scenes(train=1).examples())).image
    crop = Crop(tmp_path / "a.png", ("a", 0, ""), Window(0, 0, 8), gain=1.0)
    pair = Pair(crop, crop, side=8)
    images = {"drawn": scene, "cut": pair, "file": tmp_path / "a.png", "bytes": b"JPEG", "pixels": np.zeros((2, 2, 3))}
    works = [Work(0, 0, RawExample(id=name, image=image, where="")) for name, image in images.items()]
    ready = {work.example.id: work for work in with_drawn(works, processes=1)}
    threads = {name: is_worth_a_thread(work) for name, work in ready.items()}
    assert threads == {"drawn": True, "cut": True, "file": True, "bytes": True, "pixels": False}
    assert ready["drawn"].example.image == scene.read_bytes()
    assert all(ready[name].example.image is images[name] for name in images if name != "drawn")


def test_processes_draw_the_same_pictures_in_the_same_order(monkeypatch: pytest.MonkeyPatch):
    scenes = [cast(Scene, example.image) for example in Scenes(train=40, validation=0, test=0, height=64).examples()]
    expected = [scene.read_bytes() for scene in scenes]
    monkeypatch.setattr(Scene, "read_bytes", never)
    with pytest.raises(AssertionError, match="drawn in this process"):
        list(making.drawn(scenes, processes=2))
    monkeypatch.setattr(making, "FEWEST", 40)
    assert list(making.drawn(scenes, processes=2)) == expected


def never(scene: Scene) -> bytes:
    raise AssertionError("drawn in this process")
