"""The metadata of a model card: what the Hub reads from it, and what it refuses."""

from __future__ import annotations

import re
from typing import Any

_BLOCK = re.compile(r"\A﻿?\s*---[ \t]*\r?\n(.*?)\r?\n---[ \t]*(?:\r?\n|\Z)", re.DOTALL)
_LISTS = ("tags", "datasets", "metrics")
_TEXTS = ("pipeline_tag", "library_name", "license_name", "license_link")


def _parsed(text: str) -> Any:
    import yaml

    block = _BLOCK.match(text)
    return yaml.safe_load(block[1]) if block else None


def metadata(content: bytes) -> dict[str, Any]:
    """Return the metadata of a card; nothing where it is damaged."""
    import yaml

    try:
        value = _parsed(content.decode("utf-8", "replace"))
    except yaml.YAMLError:
        return {}
    return value if isinstance(value, dict) else {}


def problems(text: str) -> tuple[list[str], list[str]]:
    """Return what is wrong with a card's metadata: (errors, warnings)."""
    import yaml

    try:
        value = _parsed(text)
    except yaml.YAMLError as error:
        return [f"YAML: {error}"], []
    if value is None:
        return [], ["empty or missing yaml metadata in repo card"]
    if not isinstance(value, dict):
        return ["The metadata is not a mapping"], []
    errors = [f'"{name}" must be a string' for name in _TEXTS if not isinstance(value.get(name, ""), str)]
    for name in (*_LISTS, "language", "license", "base_model"):
        held = value.get(name, [])
        plain = name not in _LISTS and isinstance(held, str)
        if not plain and not (isinstance(held, list) and all(isinstance(one, str) for one in held)):
            errors.append(f'"{name}" must be an array of strings')
    return errors + _index_problems(value.get("model-index", [])), []


def _index_problems(index: Any) -> list[str]:
    if not isinstance(index, list):
        return ['"model-index" must be an array']
    errors = []
    for model, entry in enumerate(index):
        at = f'"model-index[{model}]'
        if not isinstance(entry, dict) or not isinstance(entry.get("name"), str):
            errors.append(f'{at}.name" is required')
        results = entry.get("results") if isinstance(entry, dict) else None
        if not isinstance(results, list):
            errors.append(f'{at}.results" is required')
            continue
        for number, result in enumerate(results):
            place = f"{at}.results[{number}]"
            errors += [
                f'{place}.{part}.{name}" is required'
                for part, names in (("task", ("type",)), ("dataset", ("type", "name")))
                for name in names
                if not isinstance(result, dict) or not isinstance((result.get(part) or {}).get(name), str)
            ]
            metrics = result.get("metrics") if isinstance(result, dict) else None
            if not isinstance(metrics, list) or not metrics:
                errors.append(f'{place}.metrics" is required')
                continue
            errors += [
                f'{place}.metrics[{which}].{name}" is required'
                for which, metric in enumerate(metrics)
                for name in ("type", "value")
                if not isinstance(metric, dict) or metric.get(name) is None
            ]
    return errors
