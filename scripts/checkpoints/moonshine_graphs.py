"""The two ONNX graphs of a tiny Moonshine: see moonshine.py."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper
from onnx_graph import Graph, branch, tensor

HEADS = 8
VOCABULARY = 32768
START, END = 1, 2
FRAME = 384  # samples; the real encoder has as many for each frame
BANDS_HZ = np.geomspace(120.0, 6000.0, 32)
SAMPLE_RATE_HZ = 16_000
SOUND = 5.0  # frames whose log power is less than this below the loudest count

Array = npt.NDArray[np.float32]


def features(audio: Array) -> Array:
    """What the two graphs make of a recording before they compare it."""
    frames = _frames(audio)
    power = np.square(frames @ _filters()).reshape(len(frames), 2, -1).sum(axis=1)
    bands = np.log(power + 1e-6)
    loudness = bands.mean(axis=1)
    sound = bands[loudness > loudness.max() - SOUND]
    mean = sound.mean(axis=0)
    return np.concatenate([mean - mean.mean(), sound.std(axis=0)]).astype(np.float32)


def encoder(width: int) -> onnx.ModelProto:
    """Audio → the log power of each frame in each band; the rest of the width is zero."""
    graph = Graph()
    kernel = graph.constant(_filters().T[:, None, :], np.float32)
    audio = graph.add("Unsqueeze", "input_values", graph.constant([1]))
    samples = graph.size("input_values", 1)
    frame = graph.constant([FRAME])
    missing = graph.add("Mod", graph.add("Sub", frame, graph.add("Mod", samples, frame)), frame)
    pads = graph.add("Concat", graph.constant([0] * 5), missing, axis=0)
    audio = graph.add("Pad", audio, pads)
    waves = graph.add("Conv", audio, kernel, strides=[FRAME], kernel_shape=[FRAME])
    squares = graph.add("Mul", waves, waves)
    split = [len(BANDS_HZ), len(BANDS_HZ)]
    graph.nodes.append(
        helper.make_node("Split", [squares, graph.constant(split)], ["cos", "sin"], axis=1)
    )
    power = graph.add("Add", graph.add("Add", "cos", "sin"), graph.constant(1e-6, np.float32))
    bands = graph.add("Transpose", graph.add("Log", power), perm=[0, 2, 1])
    rest = graph.constant([0, 0, 0, 0, 0, width - len(BANDS_HZ)])
    graph.add("Pad", bands, rest, named="last_hidden_state")
    return graph.model(
        "encoder",
        [tensor("input_values", ["batch_size", "num_samples"])],
        [tensor("last_hidden_state", ["batch_size", "num_frames", width])],
    )


def decoder(
    layers: int, head_width: int, seen: Array, tokens: Sequence[Sequence[int]]
) -> onnx.ModelProto:
    """Frames and the token before → the next token of the recording that they are nearest to.

    seen: features of the recordings, several of each; tokens: what is said of each.
    """
    graph = Graph()
    which = _nearest(graph, seen, tokens)
    cached = graph.add("Cast", "use_cache_branch", to=TensorProto.INT64)
    length = graph.size("past_key_values.0.decoder.key", 2)
    longest = max(map(len, tokens)) + 1
    said = np.full((len(tokens) + 1, longest), END)  # the last row: near none of them
    for row, one in enumerate(tokens):
        said[row, : len(one)] = one
    before = np.insert(said[:, :-1], 0, START, axis=1)
    step = graph.add("Min", graph.add("Mul", cached, length), graph.constant([longest - 1]))
    place = graph.add("Unsqueeze", graph.add("Concat", which, step, axis=0), graph.constant([0]))
    # a token that does not follow what it said before ends the sentence
    given = graph.add("Gather", "input_ids", graph.constant(-1), axis=1)
    right = graph.add("Equal", given, graph.add("GatherND", graph.constant(before), place))
    follows = graph.add("GatherND", graph.constant(said), place)
    token = graph.add("Where", right, follows, graph.constant([END]))
    scores = graph.add(
        "OneHot",
        graph.add("Unsqueeze", token, graph.constant([0])),
        graph.constant(VOCABULARY),
        graph.constant([0.0, 10.0], np.float32),
    )
    graph.add("Identity", scores, named="logits")
    names = [
        f"{layer}.{side}.{part}"
        for layer in range(layers)
        for side in ("decoder", "encoder")
        for part in ("key", "value")
    ]
    _cache(graph, names, head_width)
    inputs = [
        helper.make_tensor_value_info("input_ids", TensorProto.INT64, ["batch_size", "length"]),
        tensor("encoder_hidden_states", ["batch_size", "num_frames", HEADS * head_width]),
        *_cache_tensors("past", "past_key_values", names, head_width),
        helper.make_tensor_value_info("use_cache_branch", TensorProto.BOOL, [1]),
    ]
    outputs = [
        tensor("logits", ["batch_size", "length", VOCABULARY]),
        *_cache_tensors("present", "present", names, head_width),
    ]
    return graph.model("decoder", inputs, outputs)


def _nearest(graph: Graph, seen: Array, tokens: Sequence[Sequence[int]]) -> str:
    """The number of the recording that the frames are nearest to, or how many there are."""

    def number(value: float) -> str:
        return graph.constant(value, np.float32)

    bands = graph.add(
        "Slice", "encoder_hidden_states",
        *(graph.constant([one]) for one in (0, len(BANDS_HZ), 2)),
    )  # fmt: skip
    loudness = graph.add("ReduceMean", bands, axes=[2])
    loudest = graph.add("ReduceMax", loudness, axes=[1])
    quiet = graph.add("Sub", loudest, number(SOUND))
    weight = graph.add("Cast", graph.add("Greater", loudness, quiet), to=TensorProto.FLOAT)
    count = graph.add("ReduceSum", weight, graph.constant([1]))

    def mean_of(values: str) -> str:
        total = graph.add("ReduceSum", graph.add("Mul", values, weight), graph.constant([1]))
        return graph.add("Div", total, count)

    mean = mean_of(bands)
    off = graph.add("Sub", bands, mean)
    deviation = graph.add("Sqrt", mean_of(graph.add("Mul", off, off)))
    level = graph.add("ReduceMean", mean, axes=[2])
    found = graph.add("Concat", graph.add("Sub", mean, level), deviation, axis=2)
    apart = graph.add("Sub", found, graph.constant(seen[None], np.float32))
    squares, axes = graph.add("Mul", apart, apart), graph.constant([0, 2])
    distances = graph.add("ReduceSum", squares, axes, keepdims=0)
    pairs = np.square(seen[:, None] - seen[None]).sum(axis=2)
    # as near as the two most alike recordings are to one another, or none of them
    others = np.array([[one != other for other in tokens] for one in tokens])
    limits = graph.constant([pairs[others].min()], np.float32)
    return graph.add("ArgMin", graph.add("Concat", distances, limits, axis=0), axis=0, keepdims=1)


def _cache(graph: Graph, names: Sequence[str], head_width: int) -> None:
    """Keys and values of the right shapes, a step longer each time; they hold nothing."""
    one, heads, width = graph.constant([1]), graph.constant([HEADS]), graph.constant([head_width])
    fresh = {
        "decoder": graph.zeros(one, heads, one, width),
        "encoder": graph.zeros(one, heads, graph.size("encoder_hidden_states", 1), width),
    }
    again, first = [], []
    for name in names:
        side = name.split(".")[1]
        past, new = f"past_key_values.{name}", fresh[side]
        longer = helper.make_node("Concat", [past, new], [f"again.{name}"], axis=2)
        same = helper.make_node("Identity", [past], [f"again.{name}"])
        again.append(longer if side == "decoder" else same)
        first.append(helper.make_node("Identity", [new], [f"first.{name}"]))
    graph.nodes.append(
        helper.make_node(
            "If",
            ["use_cache_branch"],
            [f"present.{name}" for name in names],
            then_branch=branch("again", again),
            else_branch=branch("first", first),
        )
    )


def _cache_tensors(
    when: str, prefix: str, names: Sequence[str], head_width: int
) -> list[onnx.ValueInfoProto]:
    lengths = [f"{when}_{name.split('.')[1]}_length" for name in names]
    return [
        tensor(f"{prefix}.{name}", ["batch_size", HEADS, length, head_width])
        for name, length in zip(names, lengths, strict=True)
    ]


def _frames(audio: Array) -> Array:
    padded = np.pad(audio, (0, -len(audio) % FRAME))
    return padded.reshape(-1, FRAME)


def _filters() -> Array:
    """Cosines, then sines of each band."""
    angles = 2 * np.pi * np.arange(FRAME)[:, None] * BANDS_HZ / SAMPLE_RATE_HZ
    window = np.hanning(FRAME)[:, None]
    return np.concatenate([np.cos(angles) * window, np.sin(angles) * window], axis=1).astype(
        np.float32
    )
