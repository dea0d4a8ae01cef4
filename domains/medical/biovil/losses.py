"""The training objective of BioViL and BioViL-T: one global term and three optional ones.

No training code of the reference is public; the terms are the standard forms that the papers name.

Reference: Boecking et al., "Making the Most of Text Semantics to Improve Biomedical Vision-Language
Processing", 2022 (global term, masked words, section matching); Huang et al., "GLoRIA", 2021 (words
and patches); Bannur et al., 2023.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor
from torch.nn import functional as F

from ....core.errors import ConfigError
from ....core.objectives.base import Needs, Objective, check_equal_batches, gather, world
from ....core.objectives.pairwise import info_nce, pair_of
from ....core.objectives.streaming import Pairing
from ....core.types import Batch, Outputs
from .model import IGNORED_LABEL

_SECTIONS = ("findings_embeddings", "impression_embeddings")


class BioViLObjective(Objective):
    """Image against report, masked words, findings against impression, words against patches.

    With unit embeddings v_i, t_i of N pairs and a temperature tau, ``both(a, b, tau)`` is the *sum* of
    the two directions of InfoNCE,
    ``-1/N sum_i [log softmax_j(a_i.b_j / tau)_i + log softmax_j(b_i.a_j / tau)_i]``. Then

    * ``global = global_weight * both(v, t, temperature)``;
    * ``masked_words = masked_words_weight * cross-entropy`` at the places the collate masked;
    * ``sections = sections_weight * both(f, m, sections_temperature)`` over the reports that have both a
      findings section f_i and an impression m_i;
    * ``local = local_weight * both(w, c, local_temperature)`` over all words of the batch, where
      ``c_k = sum_p softmax_p(w_k.v_p / tau1) v_p`` with ``(tau1, local_temperature) =
      local_temperatures`` is what word k sees in its own
      image; the contexts of all other words, of this image and of others, are the negatives.

    Over several processes ``global`` and ``sections`` count the pairs of all of them. ``masked_words`` and
    ``local`` are means over the words of each process, so that a process with fewer masked words gives each
    of its words a little more weight.

    Weights other than zero switch a term on; what it reads is then in :attr:`needs`. In BioViL-T the
    masked words may see the image; how is not public, so here they do not.

    Args:
        temperature: of the global term; None takes the model's learnt scale. 0.5 is the value reported
            for the paper (not verified).
        global_weight: the paper's joint objective is said to use 0.5 beside 1 for each of the others
            (not verified).
        masked_words_weight, sections_weight, local_weight: 0 leaves the term out.
        sections_temperature: 0.5, which an independent implementation uses too.
        local_temperatures: of the softmax over patches and of the InfoNCE; not published for BioViL-L, so
            these are starting points.

    Raises:
        ConfigError: a temperature that is not positive, a negative weight, or no term at all.

    Example:
        >>> import torch
        >>> eye = torch.eye(4)
        >>> outputs = Outputs({"image": eye, "text": eye}, logit_scale=torch.tensor(2.0))
        >>> round(float(BioViLObjective(temperature=0.01)(outputs, Batch({}))["loss"]), 6)
        0.0
    """

    def __init__(
        self,
        temperature: float | None = 0.5,
        *,
        global_weight: float = 1.0,
        masked_words_weight: float = 0.0,
        sections_weight: float = 0.0,
        local_weight: float = 0.0,
        sections_temperature: float = 0.5,
        local_temperatures: tuple[float, float] = (0.25, 0.1),
    ) -> None:
        super().__init__()
        self.temperature = temperature
        self.sections_temperature = sections_temperature
        self.local_temperatures = local_temperatures
        self.weights = {
            "global": global_weight,
            "masked_words": masked_words_weight,
            "sections": sections_weight,
            "local": local_weight,
        }
        temperatures = {
            "temperature": temperature,
            "sections_temperature": sections_temperature,
            "local_temperatures[0]": local_temperatures[0],
            "local_temperatures[1]": local_temperatures[1],
        }
        for name, value in temperatures.items():
            if value is not None and value <= 0:
                raise ConfigError(f"{name} must be above 0, got {value}.")
        for name, value in self.weights.items():
            if value < 0:
                raise ConfigError(f"{name}_weight must not be negative, got {value}.")
        if not any(self.weights.values()):
            raise ConfigError("Every weight is 0, so there is nothing to learn. Set global_weight=1.")
        self.needs = self._needs()

    def _needs(self) -> Needs:
        outputs: list[str] = []
        extras: list[str] = []
        if self.weights["masked_words"]:
            outputs.append("mlm_logits")
            extras.append("mlm_labels")
        if self.weights["sections"]:
            outputs += _SECTIONS
            extras.append("has_sections")
        if self.weights["local"]:
            outputs += ["patch_embeddings", "word_embeddings", "word_mask"]
        pairs = self.weights["global"] or self.weights["local"]
        return Needs(
            modalities=("image", "text") if pairs else (),
            output_extras=tuple(outputs),
            batch_extras=tuple(extras),
        )

    def compute(self, outputs: Outputs, batch: Batch) -> dict[str, Tensor]:
        """Return the weighted terms that are switched on, by name."""
        weights, parts = self.weights, dict[str, Tensor]()
        if weights["global"]:
            image, text = pair_of(outputs.embeddings, ("image", "text"))
            scale = outputs.logit_scale
            if self.temperature is not None:
                # A scale that is not learnt still takes part: distributed training waits for its gradient.
                scale = scale * 0.0 + 1 / self.temperature
            parts["global"] = weights["global"] * both_directions(image, text, scale=scale)
        if weights["masked_words"]:
            parts["masked_words"] = weights["masked_words"] * masked_word_loss(
                outputs.extras["mlm_logits"], batch.extras["mlm_labels"]
            )
        if weights["sections"]:
            findings, impression = (outputs.extras[name].float() for name in _SECTIONS)
            parts["sections"] = weights["sections"] * section_loss(
                findings, impression, batch.extras["has_sections"], temperature=self.sections_temperature
            )
        if weights["local"]:
            parts["local"] = weights["local"] * local_loss(
                outputs.extras,
                attention_temperature=self.local_temperatures[0],
                temperature=self.local_temperatures[1],
            )
        return parts


def both_directions(first: Tensor, second: Tensor, *, scale: Tensor) -> Tensor:
    """Return the sum of both directions of InfoNCE over the pairs of all processes.

    Args:
        first, second: unit embeddings [B, D] of this process, row i of one belonging to row i of the other.
        scale: inverse temperature, a scalar.
    """
    if world()[1] == 1:
        return 2 * info_nce(first, second, scale=scale, pairing=Pairing(0))
    check_equal_batches(len(first), first.device)
    offset = world()[0] * len(first)
    all_first, all_second = gather(first, with_grad=True), gather(second, with_grad=True)
    rows = info_nce(first, all_second, scale=scale, pairing=Pairing(offset), symmetric=False)
    columns = info_nce(second, all_first, scale=scale, pairing=Pairing(offset), symmetric=False)
    return rows + columns


def masked_word_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the mean cross-entropy of this process's masked places; zero when there is none.

    Args:
        logits: float [M, V], one row per place of ``labels`` that is not -100, row by row.
        labels: int64 [B, L].
    """
    targets = labels[labels != IGNORED_LABEL]
    if not len(targets):
        return logits.float().sum() * 0.0
    return F.cross_entropy(logits.float(), targets)


def section_loss(findings: Tensor, impression: Tensor, has_both: Tensor, *, temperature: float) -> Tensor:
    """Return radiology section matching over the reports of all processes that have both sections.

    Args:
        findings, impression: unit embeddings [B, D]; rows without both sections are not looked at.
        has_both: bool [B].
        temperature: tau'.
    """
    if world()[1] > 1:
        # Ranks hold different numbers of whole reports, so all rows are gathered and then chosen.
        check_equal_batches(len(findings), findings.device)
        findings, impression = gather(findings, with_grad=True), gather(impression, with_grad=True)
        has_both = gather(has_both, with_grad=False)
    if not bool(has_both.any()):
        return (findings.sum() + impression.sum()) * 0.0
    scale = findings.new_tensor(1 / temperature)
    rows = has_both.bool()
    return 2 * info_nce(findings[rows], impression[rows], scale=scale, pairing=Pairing(0))


def local_loss(extras: Mapping[str, Tensor], *, temperature: float, attention_temperature: float) -> Tensor:
    """Return the word-patch term over this process's batch; zero when there is no word.

    Args:
        extras: ``patch_embeddings`` float [B, h, w, D] and ``word_embeddings`` float [B, L, D], unit
            length; ``word_mask`` bool [B, L].
        temperature: of the InfoNCE. attention_temperature: of the softmax over patches.
    """
    patches = extras["patch_embeddings"].float().flatten(1, 2)
    words, mask = extras["word_embeddings"].float(), extras["word_mask"]
    attention = (words @ patches.transpose(1, 2) / attention_temperature).softmax(dim=-1)
    contexts = F.normalize(attention @ patches, dim=-1)
    if not bool(mask.any()):
        return (contexts.sum() + words.sum()) * 0.0
    scale = words.new_tensor(1 / temperature)
    return 2 * info_nce(words[mask], contexts[mask], scale=scale, pairing=Pairing(0))
