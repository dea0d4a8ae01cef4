"""Detectors, their settings and records, manifests and score tables: the public names of the room's things.

Example::

    from verticlip.domains.liveness.io import LivenessDetector, QualityConfig

    detector = LivenessDetector.from_pretrained("liveness/minifasnet-v2", detector="yunet")
    detector.calibrate("manifest.csv").save("threshold.json")
    strict = detector.using(threshold="threshold.json", mode="secure", quality=QualityConfig(yaw=20))
    strict.predict("selfie.jpg").decision                            # live, attack or no_response

What is done with them, judging a test set and simulating attacks, is in :mod:`.tasks`.
"""

from __future__ import annotations

from ...core.lazy import lazy_names

_HOMES = {
    "Calibration": "calibration.calibrate",
    "Category": "taxonomy",
    "Check": "quality.checks",
    "CropConfig": "faces.crop",
    "Entry": "protocols.entry",
    "Face": "faces.detect",
    "FaceDetector": "faces.detect",
    "Failure": "..core.answers",
    "LivenessDetector": "detector",
    "LivenessResult": "result",
    "Media": "frames.media",
    "Protocol": "protocols.protocol",
    "QualityConfig": "quality.config",
    "Relevance": "explain.relevance",
    "Sampling": "frames.sampling",
    "ScoredPresentation": "evaluation.table",
    "Taxonomy": "taxonomy",
    "Temperature": "calibration.temperature",
    "Threshold": "calibration.threshold",
    "YuNet": "faces.detect",
    "crop_face": "faces.crop",
    "crop_settings": "cropped",
    "load_image": "loaders.image",
    "load_taxonomy": "taxonomy",
    "load_threshold": "calibration.threshold",
    "open_protocol": "protocols.registry",
    "read_manifest": "protocols.manifest",
    "read_media": "frames.media",
    "read_scores": "evaluation.table",
    "save_crop": "cropped",
    "save_threshold": "calibration.threshold",
    "with_taxonomy": "models.base",
    "write_drawn_captures": "tasks.example",
    "write_manifest": "protocols.manifest",
    "write_scores": "evaluation.table",
}
__all__ = sorted(_HOMES)  # pyright: ignore[reportUnsupportedDunderAll]

# The modules are siblings of this one, not below it.
__getattr__ = lazy_names(__name__.rpartition(".")[0], _HOMES)


def __dir__() -> list[str]:
    return list(__all__)
