"""FLIP once more, in float64 and spelled out: what stored cases of other sizes are made from.

Nothing of the package is used. Keys are those of FLIP's checkpoints.
"""

from __future__ import annotations

import json
import math
from pathlib import Path

import torch
from safetensors.torch import save_file


def normal(shape, std, generator):
    """Return values that float32 holds exactly."""
    return (torch.randn(*shape, generator=generator) * std).float().double()


def clip_state(clip, generator):
    """Return random weights of a CLIP under OpenAI's names, float64."""
    width, text = clip["vision_width"], clip["transformer_width"]
    patch, grid = clip["vision_patch_size"], clip["image_resolution"] // clip["vision_patch_size"]

    def values(*shape, std=0.08):
        return normal(shape, std, generator)

    state = {
        "visual.class_embedding": values(width),
        "visual.positional_embedding": values(grid * grid + 1, width),
        "visual.conv1.weight": values(width, 3, patch, patch),
        "visual.proj": values(width, clip["embed_dim"]),
        "positional_embedding": values(clip["context_length"], text),
        "text_projection": values(text, clip["embed_dim"]),
        "token_embedding.weight": values(clip["vocab_size"], text, std=0.3),
        "logit_scale": torch.tensor(2.5, dtype=torch.float64),
    }
    norms = [("visual.ln_pre", width), ("visual.ln_post", width), ("ln_final", text)]
    blocks = [(f"visual.transformer.resblocks.{i}", width) for i in range(clip["vision_layers"])]
    blocks += [(f"transformer.resblocks.{i}", text) for i in range(clip["transformer_layers"])]
    for name, size in blocks:
        norms += [(f"{name}.ln_1", size), (f"{name}.ln_2", size)]
        for part, shape in {
            "attn.in_proj_weight": (3 * size, size),
            "attn.in_proj_bias": (3 * size,),
            "attn.out_proj.weight": (size, size),
            "attn.out_proj.bias": (size,),
            "mlp.c_fc.weight": (4 * size, size),
            "mlp.c_fc.bias": (4 * size,),
            "mlp.c_proj.weight": (size, 4 * size),
            "mlp.c_proj.bias": (size,),
        }.items():
            state[f"{name}.{part}"] = values(*shape)
    for name, size in norms:
        state[f"{name}.weight"] = 1 + values(size)
        state[f"{name}.bias"] = values(size)
    return state


def projector_state(clip, mcl, generator):
    """Return random weights of the projector, running statistics included."""
    hidden, out = mcl["ssl_mlp_dim"], mcl["ssl_emb_dim"]
    state = {}
    for name, rows, columns in (
        ("layer1", hidden, clip["embed_dim"]),
        ("layer2", hidden, hidden),
        ("layer3", out, hidden),
    ):
        state[f"{name}.weight"] = normal((rows, columns), 0.1, generator)
        state[f"{name}.bias"] = normal((rows,), 0.1, generator)
    for name in ("bn1", "bn2"):
        state[f"{name}.weight"] = 1 + normal((hidden,), 0.1, generator)
        state[f"{name}.bias"] = normal((hidden,), 0.1, generator)
        state[f"{name}.running_mean"] = normal((hidden,), 0.1, generator)
        state[f"{name}.running_var"] = 1 + normal((hidden,), 0.05, generator).abs()
        state[f"{name}.num_batches_tracked"] = torch.tensor(3)
    return state


def layer_norm(x, state, name):
    """Return x normed over its last axis."""
    mean = x.mean(-1, keepdim=True)
    variance = ((x - mean) ** 2).mean(-1, keepdim=True)
    return (x - mean) / (variance + 1e-5).sqrt() * state[f"{name}.weight"] + state[f"{name}.bias"]


def block(x, state, name, heads, causal):
    """Return x [T, W] of one row after a block."""
    length, width = x.shape
    size = width // heads
    qkv = layer_norm(x, state, f"{name}.ln_1") @ state[f"{name}.attn.in_proj_weight"].T
    qkv = qkv + state[f"{name}.attn.in_proj_bias"]
    mixed = []
    for head in range(heads):
        query, key, value = (
            qkv[:, part * width + head * size : part * width + (head + 1) * size] for part in range(3)
        )
        scores = query @ key.T / math.sqrt(size)
        if causal:
            later = torch.ones(length, length).triu(1).bool()
            scores = scores.masked_fill(later, -math.inf)
        mixed.append(scores.softmax(-1) @ value)
    attended = torch.cat(mixed, dim=1) @ state[f"{name}.attn.out_proj.weight"].T
    x = x + attended + state[f"{name}.attn.out_proj.bias"]
    hidden = layer_norm(x, state, f"{name}.ln_2") @ state[f"{name}.mlp.c_fc.weight"].T
    hidden = hidden + state[f"{name}.mlp.c_fc.bias"]
    hidden = hidden * torch.sigmoid(1.702 * hidden)
    return x + hidden @ state[f"{name}.mlp.c_proj.weight"].T + state[f"{name}.mlp.c_proj.bias"]


def image_features(state, clip, images):
    """Return class tokens [B, W] after the last norm and embeddings [B, D] of images [B, 3, S, S]."""
    patch = clip["vision_patch_size"]
    heads = max(1, clip["vision_width"] // 64)
    kernel = state["visual.conv1.weight"].flatten(1)
    rows = []
    for image in images:
        tokens = [state["visual.class_embedding"]]
        for top in range(0, clip["image_resolution"] - patch + 1, patch):
            for left in range(0, clip["image_resolution"] - patch + 1, patch):
                tokens.append(kernel @ image[:, top : top + patch, left : left + patch].flatten())
        x = layer_norm(torch.stack(tokens) + state["visual.positional_embedding"], state, "visual.ln_pre")
        for number in range(clip["vision_layers"]):
            x = block(x, state, f"visual.transformer.resblocks.{number}", heads, causal=False)
        rows.append(layer_norm(x[0], state, "visual.ln_post"))
    before = torch.stack(rows)
    return before, before @ state["visual.proj"]


def text_features(state, clip, ids):
    """Return embeddings [P, D] of token ids [P, L]; the highest id is the end."""
    rows = []
    for row in ids:
        x = state["token_embedding.weight"][row] + state["positional_embedding"]
        for number in range(clip["transformer_layers"]):
            x = block(x, state, f"transformer.resblocks.{number}", clip["transformer_heads"], causal=True)
        rows.append(layer_norm(x[int(row.argmax())], state, "ln_final") @ state["text_projection"])
    return torch.stack(rows)


def unit(x):
    """Return rows of length one."""
    return x / x.norm(dim=-1, keepdim=True)


def logits_of(state, images, texts):
    """Return logits [B, K] of embeddings with the texts of each class."""
    means = torch.stack([own.mean(0) for own in texts])
    return state["logit_scale"].exp() * unit(images) @ unit(means).T


def project(state, x):
    """Return [B, D] after the projector and the statistics that it leaves behind."""
    after = {}
    for layer, norm in (("layer1", "bn1"), ("layer2", "bn2")):
        x = x @ state[f"{layer}.weight"].T + state[f"{layer}.bias"]
        mean, spread = x.mean(0), x.var(0, unbiased=False)
        after[f"{norm}.running_mean"] = 0.9 * state[f"{norm}.running_mean"] + 0.1 * mean.detach()
        after[f"{norm}.running_var"] = (
            0.9 * state[f"{norm}.running_var"] + 0.1 * x.var(0, unbiased=True).detach()
        )
        x = (x - mean) / (spread + 1e-5).sqrt() * state[f"{norm}.weight"] + state[f"{norm}.bias"]
        x = x.clamp(min=0)
    return x @ state["layer3.weight"].T + state["layer3.bias"], {**state, **after}


def simclr(first, second):
    """Return logits [2B, 2B - 1], one by one: the partner, then all others in order."""
    both = torch.cat([unit(first), unit(second)])
    count, rows = len(first), []
    for i in range(2 * count):
        partner = (i + count) % (2 * count)
        others = [k for k in range(2 * count) if k not in (i, partner)]
        rows.append(torch.stack([(both[i] * both[k]).sum() / 0.1 for k in (partner, *others)]))
    return torch.stack(rows)


def mean_log_loss(logits, labels):
    """Return the mean over rows of -log softmax at the label."""
    return torch.stack(
        [row.logsumexp(0) - row[label] for row, label in zip(logits, labels, strict=True)]
    ).mean()


def token_ids(counts, clip, generator):
    """Return ids [P, L] per class: words, then the highest id, then zeros."""
    found = {}
    for name, count in counts.items():
        ids = torch.zeros(count, clip["context_length"], dtype=torch.int64)
        for row in ids:
            length = int(torch.randint(2, clip["context_length"] - 1, (), generator=generator))
            row[:length] = torch.randint(1, clip["vocab_size"] - 1, (length,), generator=generator)
            row[length] = clip["vocab_size"] - 1
        found[f"{name}_token_ids"] = ids
    return found


def write_case(folder: Path, config, inputs, outputs, weights) -> Path:
    """Write a case as the stored ones lie: float32 tensors and a JSON file."""

    def plain(tensors):
        return {
            name: (one.detach().float() if one.is_floating_point() else one).contiguous().clone()
            for name, one in tensors.items()
        }

    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config))
    for name, tensors in (("inputs", inputs), ("outputs", outputs), ("weights", weights)):
        save_file(plain(tensors), folder / f"{name}.safetensors")
    return folder


def sizes(**changes):
    """Return the sizes of a small CLIP under the names of its constructor."""
    clip = {
        "embed_dim": 24, "image_resolution": 16, "vision_layers": 1, "vision_width": 64,
        "vision_patch_size": 8, "context_length": 11, "vocab_size": 19, "transformer_width": 16,
        "transformer_heads": 2, "transformer_layers": 1,
    }  # fmt: skip
    return {**clip, **changes}


def flip_it_case(folder, clip, *, seed=0, batch=3, spoof=6, real=6, order=("spoof", "real")):
    """Write a case of FLIP-IT and return its folder."""
    generator = torch.Generator().manual_seed(seed)
    state = clip_state(clip, generator)
    side = clip["image_resolution"]
    images = normal((batch, 3, side, side), 1.0, generator)
    ids = token_ids({"spoof": spoof, "real": real}, clip, generator)
    texts = {name: text_features(state, clip, ids[f"{name}_token_ids"]) for name in order}
    before, features = image_features(state, clip, images)
    logits = logits_of(state, features, [texts[name] for name in order])
    outputs = {
        "image_features": features,
        "image_features_pre_projection": before,
        "logits": logits,
        "prob_real": logits.softmax(1)[:, order.index("real")],
        **{f"{name}_prompt_embeddings": one for name, one in texts.items()},
    }
    config = {"case": folder.name, "clip": clip, "class_order": list(order), "activation": "quick_gelu"}
    weights = {f"model.{name}": one for name, one in state.items()}
    return write_case(folder, config, {"image": images, **ids}, outputs, weights)


def flip_mcl_case(folder, clip, mcl, *, seed=0, labels=(1, 0, 1), spoof=6, real=6):
    """Write a case of one training step of FLIP-MCL and return its folder."""
    generator = torch.Generator().manual_seed(seed)
    state = {name: one.requires_grad_() for name, one in clip_state(clip, generator).items()}
    projector = projector_state(clip, mcl, generator)
    learned = [name for name in projector if "running" not in name and "num_batches" not in name]
    for name in learned:
        projector[name].requires_grad_()
    side, count = clip["image_resolution"], len(labels)
    images, first, second = (normal((count, 3, side, side), 1.0, generator) for _ in range(3))
    counts = {"spoof": spoof, "real": real}
    ids = token_ids(counts, clip, generator)
    drawn_1, drawn_2 = [], []
    for label in labels:
        total = (spoof, real)[label]
        drawn_1.append(torch.randint(total, (3,), generator=generator).tolist())
        rest = [index for index in range(total) if index not in drawn_1[-1]]
        drawn_2.append(rest + [-1] * (max(spoof, real) - len(rest)))

    texts = [text_features(state, clip, ids[f"{name}_token_ids"]) for name in ("spoof", "real")]
    logits = logits_of(state, image_features(state, clip, images)[1], texts)
    views = [image_features(state, clip, one)[1] for one in (first, second)]
    projected_1, running = project(projector, views[0])
    projected_2, running = project(running, views[1])
    contrast = simclr(projected_1, projected_2)
    gaps = []
    for row, label in enumerate(labels):
        cosines = []
        for view, drawn in zip(views, (drawn_1[row], drawn_2[row]), strict=True):
            mean = texts[label][[index for index in drawn if index >= 0]].mean(0)
            cosines.append((unit(view[row]) * unit(mean)).sum())
        gaps.append((cosines[0] - cosines[1]) ** 2)
    losses = {
        "loss_cls": mean_log_loss(logits, labels),
        "loss_simclr": mean_log_loss(contrast, [0] * len(contrast)),
        "loss_mse": torch.stack(gaps).mean(),
    }
    total = torch.stack(list(losses.values())).sum()
    total.backward()
    parameters = [*state.values(), *(projector[name] for name in learned)]
    squares = [one.grad.square().sum() for one in parameters if one.grad is not None]
    outputs = {
        **losses,
        "loss_total": total,
        "logits": logits,
        "logits_ssl": contrast,
        "labels_ssl": torch.zeros(2 * count, dtype=torch.int64),
        "bn1_running_mean_after": running["bn1.running_mean"],
        "bn1_running_var_after": running["bn1.running_var"],
        "bn2_running_mean_after": running["bn2.running_mean"],
        "bn2_running_var_after": running["bn2.running_var"],
        "grad_logit_scale": state["logit_scale"].grad,
        "grad_norm_visual_proj": state["visual.proj"].grad.norm(),
        "grad_norm_text_projection": state["text_projection"].grad.norm(),
        "grad_norm_total": torch.stack(squares).sum().sqrt(),
        "logits_eval_after": logits,
    }
    inputs = {
        "image": images, "view_1": first, "view_2": second, **ids, "labels": torch.tensor(labels),
        "prompt_view_1_indices": torch.tensor(drawn_1), "prompt_view_2_indices": torch.tensor(drawn_2),
    }  # fmt: skip
    config = {
        "case": folder.name, "clip": clip, "mcl": mcl, "class_order": ["spoof", "real"],
        "ssl_temperature": 0.1, "loss_weights": {"cls": 1.0, "simclr": 1.0, "mse": 1.0},
    }  # fmt: skip
    weights = {f"model.{name}": one for name, one in state.items()}
    weights |= {f"image_mlp.{name}": one for name, one in projector.items()}
    return write_case(folder, config, inputs, outputs, weights)


def flip_v_case(folder, *, width=20, hidden=12, classes=2, batch=3, seed=0):
    """Write a case of the head of FLIP-V and return its folder."""
    generator = torch.Generator().manual_seed(seed)
    features = normal((batch, width), 1.0, generator)
    weight, bias = normal((hidden, width), 0.3, generator), normal((hidden,), 0.1, generator)
    last, last_bias = normal((classes, hidden), 0.5, generator), normal((classes,), 0.1, generator)
    inner = (features @ weight.T + bias).clamp(min=0)
    embedding = torch.stack([row / math.sqrt(2 * max(float(row.norm()), 1e-12)) for row in inner])
    columns = torch.stack([column / column.norm() for column in last.T]).T
    outputs = {
        "embedding": embedding,
        "embedding_no_norm": inner,
        "classifier_weight_after_forward": columns,
        "logits": embedding @ columns.T + last_bias,
    }
    weights = {
        "embedder.bottleneck_layer_fc.weight": weight,
        "embedder.bottleneck_layer_fc.bias": bias,
        "classifier.classifier_layer.weight": last,
        "classifier.classifier_layer.bias": last_bias,
    }
    return write_case(folder, {"case": folder.name}, {"features": features}, outputs, weights)
