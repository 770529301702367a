"""Files that are no picture in a format of the list, and that Pillow by itself would open: by what they are."""

from __future__ import annotations

import struct
import warnings
from collections.abc import Iterator

from PIL import features

from .good_pictures import colour, encoded

EPS = b"""%!PS-Adobe-3.0 EPSF-3.0
%%BoundingBox: 0 0 60 40
%%EndComments
/DeviceRGB setcolorspace 1 0 0 setrgbcolor 0 0 60 40 rectfill
showpage
%%EOF
"""
"""A sound one: Pillow by itself starts Ghostscript for it."""
_WRITTEN = (
    *("BLP", "DDS", "EPS", "ICNS", "ICO", "IM", "JPEG2000", "MSP"),
    *("PALM", "PCX", "PDF", "QOI", "SGI", "SPIDER", "TGA", "XBM"),
)
_MODES = {"BLP": "P", "MSP": "1", "XBM": "1", "PALM": "1", "SPIDER": "F"}


def other_files() -> dict[str, bytes]:
    """What a file is called here, and what is in it."""
    return dict((*_written(), *_by_hand()))


def _written() -> Iterator[tuple[str, bytes]]:
    for name in _WRITTEN:
        image = colour().convert(_MODES.get(name, "RGB"))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of formats that Pillow means to drop
            try:
                content = encoded(image, name)
            except (KeyError, OSError, ValueError):  # another Pillow may lack it
                continue
        yield name, content
    if features.check("jpg_2000"):
        yield "JPEG2000_codestream", encoded(colour(), "JPEG2000", no_jp2=True)


def _by_hand() -> Iterator[tuple[str, bytes]]:
    yield "EPS_by_hand", EPS
    yield "EPS_from_dos", b"\xc5\xd0\xd3\xc6" + struct.pack("<IIIIIIH", 30, len(EPS), 0, 0, 0, 0, 0xFFFF) + EPS
    yield "PSD", b"8BPS" + struct.pack(">H6xHIIHH", 1, 3, 8, 8, 8, 3) + bytes(12) + b"\0\0" + bytes(192)
    yield "SVG", b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>'
    yield (
        "FITS",
        b"".join(
            card.ljust(80)
            for card in (b"SIMPLE  = T", b"BITPIX  = 8", b"NAXIS   = 2", b"NAXIS1  = 8", b"NAXIS2  = 8", b"END")
        ).ljust(2880)
        + bytes(2880),
    )
    yield "GRIB", b"GRIB\0\0\0\1" + bytes(100) + b"7777"
    yield "HDF5", b"\x89HDF\r\n\x1a\n" + bytes(200)
    yield "BUFR", b"BUFR" + bytes(100) + b"7777"
    yield (
        "WMF",
        b"\xd7\xcd\xc6\x9a\0\0"
        + struct.pack("<hhhhH", 0, 0, 600, 400, 1440)
        + b"\0\0\0\0\0\0"
        + b"\1\0\t\0"
        + bytes(60),
    )
    yield "EMF", b"\1\0\0\0" + struct.pack("<I8i", 108, 0, 0, 9, 9, 0, 0, 900, 900) + b" EMF" + bytes(64)
    yield "PCD", bytes(2048) + b"PCD_" + bytes(2048)
    yield "DCX", struct.pack("<II", 0x3ADE68B1, 12) + bytes(4) + encoded(colour(), "PCX")
    yield "XPM", b'/* XPM */\nstatic char *x[] = {\n"2 1 2 1",\n"a c #000000",\n"b c #ffffff",\n"ab"\n};\n'
    yield "SUN", struct.pack(">8I", 0x59A66A95, 4, 2, 24, 24, 1, 0, 0) + bytes(24)
    yield "CUR", b"\0\0\2\0\1\0" + encoded(colour(), "ICO")[6:]
    yield "FLI", struct.pack("<IHHHHHHI", 200, 0xAF11, 1, 8, 8, 8, 3, 5) + bytes(180)
    yield "GBR", struct.pack(">IIIII4sI", 30, 2, 2, 2, 1, b"GIMP", 10) + b"ab" + bytes(4)
    yield "MPEG", b"\0\0\1\xb3\x01\x00\x10" + bytes(60)
    yield "MCIDAS", b"\0\0\0\0\0\0\0\4" + bytes(300)
    yield "IPTC", b"\x1c\x03\x0a\0\1\0" + bytes(60)
    yield "PIXAR", b"\x80\xe8\0\0" + bytes(1100)
    yield "FTEX", b"FTEX" + bytes(60)
    yield "XVTHUMB", b"P7 332\n#END_OF_COMMENTS\n2 1 255\nab"
    yield "MP4", b"\0\0\0\x18ftypisom\0\0\2\0isommp41" + bytes(100)
    yield "PDF_by_hand", b"%PDF-1.4\n1 0 obj\n<< /Type /Catalog >>\nendobj\ntrailer << /Root 1 0 R >>\n%%EOF\n"
    yield "MVG", b"push graphic-context\nimage over 0,0 0,0 'https://127.0.0.1/x.jpg'\npop graphic-context\n"
    yield "playlist", b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n"
