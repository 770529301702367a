"""What an export gives back."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from vit_runtime.artifact import Artifact


@dataclass(frozen=True, kw_only=True)
class Exported:
    """A finished export."""

    path: Path
    artifact: Artifact

    @property
    def bytes(self) -> int:
        """Size on disk in bytes, including weights that are in a file of their own."""
        return self.path.stat().st_size + (self.artifact.external_data.bytes if self.artifact.external_data else 0)
