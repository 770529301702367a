"""The page at `/`: one file, and the policy that lets a browser run this file's script and nothing else."""

from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Page:
    """The page, ready to be sent."""

    content: bytes
    policy: str
    """Its Content-Security-Policy."""


def load() -> Page:
    """Reads the page that comes with the package."""
    content = Path(__file__).with_name("index.html").read_bytes()
    directives = (
        "default-src 'none'",
        f"script-src {_digests(content, b'script')}",
        f"style-src {_digests(content, b'style')}",
        "img-src 'self' blob: data:",
        "media-src 'self' blob:",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
    )
    return Page(content, "; ".join(directives))


def _digests(content: bytes, element: bytes) -> str:
    """The digests of an element's texts, as a policy names them; browsers compare line by line as they are sent."""
    texts = re.findall(rb"<%b[^>]*>(.*?)</%b>" % (element, element), content, re.DOTALL)
    return (
        " ".join(f"'sha256-{base64.b64encode(hashlib.sha256(text).digest()).decode()}'" for text in texts) or "'none'"
    )
