"""gpnas.data.image_files: every kind of file that is read, and damaged ones."""

import struct
import warnings
import zlib

import numpy as np
import pytest
from PIL import Image

from gpnas.data.image_files import SUFFIXES, is_gray, is_image, read
from gpnas.errors import UserError


def write(path, mode="RGB"):
    """An image of 9 x 7 pixels, red on top; gray for suffixes that hold no colour."""
    pixels = np.zeros((9, 7, 3), np.uint8)
    pixels[:5, :, 0] = 200
    mode = {".pgm": "L", ".pbm": "1"}.get(path.suffix.lower(), mode)
    Image.fromarray(pixels).convert(mode).save(path)


@pytest.mark.parametrize("suffix", [*SUFFIXES, ".PNG", ".WebP"])
def test_each_suffix_is_read(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    write(path)
    assert is_image(path)
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


DEEP = np.array([[0, 255, 256], [4096, 0x80FF, 65535]], np.uint16)


@pytest.mark.parametrize(
    "name, order", [("a.png", "<"), ("a.tif", "<"), ("b.tif", ">"), ("a.pgm", ">")]
)
def test_of_16_bits_of_gray_the_upper_8_are_read(tmp_path, name, order):
    path = tmp_path / name
    if path.suffix == ".pgm":
        path.write_bytes(b"P5 3 2 65535\n" + DEEP.astype(">u2").tobytes())
    else:
        Image.fromarray(DEEP.astype(f"{order}u2")).save(path)
    assert is_gray(path)
    np.testing.assert_array_equal(read(path, 1)[..., 0], DEEP >> 8)
    np.testing.assert_array_equal(read(path, 3), np.repeat(DEEP[..., None] >> 8, 3, -1))


def test_16_bits_of_gray_follow_the_note_on_rotation(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by 90 degrees
    Image.fromarray(DEEP).save(tmp_path / "a.png", exif=exif)
    np.testing.assert_array_equal(read(tmp_path / "a.png", 1)[..., 0], np.rot90(DEEP >> 8, -1))


@pytest.mark.parametrize("kind", [np.int32, np.float32])
def test_32_bits_a_channel_are_refused(tmp_path, kind):
    Image.fromarray(DEEP.astype(kind)).save(tmp_path / "a.tif")
    for call in (is_gray, lambda path: read(path, 1)):
        with pytest.raises(UserError, match=r"a\.tif.* allowed: an image with 8 or 16 bits"):
            call(tmp_path / "a.tif")


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
    with pytest.raises(UserError, match=r"a\.png.*a readable image: \.png, \.jpg"):
        read(path, 1)


@pytest.mark.parametrize("deep", [False, True])
def test_gray_tiffs_follow_the_note_on_rotation(tmp_path, deep):
    """Pillow 13 maps such files into memory with their sides swapped."""
    exif = Image.Exif()
    exif[0x0112] = 6
    pixels = (10 * np.arange(24).reshape(6, 4)).astype(np.uint8)
    stored = pixels.astype(np.uint16) << 8 if deep else pixels
    Image.fromarray(stored).save(tmp_path / "a.tif", exif=exif)
    np.testing.assert_array_equal(read(tmp_path / "a.tif", 1)[..., 0], np.rot90(pixels, -1))


def test_16_bits_of_gray_may_count_from_white(tmp_path):
    Image.fromarray(DEEP).save(tmp_path / "a.tif", tiffinfo={262: 0})
    np.testing.assert_array_equal(read(tmp_path / "a.tif", 1)[..., 0], 255 - (DEEP >> 8))
