"""Which versions of packages are installed."""

from __future__ import annotations


def installed_version(distribution: str) -> str:
    """The version of a distribution, by the name that pip knows; empty where it is not installed."""
    from importlib.metadata import PackageNotFoundError, version  # 20 ms, which few need

    try:
        return version(distribution)
    except PackageNotFoundError:
        return ""
