from __future__ import annotations

import re

import pytest
from verticlip.core import registry
from verticlip.core.errors import ConfigError


def test_every_declared_word_leads_to_a_function():
    for name in registry.ROOMS:
        room = registry.room(name)
        for kind in ("loaders", "readers", "architectures", "converters", "objectives"):
            for word in getattr(room, kind):
                assert callable(room.function(kind, word)), (name, kind, word)
        for word in room.goldens:
            assert room.module("goldens", word).CASES, (name, word)
        for recipe in room.recipes.values():
            assert recipe.path.is_file()


def test_every_model_says_what_it_may_be_used_for_and_is_pinned():
    for spec in registry.models().values():
        assert spec.intended_use
        assert spec.licence
        assert spec.domain == spec.name.split("/")[0]
        if isinstance(spec.weights, registry.PublishedWeights):
            assert spec.weights.converter in registry.room(spec.domain).converters
            assert all(re.fullmatch(r"[0-9a-f]{64}", file.sha256 or "0" * 64) for file in spec.weights.files)
            assert len({file.role for file in spec.weights.files}) == len(spec.weights.files)
            continue
        assert spec.weights.packaged or re.fullmatch(r"[0-9a-f]{40}", spec.weights.revision or "")
        assert "model.safetensors" in spec.weights.files
        assert all(re.fullmatch(r"[0-9a-f]{64}", digest) for digest in spec.weights.files.values())


def test_unknown_words_name_the_nearest():
    with pytest.raises(ConfigError, match="No domain 'medcal'; there are: medical, .*Did you mean 'medical'"):
        registry.room("medcal")
    with pytest.raises(ConfigError, match="Did you mean 'medical/tiny'.*A folder"):
        registry.model_spec("medical/tinny")
    with pytest.raises(ConfigError, match="has no reader 'voc_box'; it has: .*Did you mean 'voc_boxes'"):
        registry.room("medical").function("readers", "voc_box")
