"""Tries releases of onnxruntime on ARM cores that QEMU plays: do they import, and do the self-tests pass?

    python tests/arm64/versions.py build/arm64 1.20.1 1.32.0

`make test-arm64` has to run first: it makes the root, installs the wheel and exports the files.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from install import HERE, run_on_device, wheels_for_device

CORES = ("cortex-a72", "cortex-a76")
MODELS = ("digits.fp32", "digits.static", "digits.dynamic", "deit.static")


def unpack(version: str, folder: Path) -> Path:
    """onnxruntime by itself, as FOLDER/shared/onnxruntime/VERSION; the venv has what it imports."""
    site = folder / "shared/onnxruntime" / version
    if not site.exists():
        wheels = site.with_name(f"{version}.wheels")
        wheels_for_device(wheels, ["--no-deps", f"onnxruntime=={version}"])
        (wheel,) = wheels.glob("*.whl")
        shutil.unpack_archive(wheel, site, "zip")
        shutil.rmtree(wheels)
    return site


def main() -> None:
    """Prints a line for each release and core."""
    folder = Path(sys.argv[1]).resolve()
    shutil.copy(HERE / "selftests.py", folder / "shared")
    files = [f"/shared/models/{name}.onnx" for name in MODELS if (folder / f"shared/models/{name}.onnx").exists()]
    for version in sys.argv[2:]:
        try:
            site = unpack(version, folder)
        except subprocess.CalledProcessError:
            print(f"{version}: no wheel")
            continue
        for core in CORES:
            path = f"PYTHONPATH=/shared/{site.relative_to(folder / 'shared')}"
            command = f"{path} ~/vit/bin/python /shared/selftests.py {' '.join(files)}"
            done = run_on_device(folder, command, core=core)
            answer = done.stdout.strip() or done.stderr.strip().splitlines()[-1]
            print(f"{version:<8}{core:<12}exit status {done.returncode}; {answer}", flush=True)


if __name__ == "__main__":
    main()
