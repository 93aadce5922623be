"""What a recording's container says of its own length, held against the file. Loads no torch.

Only headers are read, so that a claim costs nothing, however large it is.
"""

from __future__ import annotations

import os
import struct
from typing import BinaryIO

_IFF = {b"RIFF": "<I", b"RIFX": ">I", b"FORM": ">I", b"RF64": "<I", b"BW64": "<I"}
_SOUND = {b"data", b"SSND"}
_UNSAID = 0xFFFFFFFF
_MOST_CHUNKS = 10_000
_LARGEST_OGG_PAGE = 27 + 255 + 255 * 255


def cut_off(file: BinaryIO) -> str:
    """What a RIFF, RF64, AIFF or Ogg container promises and the file does not hold, in words.

    Empty where it is whole, or where another kind of file says nothing of its length.
    """
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    head = file.read(12)
    if head[:4] in _IFF and len(head) == 12:
        return _iff(file, head, size)
    if head[:4] == b"OggS" and not last_ogg_page(file)[0]:
        return "the last page of the Ogg stream is not there"
    return ""


def vorbis_frames(file: BinaryIO) -> int:
    """Samples that a Vorbis stream says it holds (0 for any other file)."""
    file.seek(0)
    head = file.read(64)
    if head[:4] != b"OggS" or b"\x01vorbis" not in head:
        return 0
    return last_ogg_page(file)[1]


def last_ogg_page(file: BinaryIO) -> tuple[bool, int]:
    """Whether the last Ogg page is whole and ends its stream, and the position it states."""
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - 2 * _LARGEST_OGG_PAGE))
    tail = file.read()
    start = tail.rfind(b"OggS")
    page = tail[max(start, 0) :]
    if start < 0 or len(page) < 27 or len(page) < 27 + page[26]:
        return False, 0
    (position,) = struct.unpack("<q", page[6:14])
    whole = len(page) >= 27 + page[26] + sum(page[27 : 27 + page[26]])
    return whole and bool(page[5] & 4), position


def _iff(file: BinaryIO, head: bytes, size: int) -> str:
    """The same of a file of chunks, each a name of four bytes, a size and so many bytes."""
    number = _IFF[head[:4]]
    wide = head[:4] in (b"RF64", b"BW64")
    (promised,) = struct.unpack(number, head[4:8])
    if promised + 8 > size and not (wide and promised == _UNSAID):
        return _short(size, promised + 8)
    at, sound = 12, _UNSAID
    for _ in range(_MOST_CHUNKS):
        file.seek(at)
        chunk = file.read(8)
        if len(chunk) < 8:
            break
        (length,) = struct.unpack(number, chunk[4:])
        if wide and chunk[:4] == b"ds64" and len(sizes := file.read(16)) == 16:
            whole, sound = struct.unpack("<QQ", sizes)
            if whole + 8 > size:
                return _short(size, whole + 8)
        if chunk[:4] in _SOUND:
            length = sound if wide and length == _UNSAID else length
            return _short(size, at + 8 + length) if at + 8 + length > size else ""
        at += 8 + length + length % 2
    return "its samples are not there"


def _short(size: int, promised: int) -> str:
    return f"{size} of {promised} bytes are there"
