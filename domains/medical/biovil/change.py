"""Sentences about change: what two chest X-rays of one patient are compared with."""

from __future__ import annotations

import functools
from pathlib import Path

from pydantic import Field, field_validator

from ....core.config import Config, read_config
from ....core.prompts import normalize_label

_PROMPTS = Path(__file__).with_name("change.yaml")


class ChangePrompts(Config):
    """Sentences about change: every template of a state with every word of a finding.

    Attributes:
        states: {state: templates with one {}}, in answer order.
        findings: {finding: words for it}.
    """

    name: str
    version: str
    states: dict[str, tuple[str, ...]] = Field(min_length=2)
    findings: dict[str, tuple[str, ...]] = Field(min_length=1)

    @field_validator("states")
    @classmethod
    def _slots(cls, states: dict[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
        for state, templates in states.items():
            if not templates or any(template.count("{}") != 1 for template in templates):
                raise ValueError(f"templates of {state!r} need exactly one {{}} each")
        return states

    def words(self, finding: str) -> tuple[str, ...]:
        """Return the words for a finding; one that is not listed is taken as it is written."""
        known = {normalize_label(name): words for name, words in self.findings.items()}
        return known.get(normalize_label(finding), (finding,))

    def sentences(self, finding: str, state: str) -> list[str]:
        """Return what is said when ``finding`` is in ``state``."""
        return [
            template.replace("{}", word) for template in self.states[state] for word in self.words(finding)
        ]


@functools.cache
def change_prompts() -> ChangePrompts:
    """Return the prompts of this package: five findings, three states."""
    return read_config(ChangePrompts, _PROMPTS)
