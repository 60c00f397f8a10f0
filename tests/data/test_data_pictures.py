"""gpnas.data.pictures: every kind of file that is read, and damaged ones."""

import struct
import warnings
import zlib

import numpy as np
import pytest
from PIL import Image

from gpnas.data.pictures import SUFFIXES, is_gray, is_picture, read
from gpnas.errors import UserError


def write(path, mode="RGB"):
    """A picture of 9 x 7 pixels, red on top; gray for suffixes that hold no colour."""
    pixels = np.zeros((9, 7, 3), np.uint8)
    pixels[:5, :, 0] = 200
    mode = {".pgm": "L", ".pbm": "1"}.get(path.suffix.lower(), mode)
    Image.fromarray(pixels).convert(mode).save(path)


@pytest.mark.parametrize("suffix", [*SUFFIXES, ".PNG", ".WebP"])
def test_each_suffix_is_read(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    write(path)
    assert is_picture(path)
    assert is_gray(path) == (suffix in (".pgm", ".pbm"))
    colour, gray = read(path, 3), read(path, 1)
    assert colour.shape == (9, 7, 3) and gray.shape == (9, 7, 1)
    if not is_gray(path):
        assert abs(int(colour[0, 0, 0]) - 200) < 10 and colour[8, 6].max() < 10


@pytest.mark.parametrize("mode", ["L", "1", "LA", "P", "RGBA", "CMYK"])
def test_only_plain_gray_is_gray(tmp_path, mode):
    path = tmp_path / ("a.tif" if mode == "CMYK" else "a.png")
    write(path, mode)
    assert is_gray(path) == (mode in ("L", "1"))
    assert read(path, 3).shape == (9, 7, 3)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_damage_is_one_line_that_names_the_file(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    write(path)
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    for number in range(60):
        content = bytearray(whole)
        for place in rng.integers(0, len(whole), 3):
            content[place] ^= 1 << int(rng.integers(8))
        path.write_bytes(content if number % 3 else content[: len(content) * number // 60])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                assert read(path, 3).dtype == np.uint8
            except UserError as error:
                assert str(path) in str(error) and "\n" not in str(error)


def test_a_bomb_is_refused(tmp_path):
    def chunk(name, content):
        checked = name + content
        return struct.pack(">I", len(content)) + checked + struct.pack(">I", zlib.crc32(checked))

    path = tmp_path / "a.png"
    head = struct.pack(">IIBBBBB", 60000, 60000, 8, 0, 0, 0, 0)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", b""))
    for call in (lambda: is_gray(path), lambda: read(path, 1)):
        with pytest.raises(UserError, match=r"a\.png.*DecompressionBombError"):
            call()


def test_other_readers_of_pillow_are_not_used(tmp_path):
    path = tmp_path / "a.png"
    Image.new("L", (4, 4)).save(path, "EPS")  # which is read by starting a program
    with pytest.raises(UserError, match=r"a\.png.*a readable picture: \.png, \.jpg"):
        read(path, 1)
