"""Data sets as manifests: reading, splitting, leakage checks and a resumable loader."""

from __future__ import annotations

from ..lazy import lazy_names

_HOMES = {
    "Manifest": "manifest",
    "ManifestReport": "manifest",
    "Problem": "manifest",
    "Record": "manifest",
    "check_decodes": "files",
    "check_header": "files",
    "check_readable": "files",
    "LeakageReport": "leakage",
    "check_leakage": "leakage",
    "difference_hash": "leakage",
    "group_equal": "leakage",
    "group_equal_files": "leakage",
    "group_near_duplicates": "leakage",
    "dct_hash": "perceptual",
    "near_hashes": "perceptual",
    "split": "splitting",
    "DistinctTexts": "distinct",
    "LoaderConfig": "loader",
    "ResumableLoader": "loader",
}

__all__ = [
    "DistinctTexts",
    "LeakageReport",
    "LoaderConfig",
    "Manifest",
    "ManifestReport",
    "Problem",
    "Record",
    "ResumableLoader",
    "check_decodes",
    "check_header",
    "check_leakage",
    "check_readable",
    "dct_hash",
    "difference_hash",
    "group_equal",
    "group_equal_files",
    "group_near_duplicates",
    "near_hashes",
    "split",
]

__getattr__ = lazy_names(__name__, _HOMES)
