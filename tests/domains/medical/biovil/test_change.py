"""Sentences about change."""

from __future__ import annotations

import pytest
from verticlip.domains.medical.biovil.change import ChangePrompts, change_prompts


def test_prompts_say_what_they_are_about():
    prompts = change_prompts()
    for finding in prompts.findings:
        texts = [text for state in prompts.states for text in prompts.sentences(finding, state)]
        assert len(set(texts)) == len(texts)
        assert all("{}" not in text for text in texts)
    with pytest.raises(ValueError, match="exactly one"):
        ChangePrompts(
            name="a", version="1", states={"up": ("more",), "down": ("{}",)}, findings={"x": ("x",)}
        )
