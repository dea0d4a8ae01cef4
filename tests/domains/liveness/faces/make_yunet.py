"""Writes two small networks with the inputs and outputs of YuNet that find squares of pure color.

They stand for the detector's file in tests: OpenCV's own ``FaceDetectorYN`` reads and runs them. A red square of 16
pixels is a face of 16 pixels (stride 8), a green one of 32 (stride 16), a blue one of 64 (stride 32), where the
square's center lies in the middle of a cell of the stride. Landmarks are the corners and the middle of the inner half.

    python make_yunet.py            # writes yunet_colors.onnx and yunet_colors_fixed.onnx beside this file
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

HERE = Path(__file__).parent
STRIDES = {8: "red", 16: "green", 32: "blue"}
SIDES = {"red": 16, "green": 32, "blue": 64}
COLORS = {"red": (255, 0, 0), "green": (0, 255, 0), "blue": (0, 0, 255)}


def draw(height: int, width: int, *squares: tuple[str, int, int]) -> np.ndarray:
    """Return uint8 [H, W, 3]: black with squares (color, column and row of the cell of its stride)."""
    picture = np.zeros((height, width, 3), np.uint8)
    for color, column, row in squares:
        side, stride = SIDES[color], SIDES[color] // 2
        x, y = column * stride - stride // 2, row * stride - stride // 2
        picture[max(0, y) : y + side, max(0, x) : x + side] = COLORS[color]
    return picture


def box_of(color: str, column: int, row: int) -> tuple[float, float, float, float]:
    """Return the half-open box that the networks give for a square of :func:`draw`."""
    side, stride = SIDES[color], SIDES[color] // 2
    x, y = column * stride - stride // 2, row * stride - stride // 2
    return float(x), float(y), float(x + side), float(y + side)


def landmarks_of(color: str, column: int, row: int) -> np.ndarray:
    """Return float32 [5, 2] that the networks give for a square of :func:`draw`."""
    stride = SIDES[color] // 2
    corners = np.array([[0, 0], [1, 0], [0.5, 0.5], [0, 1], [1, 1]], np.float32)
    return (corners + np.array([column, row], np.float32)) * stride


def network(size: int | None, *, leave_out: str = "") -> bytes:
    """Return an ONNX file; ``size`` fixes the input to a square, ``leave_out`` is an output it lacks."""
    from onnx import TensorProto, checker, helper, numpy_helper

    nodes, constants, outputs = [], [], []

    def constant(name: str, value: np.ndarray) -> str:
        constants.append(numpy_helper.from_array(value, name))
        return name

    for width in (1, 4, 10):
        constant(f"rows{width}", np.array([1, -1, width], np.int64))
    for place, stride in enumerate(STRIDES):
        nodes.append(
            helper.make_node(
                "AveragePool",
                ["input"],
                [f"mean{stride}"],
                kernel_shape=[stride, stride],
                strides=[stride, stride],
            )
        )
        # OpenCV gives blue, green, red from 0 to 255: the own color counts up, the others down.
        weight = np.full((1, 3, 1, 1), -0.2, np.float32)
        weight[0, 2 - place] = 0.2
        heads = {"cls": (weight, [-40.0]), "obj": (weight, [-40.0])}
        heads["bbox"] = (np.zeros((4, 3, 1, 1), np.float32), [0.5, 0.5, np.log(2), np.log(2)])
        heads["kps"] = (np.zeros((10, 3, 1, 1), np.float32), [0, 0, 1, 0, 0.5, 0.5, 0, 1, 1, 1])
        for head, (kernel, bias) in heads.items():
            if f"{head}_{stride}" == leave_out:
                continue
            name = f"{head}{stride}"
            given = [
                f"mean{stride}",
                constant(f"w{name}", kernel),
                constant(f"b{name}", np.array(bias, np.float32)),
            ]
            nodes.append(helper.make_node("Conv", given, [f"map{name}"], kernel_shape=[1, 1]))
            last = f"map{name}"
            if head in ("cls", "obj"):
                nodes.append(helper.make_node("Sigmoid", [last], [f"score{name}"]))
                last = f"score{name}"
            nodes.append(helper.make_node("Transpose", [last], [f"last{name}"], perm=[0, 2, 3, 1]))
            nodes.append(
                helper.make_node("Reshape", [f"last{name}", f"rows{len(bias)}"], [f"{head}_{stride}"])
            )
            rows = (size // stride) ** 2 if size else None
            outputs.append(
                helper.make_tensor_value_info(f"{head}_{stride}", TensorProto.FLOAT, [1, rows, len(bias)])
            )
    shape = [1, 3, size, size] if size else ["batch", 3, "height", "width"]
    image = helper.make_tensor_value_info("input", TensorProto.FLOAT, shape)
    model = helper.make_model(
        helper.make_graph(nodes, "squares", [image], outputs, constants),
        opset_imports=[helper.make_opsetid("", 11)],
        producer_name="verticlip tests",
    )
    model.ir_version = 6
    if not leave_out:
        checker.check_model(model)
    return model.SerializeToString()


if __name__ == "__main__":
    (HERE / "yunet_colors.onnx").write_bytes(network(None))
    (HERE / "yunet_colors_fixed.onnx").write_bytes(network(640))
