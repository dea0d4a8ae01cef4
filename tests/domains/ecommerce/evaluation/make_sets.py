"""A model that sees one color and reads color words, and tiny data sets in the layouts of the published ones."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import torch
from PIL import Image
from torch.nn import functional as F
from verticlip.core.index.base import Identity
from verticlip.core.limits import DEFAULT
from verticlip.domains.ecommerce.encoders.fusing import Fusion, fuse
from verticlip.domains.ecommerce.encoders.product import ProductVectors
from verticlip.domains.ecommerce.evaluation.vectors import EvaluationEncoder
from verticlip.domains.ecommerce.loaders.image import load_image

COLORS = {
    "red": (230, 20, 20), "green": (20, 200, 20), "blue": (20, 20, 230), "white": (250, 250, 250),
    "yellow": (240, 230, 20), "pink": (250, 120, 200),
}  # fmt: skip
NAMES = tuple(COLORS)
_TABLE = F.normalize(torch.tensor(list(COLORS.values())).float() - 128, dim=-1)


@dataclass
class ColorEncoder:
    """Six axes of colors, one of what all have, and one for the word "striped"."""

    dim: int = 8
    context_length: int = 8
    asked: list[str] = field(default_factory=list)

    def count_tokens(self, text):
        return len(text.split()) + 2

    @property
    def identity(self):
        return Identity("colors", "r", "p", self.dim)

    @property
    def fusion(self):
        return Fusion()

    def prepare_image(self, source):
        if isinstance(source, (Path, bytes)):
            source = load_image(source, shortest_side=1)
        return source.value.float().reshape(source.value.shape[0], -1)[:, :1].expand(3, 1).reshape(3, 1, 1)

    def _image(self, prepared):
        color = F.normalize(prepared.reshape(3) - 128, dim=0)
        vector = torch.zeros(8)
        vector[int((_TABLE @ color).argmax())] = 1.0
        vector[6] = 0.5
        return F.normalize(vector, dim=0)

    def _text(self, text):
        self.asked.append(text)
        words = " ".join(text.split()[: self.context_length - 2]).lower().replace(",", " ").split()
        vector = torch.zeros(8)
        vector[6] = 0.5
        colors = [word for word in words if word in NAMES]
        if colors:
            # The last one counts: "red shirt, blue" is a blue one.
            vector[NAMES.index(colors[-1])] += 1.0
        vector[7] += float("striped" in words)
        return F.normalize(vector, dim=0)

    def encode(self, images, texts, *, categories=None, batch_size=32):
        image = torch.stack([torch.zeros(8) if one is None else self._image(one) for one in images])
        text = torch.stack([torch.zeros(8) if one is None else self._text(one) for one in texts])
        present = {
            "image": torch.tensor([one is not None for one in images]),
            "text": torch.tensor([one is not None for one in texts]),
        }
        product = fuse(image, text, Fusion().shares(len(images)), present)
        return ProductVectors(image, text, product, present["image"], present["text"])

    def encode_images(self, images, *, batch_size=32):
        return self.encode(images, [None] * len(images)).image


def encoder(name: str = "colors") -> EvaluationEncoder:
    """Return the encoder as evaluations use it."""
    own = ColorEncoder()
    processor = SimpleNamespace(
        fingerprint="p", count_tokens=lambda texts: [own.count_tokens(text) for text in texts]
    )
    model = SimpleNamespace(id=name, revision="r", processor=processor, limits=DEFAULT, prompts=None)
    return EvaluationEncoder(model, own, batch_size=4)


def png(color: str, side: int = 24) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (side, side), COLORS[color]).save(buffer, "PNG")
    return buffer.getvalue()


def write_json(path: Path, value) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value))
    return path


def marqo(root: Path, *, parquet: bool = False) -> tuple[Path, Path]:
    """Write (config, folder of documents): twelve products of six colors."""
    config = write_json(
        root / "configs" / "KAGL.json",
        {
            "name": "KAGL",
            "hf_dataset": "Marqo/KAGL",
            "tasks": [
                {"name": "text-to-image", "query_col": ["text"], "doc_col": ["image"]},
                {
                    "name": "category-to-product",
                    "query_col": ["category1"],
                    "doc_col": ["image", "text"],
                    "doc_weights": [0.9, 0.1],
                },
            ],
        },
    )
    data = root / "KAGL"
    (data / "img").mkdir(parents=True, exist_ok=True)
    rows = []
    for number in range(12):
        color = NAMES[number % 6]
        rows.append({"item_ID": f"d{number:02d}", "text": f"{color} shirt", "image": f"img/{number}.png"})
        (data / rows[-1]["image"]).write_bytes(png(color))
    if parquet:
        import pyarrow as pa
        import pyarrow.parquet as pq

        for row in rows:
            row["image"] = {"bytes": (data / row["image"]).read_bytes(), "path": row["image"]}
        pq.write_table(pa.Table.from_pylist(rows), data / "data-00000.parquet")
    else:
        (data / "documents.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    truth = {f"{color} thing": {f"d{n:02d}": 1 for n in (i, i + 6)} for i, color in enumerate(NAMES)}
    write_json(data / "gt_query_doc" / "ground_truth_text-image.json", truth)
    write_json(
        data / "gt_query_doc" / "ground_truth_category1-image+text.json",
        {"red": truth["red thing"], "lost": {"elsewhere": 1}},
    )
    return config, data


def esspr(root: Path) -> tuple[Path, Path]:
    """Write (pairs, pictures): a trigger of each color with one right and one wrong product."""
    images = root / "pictures"
    images.mkdir(parents=True, exist_ok=True)
    rows = []
    for number, color in enumerate(NAMES):
        other = NAMES[(number + 1) % 6]
        for name, shown in ((f"t{number}", color), (f"r{number}", color), (f"w{number}", other)):
            (images / f"{name}.png").write_bytes(png(shown))
        common = {
            "cate_lv1_name": "Apparel",
            "cate_name": "Shirts",
            "trigger_id": f"t{number}",
            "tirgger_title": f"{color} shirt",
            "trigger_img": f"https://img.example.com/a/t{number}.png?x=1",
        }
        rows.append(
            common
            | {
                "recall_id": f"r{number}",
                "recall_title": f"{color} striped shirt",
                "recall_img": f"https://img.example.com/b/r{number}.png",
                "label": 1,
            }
        )
        rows.append(
            common
            | {
                "recall_id": f"w{number}",
                "recall_title": "shirt",
                "recall_img": f"https://img.example.com/b/w{number}.png",
                "label": 0,
            }
        )
    return write_json(root / "esspr_data4eval_public.json", rows), images


def gcl(root: Path) -> tuple[Path, Path]:
    """Write (table, pictures): two queries with scored products; one product has no picture."""
    images = root / "pictures"
    images.mkdir(parents=True, exist_ok=True)
    rows = []
    for number, color in enumerate(NAMES):
        (images / f"{number}.png").write_bytes(png(color))
        for query, score in (("red shirt", 60 - 10 * number), ("blue shirt", 50 - abs(number - 2) * 9)):
            rows.append([query, number, f"{color} shirt", f"{number}.png" if number else "", score])
    path = root / "query_0_product_id_0.csv"
    with path.open("w", newline="") as handle:
        writer = csv.writer(handle)
        writer.writerow(["query", "product_id", "title", "image_local", "score_linear"])
        writer.writerows(rows)
    return path, images


def fashioniq(root: Path) -> Path:
    """Write two categories of four queries: this one, but in another color."""
    for category in ("dress", "shirt"):
        names = [f"{category}-{color}" for color in NAMES]
        for name, color in zip(names, NAMES, strict=True):
            path = root / "images" / f"{name}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(png(color))
        write_json(root / "image_splits" / f"split.{category}.val.json", names)
        write_json(
            root / "captions" / f"cap.{category}.val.json",
            [
                {"candidate": names[i], "target": names[i + 1], "captions": [f"is {NAMES[i + 1]}.", "nice? "]}
                for i in range(4)
            ],
        )
    return root


def cirr(root: Path) -> Path:
    """Write six pictures in one set, and three queries."""
    places = {}
    for number, color in enumerate(NAMES):
        path = root / "dev" / f"dev-{number}-img0.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(png(color))
        places[f"dev-{number}"] = f"./dev/{path.name}"
    write_json(root / "cirr" / "image_splits" / "split.rc2.val.json", places)
    write_json(
        root / "cirr" / "captions" / "cap.rc2.val.json",
        [
            {
                "pairid": i,
                "reference": f"dev-{i}",
                "target_hard": f"dev-{i + 1}",
                "target_soft": {},
                "caption": f"make it {NAMES[i + 1]}",
                "img_set": {"id": 1, "members": list(places)},
            }
            for i in range(3)
        ],
    )
    return root


def genecis(root: Path) -> Path:
    """Write one task of boxes and one of whole pictures."""
    whole = Image.new("RGB", (90, 40))
    for place, color in enumerate(("red", "green", "blue")):
        whole.paste(COLORS[color], (30 * place, 0, 30 * place + 30, 40))
    (root / "images").mkdir(parents=True, exist_ok=True)
    whole.save(root / "images" / "7.png")
    for number, color in enumerate(NAMES):
        (root / "images" / f"{number:012d}.png").write_bytes(png(color))

    def box(left: int) -> dict:
        return {"image_id": 7, "instance_bbox": [left, 0, 8, 30]}

    row = {"reference": box(4), "target": box(36), "gallery": [box(4), box(66)], "condition": "green"}
    write_json(root / "change_attribute.json", [row])
    row = {
        "reference": {"val_image_id": 0},
        "target": {"val_image_id": 3},
        "gallery": [{"val_image_id": 1}, {"val_image_id": 2}],
        "condition": "white",
    }
    write_json(root / "focus_object.json", [row])
    return root


def catalog(root: Path):
    """Return a catalogue of 24 products: two kinds, six colors, two of each; the last has no picture."""
    from verticlip.domains.ecommerce.catalog.catalog import Catalog

    rows = []
    for number in range(24):
        color, kind = NAMES[number % 6], ("shirt", "dress")[number // 6 % 2]
        path = root / "img" / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(png(color, side=70))
        rows.append({"id": f"p{number:02d}", "title": f"{color} {kind}", "category": kind, "color": color})
        if number < 23:
            rows[-1]["image"] = f"img/{number}.png"
    table = root / "items.jsonl"
    table.write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = Catalog.create(root / "catalog", model=ColorEncoder())
    found.ingest(table, image_root=root)
    return found
