"""Frames of folders, GIFs and videos; what is wrong with them is named and counted, and the rest is read."""

from __future__ import annotations

import io
import struct
from collections.abc import Sequence
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from pipeline.errors import ConfigError, DataError
from pipeline.tracking import drawing
from pipeline.tracking.frames import Frame, Reader, footage_at
from pipeline.tracking.tracker import Tracked

HEIGHT, WIDTH = 48, 64


def shade(number: int) -> np.ndarray:
    """A frame whose grey tells its number."""
    return np.full((HEIGHT, WIDTH, 3), 20 * number, np.uint8)


def encoded(pixels: np.ndarray, format: str = "PNG") -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, format)
    return stream.getvalue()


def shades(frames: Sequence[Frame]) -> list[int | None]:
    return [None if one.pixels is None else round(float(one.pixels.mean()) / 20) for one in frames]


def read(place: Path) -> tuple[Reader, list[Frame]]:
    reader = Reader(footage_at(place))
    return reader, list(reader)


def write_video(file: Path, frames: int = 8, codec: str = "mpeg4") -> Path:
    with av.open(str(file), "w") as container:
        stream = container.add_stream(codec, rate=10)
        stream.height, stream.width, stream.pix_fmt = HEIGHT, WIDTH, "yuv420p"
        stream.codec_context.gop_size = 1  # type: ignore[attr-defined]
        for number in range(1, frames + 1):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(shade(number), format="rgb24")))
        container.mux(stream.encode(None))
    return file


def test_a_folder_in_the_order_of_its_numbers(tmp_path: Path) -> None:
    for number in (1, 2, 10):
        (tmp_path / f"frame{number}.png").write_bytes(encoded(shade(number)))
    (tmp_path / ".hidden.png").write_bytes(b"")
    (tmp_path / "notes.txt").write_text("nothing")
    reader, frames = read(tmp_path)
    assert [one.name for one in frames] == ["frame1.png", "frame2.png", "frame10.png"]
    assert shades(frames) == [1, 2, 10]
    assert (reader.size, reader.count, reader.problems, reader.rate) == ((HEIGHT, WIDTH), 3, [], None)


def test_motchallenges_folder(tmp_path: Path) -> None:
    (tmp_path / "img1").mkdir()
    (tmp_path / "img1" / "000001.jpg").write_bytes(encoded(shade(3), "JPEG"))
    assert shades(read(tmp_path)[1]) == [3]


def test_broken_frames_and_other_sizes_are_named_and_counted(tmp_path: Path) -> None:
    files = {
        "1.png": encoded(shade(1))[:60],
        "2.png": encoded(shade(2)),
        "3.png": b"",
        "4.png": encoded(np.full((96, 100, 3), 80, np.uint8)),
        "5.jpg": encoded(np.random.default_rng(0).integers(0, 255, (HEIGHT, WIDTH, 3), np.uint8), "JPEG")[:700],
    }
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    reader, frames = read(tmp_path)
    assert shades(frames) == [None, 2, None, 4, None]
    assert {one.pixels.shape for one in frames if one.pixels is not None} == {(HEIGHT, WIDTH, 3)}
    assert [(one.kind, one.frame) for one in reader.problems] == [
        ("broken", 1), ("broken", 3), ("resized", 4), ("broken", 5),
    ]  # fmt: skip
    assert str(reader.problems[1]) == "frame 3 (3.png): the file is empty"
    assert "100 x 96 pixels, the first frame 64 x 48" in str(reader.problems[2])
    reader.require_some(tmp_path)


def test_a_folder_in_which_nothing_can_be_read(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no pictures"):
        footage_at(tmp_path)
    (tmp_path / "1.png").write_bytes(b"not a picture")
    reader, _ = read(tmp_path)
    with pytest.raises(DataError, match=r"no frame that can be read \(frame 1 \(1\.png\): not a picture"):
        reader.require_some(tmp_path)
    with pytest.raises(DataError, match=r"There is no .*gone\.mp4"):
        footage_at(tmp_path / "gone.mp4")


def test_a_gif_and_one_that_is_cut_short(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (6, HEIGHT, WIDTH, 3), np.uint8)
    pictures = [Image.fromarray(one).quantize(256) for one in noise]
    pictures[0].save(tmp_path / "a.gif", save_all=True, append_images=pictures[1:], duration=50, loop=0)
    reader, frames = read(tmp_path / "a.gif")
    assert (reader.count, reader.rate, reader.problems) == (6, 20.0, [])
    assert np.abs(frames[3].pixels.astype(int) - noise[3]).mean() < 20  # type: ignore[union-attr]
    data = (tmp_path / "a.gif").read_bytes()
    (tmp_path / "cut.gif").write_bytes(data[: len(data) // 2])
    reader, frames = read(tmp_path / "cut.gif")
    assert 2 <= sum(one.pixels is not None for one in frames) <= 4
    assert [one.kind for one in reader.problems] == ["broken", "ends_early"]
    assert str(reader.problems[-1]) == f"frame {len(frames) + 1}: the file was cut off here"
    (tmp_path / "no.gif").write_bytes(b"GIF89a")
    with pytest.raises(DataError, match=r"no\.gif cannot be read"):
        read(tmp_path / "no.gif")


@pytest.mark.parametrize(
    ("name", "end", "left", "says"),
    [
        ("a.gif", b";", 3, "the file was cut off here"),
        ("a.png", b"\0\0\0\x1afcTL", 2, "the file ends here, though it says that it has 1 more"),
    ],
)
def test_animated_pictures_that_end_between_two_frames(
    tmp_path: Path, name: str, end: bytes, left: int, says: str
) -> None:
    pictures = [Image.effect_noise((WIDTH, HEIGHT), 64) for _ in range(3)]
    pictures[0].save(tmp_path / name, save_all=True, append_images=pictures[1:], duration=50)
    assert read(tmp_path / name)[0].problems == []
    data = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(data[: data.rindex(end)])
    reader, frames = read(tmp_path / name)
    assert [(one.kind, one.frame, one.reason) for one in reader.problems] == [("ends_early", left + 1, says)]
    assert len(frames) == left


def test_a_video(tmp_path: Path) -> None:
    reader, frames = read(write_video(tmp_path / "a.mp4"))
    assert shades(frames) == [1, 2, 3, 4, 5, 6, 7, 8]
    assert (reader.rate, reader.declared, reader.problems) == (10.0, 8, [])


def test_a_video_is_shown_upright(tmp_path: Path) -> None:
    """A telephone that is held upright writes its frames lying, and how they are to be shown."""
    with av.open(str(tmp_path / "a.mp4"), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.height, stream.width, stream.pix_fmt = HEIGHT, WIDTH, "yuv420p"
        lying = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
        lying[:, : WIDTH // 2] = 200
        container.mux(stream.encode(av.VideoFrame.from_ndarray(lying, format="rgb24")))
        container.mux(stream.encode(None))
    data = bytearray((tmp_path / "a.mp4").read_bytes())
    matrix = data.index(b"tkhd") + 4 + 40  # ISO 14496-12, section 8.3.2
    to_the_right, whole = struct.pack(">9i", 0, 1 << 16, 0, -1 << 16, 0, 0, HEIGHT << 16, 0, 1 << 30), 9 * 4
    assert data[matrix : matrix + 4] == struct.pack(">i", 1 << 16)
    data[matrix : matrix + whole] = to_the_right
    (tmp_path / "a.mp4").write_bytes(bytes(data))
    reader, (frame,) = read(tmp_path / "a.mp4")
    assert reader.size == (WIDTH, HEIGHT)
    assert frame.pixels is not None
    assert frame.pixels[: WIDTH // 2 - 4].min() > 150 and frame.pixels[WIDTH // 2 + 4 :].max() < 50


def test_a_video_that_ends_early(tmp_path: Path) -> None:
    data = write_video(tmp_path / "a.avi", frames=12).read_bytes()
    (tmp_path / "cut.avi").write_bytes(data[: (data.index(b"movi") + data.index(b"idx1")) // 2])
    reader, frames = read(tmp_path / "cut.avi")
    assert 1 <= len(frames) < 12
    assert reader.problems[-1].kind == "ends_early"
    assert f"has {12 - len(frames)} more" in str(reader.problems[-1])
    data = write_video(tmp_path / "a.mp4").read_bytes()
    (tmp_path / "cut.mp4").write_bytes(data[: len(data) // 2])  # what describes it stands at its end
    with pytest.raises(DataError, match=r"cut\.mp4 is no video that can be read.* cut off"):
        read(tmp_path / "cut.mp4")


def test_a_video_with_a_damaged_frame(tmp_path: Path) -> None:
    data = bytearray(write_video(tmp_path / "a.mp4").read_bytes())
    starts = [place for place in range(len(data)) if data[place : place + 4] == b"\x00\x00\x01\xb6"]
    end = starts[4] if len(starts) > 4 else len(data)
    data[starts[3] : end] = bytes(255 for _ in range(end - starts[3]))
    (tmp_path / "a.mp4").write_bytes(bytes(data))
    reader, frames = read(tmp_path / "a.mp4")
    assert reader.problems and {one.kind for one in reader.problems} <= {"broken", "damaged", "ends_early"}
    assert [one for one in shades(frames) if one is not None][-1] == 8, "what comes after it is read"


def test_what_is_no_video(tmp_path: Path) -> None:
    for name, data in (("text.mp4", b"hello " * 50), ("empty.avi", b"")):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(DataError, match="is no video that can be read"):
            read(tmp_path / name)
    with av.open(str(tmp_path / "sound.wav"), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000)
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), format="s16", layout="mono")
        sound.sample_rate = 8000
        container.mux(stream.encode(sound))
    with pytest.raises(DataError, match=r"no video that can be read.*says of no frames"):
        read(tmp_path / "sound.wav")


# ------------------------------------------------------------------------------------------------- drawing

TRACKED = Tracked(
    np.array([1, 2]),
    np.array([[8.0, 20.0, 30.0, 40.0], [50.0, 30.0, 90.0, 60.0]]),
    np.array([0, 9]),
    np.ones(2),
    np.ones(2, np.int8),
)


def test_boxes_and_names_are_drawn_in_a_tracks_own_colour() -> None:
    drawn = drawing.annotated(shade(5), TRACKED, ("cat",))
    assert drawn.shape == (HEIGHT, WIDTH, 3)
    first, second = (np.array(drawing.drawing.COLOURS[track]) for track in (1, 2))
    assert (drawn[40, 8:31] == first).all() and (drawn[20:41, 8] == first).all()
    assert (drawn[30, 50:63] == second).all(), "what reaches out is cut at the edge"
    assert (drawn[23:38, 11:28] == 100).all(), "the inside stays"
    again = drawing.annotated(shade(5), TRACKED, ("dog",))
    assert (drawn != again).any(), "the name of the class is written"


@pytest.mark.parametrize("name", ["drawn.gif", "drawn.mp4", "drawn.avi", "folder"])
def test_what_is_drawn_can_be_read_again(name: str, tmp_path: Path) -> None:
    place = tmp_path / name
    with drawing.drawn_to(place, 5.0) as sink:
        for number in range(1, 5):
            sink.write(number, shade(number)[:, :-1])  # an odd width
    reader, frames = read(place)
    assert shades(frames) == [1, 2, 3, 4]
    assert reader.rate == pytest.approx(None if name == "folder" else 5.0)


def test_what_fails_leaves_nothing_behind(tmp_path: Path) -> None:
    for name in ("a.gif", "a.mp4"):
        with pytest.raises(KeyError), drawing.drawn_to(tmp_path / name, None) as sink:
            sink.write(1, shade(1))
            raise KeyError
    assert list(tmp_path.iterdir()) == []


def frames_in(folder: Path, name: str = "000001.jpg") -> Path:
    folder.mkdir(parents=True)
    (folder / name).write_bytes(encoded(shade(1), "JPEG"))
    return folder


def checked(draw: Path | None, video: Path, rate: float | None = None) -> None:
    drawing.check(draw, rate, video, footage_at(video))


def test_places_that_cannot_be_drawn_to(tmp_path: Path) -> None:
    frames = frames_in(tmp_path / "frames")
    with pytest.raises(ConfigError, match=r"cannot be written as \.webm.*a \.gif"):
        checked(tmp_path / "a.webm", frames)
    with pytest.raises(ConfigError, match="would write over the frames that are read"):
        checked(frames / "x" / "..", frames)
    checked(tmp_path / "drawn", frames)


def test_nothing_is_drawn_over_frames_that_are_read(tmp_path: Path) -> None:
    sequence = tmp_path / "MOT16-02"
    frames = frames_in(sequence / "img1")
    (linked := tmp_path / "linked").mkdir()
    (linked / "1.jpg").symlink_to(frames / "000001.jpg")
    animated = frames_in(tmp_path / "one", "1.gif") / "1.gif"
    for draw, video in (
        (frames, sequence),
        (sequence, sequence),
        (frames, linked),
        (linked, linked),
        (frames, frames / "000001.jpg"),
        (animated, animated.parent),
        (animated, animated),
    ):
        with pytest.raises(ConfigError, match="would write over the frames that are read"):
            checked(draw, video)
    checked(animated.parent, animated)  # pictures beside it


def test_a_rate_that_counts_for_nothing_is_refused(tmp_path: Path) -> None:
    frames = frames_in(tmp_path / "frames")
    with pytest.raises(ConfigError, match=r"--rate says how fast.*Give --draw too"):
        checked(None, frames, 5.0)
    with pytest.raises(ConfigError, match=r"--draw .*drawn is a folder of pictures, which has none"):
        checked(tmp_path / "drawn", frames, 5.0)
    checked(tmp_path / "drawn.gif", frames, 5.0)
