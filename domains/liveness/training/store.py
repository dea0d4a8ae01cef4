"""The presentations of a run: frames read, faces cut as the model wants them, kept at model size."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from ....core.data import Record
from ....core.errors import InputError
from ....core.processing import Processor
from ....core.stores import ImageStore
from ..faces.crop import CropConfig, crop_face
from ..faces.detect import FaceDetector
from ..protocols.entry import Entry

ReadFrames = Callable[[Entry], Sequence[np.ndarray]]
"""From a presentation to its frames, uint8 [H, W, 3] RGB each."""


class PresentationStore(ImageStore):
    """Frames of presentations as the network sees them, before any random change.

    Args:
        processor: of the model. entries: {id of a record: presentation}.
        crop: what of a frame the model looks at; the same function cuts when the model answers.
        read: gives the frames. detector: finds the face; None says that every frame is a crop already.
        train_frames: how many of the first frames of each are trained with; None is all.
        keep: hold decoded frames in memory.
    """

    noun = "presentations"

    def __init__(
        self,
        processor: Processor,
        entries: Mapping[str, Entry],
        *,
        crop: CropConfig,
        read: ReadFrames,
        detector: FaceDetector | None = None,
        train_frames: int | None = None,
        keep: bool = True,
    ) -> None:
        super().__init__(processor, lambda record: self._crops(entries[record.id]), keep=keep)
        self._crop, self._read, self._detector = crop, read, detector
        self._train_frames = train_frames

    def _crops(self, entry: Entry) -> list[np.ndarray]:
        """Return the cut frames of a presentation; frames without a face are left out.

        Raises:
            InputError: no frame can be read, or none shows a face.
        """
        frames = self._read(entry)
        if self._detector is None:
            return [crop_face(frame, None, self._crop) for frame in frames]
        found = [(frame, self._detector.detect(frame)) for frame in frames]
        crops = [crop_face(frame, faces[0], self._crop) for frame, faces in found if faces]
        if not crops:
            raise InputError(
                f"{entry.path.name}: no face in any of {len(frames)} frames. If the pictures are crops of "
                "faces already, set options.detector: none."
            )
        return crops

    def decode(self, record: Record) -> Tensor:
        """Return the frames of a presentation at model size, uint8 [F, 3, S, S]."""
        fitted = [self._processor.fit_image(crop, name=record.id) for crop in self._load(record)]
        return (torch.stack(fitted) * 255).round().to(torch.uint8)

    def draw(self, records: Sequence[Record], generator: torch.Generator | None) -> Tensor:
        """Return one frame of each, float32 [B, 3, S, S] in [0, 1]; the first without a generator."""
        places = torch.zeros(len(records))
        if generator is not None:
            places = torch.rand(len(records), generator=generator)
        frames = []
        for record, place in zip(records, places.tolist(), strict=True):
            own = self.value(record)[: self._train_frames]
            frames.append(own[int(place * len(own))])
        return torch.stack(frames).float() / 255

    def parts(self, record: Record) -> Tensor:
        """Return every frame, float32 [F, 3, S, S] in [0, 1]: what a presentation is judged by."""
        return self.value(record).float() / 255
