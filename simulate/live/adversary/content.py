"""Families whose HTTP is right and whose content is not: bodies, JSON, shapes, datatypes and values."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from windtunnel.serving.protocol import HEADER_LENGTH, write_request
from windtunnel.serving.tensor_data import DATATYPES, NAMES

from .conversation import MALFORMED, Conversation
from .family import Family, choose
from .sense import sense

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from .conversation import Material, Meaning

    Chance = np.random.Generator
    Json = dict[str, Any]

DEEP = (50, 1_000, 100_000)
"""How deep a nest of JSON is."""

BIG_TEXT = 1 << 20
"""How long an overlong name is."""


def _mutate(how: Callable[[bytes, Chance], bytes], name: str) -> Callable[[Material, Chance], Conversation]:
    """A kind that changes the bytes of an honest body; the length that HTTP tells is the changed body's."""

    def make(material: Material, chance: Chance) -> Conversation:
        body, headers = write_request(material.row(chance), binary=material.binary(chance))
        changed = how(body, chance)
        length = int(headers[HEADER_LENGTH]) if HEADER_LENGTH in headers else None
        within = length is None or length <= len(changed)
        meant = sense(changed, length, material.target.signature) if within else MALFORMED
        return Conversation(name, (material.post(changed, headers),), (_tame(meant),))

    return make


def _tame(meant: Meaning) -> Meaning:
    """None where numbers are so large that the order in which a model adds their products decides what is finite."""
    if not isinstance(meant, Mapping):
        return meant
    floats = [array[np.isfinite(array)] for array in meant.values() if array.dtype.kind == "f"]
    wild = any((np.abs(each) > np.sqrt(np.finfo(each.dtype).max)).any() for each in floats)
    return None if wild else meant


def _truncated(body: bytes, chance: Chance) -> bytes:
    return body[: int(chance.integers(len(body)))]


def _flipped(body: bytes, chance: Chance) -> bytes:
    changed = bytearray(body)
    for at in chance.integers(len(body), size=int(choose(chance, (1, 2, 8)))):
        changed[at] ^= 1 << int(chance.integers(8))
    return bytes(changed)


def _overwritten(body: bytes, chance: Chance) -> bytes:
    at, noise = int(chance.integers(len(body))), chance.bytes(int(chance.integers(1, 33)))
    return body[:at] + noise + body[at + len(noise) :]


def _without(body: bytes, chance: Chance) -> bytes:
    start, end = sorted(chance.integers(len(body) + 1, size=2).tolist())
    return body[:start] + body[end:]


def _repeated(body: bytes, chance: Chance) -> bytes:
    start, end = sorted(chance.integers(len(body) + 1, size=2).tolist())
    return body[:end] + body[start:]


def _noise(body: bytes, chance: Chance) -> bytes:
    return chance.bytes(max(1, len(body)))


class Bodies(Family):
    """Honest bodies with their bytes changed."""

    name = "fuzzed bodies"
    kinds = (
        _mutate(_truncated, "cut off"), _mutate(_flipped, "bits flipped"), _mutate(_overwritten, "bytes overwritten"),
        _mutate(_without, "a part taken out"), _mutate(_repeated, "a part twice"), _mutate(_noise, "noise"),
    )  # fmt: skip


def _edit(
    how: Callable[[Json, Chance], Any], name: str, *, meant: Callable[[Any], Meaning] | None = None
) -> Callable[[Material, Chance], Conversation]:
    """A kind that changes what an honest request says in JSON."""

    def make(material: Material, chance: Chance) -> Conversation:
        feeds = material.row(chance)
        told = json.loads(write_request(feeds, binary=False)[0])
        changed = how(told, chance)
        body = changed if isinstance(changed, bytes) else json.dumps(changed).encode()
        return Conversation(name, (material.post(body),), (MALFORMED if meant is None else meant(feeds),))

    return make


def _same(feeds: Any) -> Any:
    return feeds


def _unknown(_feeds: Any) -> None:
    return None


def _unless_single(feeds: Any) -> Meaning:
    """A nest around one number may be that number to some."""
    return None if next(iter(feeds.values())).size == 1 else MALFORMED


def _of_no_kind(chance: Chance) -> Any:
    """A value that nothing in a request may have."""
    return choose(chance, (None, True, 7.5, "x", [[]], {"a": {}}, -1, [None]))


def _field(told: Json, chance: Chance) -> Json:
    told["inputs"][0][choose(chance, ("name", "shape", "datatype", "data"))] = choose(
        chance, (None, 7.5, {"a": {}}, [[[]]])
    )
    return told


def _missing(told: Json, chance: Chance) -> Json:
    del told["inputs"][0][choose(chance, ("name", "shape", "datatype", "data"))]
    return told


def _inputs(told: Json, chance: Chance) -> Json:
    return told | {"inputs": choose(chance, (None, {}, [], "x", 7, [None], [[]], told["inputs"][0]))}


def _side(told: Json, chance: Chance) -> Json:
    return told | {choose(chance, ("id", "parameters", "outputs")): _of_no_kind(chance)}


def _whole_other(_told: Json, chance: Chance) -> Any:
    return choose(
        chance,
        (None, [], 7, "x", {}, True, b"", b" ", b"\xef\xbb\xbf{}", '{"inputs":[]}'.encode("utf-16"), b"{'inputs':[]}"),
    )


def _deep(told: Json, chance: Chance) -> bytes:
    depth = int(choose(chance, DEEP))
    told["inputs"][0]["data"] = "DEEP"
    inside, outside = choose(chance, (("[", "]"), ('{"a":', "}"), ("[", "")))
    return json.dumps(told).replace('"DEEP"', inside * depth + "1" + outside * depth).encode()


def _number(among: tuple[str, ...]) -> Callable[[Json, Chance], bytes]:
    def put(told: Json, chance: Chance) -> bytes:
        data = told["inputs"][0]["data"]
        data[int(chance.integers(len(data)))] = "NUMBER"
        number: str = choose(chance, among)
        return json.dumps(told).replace('"NUMBER"', number).encode()

    return put


LARGE = ("1e400", "-1e400", "9" * 400, "9" * 20_000, "1e-400", "18446744073709551616")
"""Numbers of JSON (RFC 8259, section 6) that no dtype holds."""

ILL = ("1.5e", "0x10", "01", "--1", "+1", ".5", "1_0")
"""What looks like a number, and is none in JSON."""


def _twice(told: Json, chance: Chance) -> bytes:
    """A key twice, with other values."""
    text = json.dumps(told)
    if chance.random() < 0.5:
        return (text[:-1] + ', "inputs": []}').encode()
    return text.replace('"shape":', '"shape": [0], "shape":', 1).encode()


def _ill_text(told: Json, chance: Chance) -> bytes:
    named = json.dumps(told["inputs"][0]["name"])
    ill = choose(
        chance, (b'"\xff\xfe"', b'"\\ud800"', b'"a\x00b"', b'"\\x41"', b'"unended', b'"' + b"n" * BIG_TEXT + b'"')
    )
    return json.dumps(told).encode().replace(named.encode(), ill, 1)


def _trailing(told: Json, chance: Chance) -> bytes:
    behind: bytes = choose(chance, (b"x", b"{}", b"\0", b",", b"]"))
    return json.dumps(told).encode() + behind


def _input_twice(told: Json, _chance: Chance) -> Json:
    return told | {"inputs": [*told["inputs"], told["inputs"][0]]}


def _unknown_input(told: Json, _chance: Chance) -> Json:
    return told | {"inputs": [*told["inputs"], told["inputs"][0] | {"name": "no-such-input"}]}


def _shared_memory(told: Json, _chance: Chance) -> Json:
    told["inputs"][0]["parameters"] = {"shared_memory_region": "/etc", "shared_memory_byte_size": 16}
    del told["inputs"][0]["data"]
    return told


class Documents(Family):
    """JSON that is none, or says what cannot be."""

    name = "json"
    kinds = (
        _edit(_deep, "nested deep", meant=_unless_single), _edit(_number(LARGE), "numbers beyond all", meant=_unknown),
        _edit(_number(ILL), "numbers that are none"), _edit(_twice, "a key twice", meant=_same),  # either value may count, and the other is void
        _edit(_field, "a field of another kind"), _edit(_missing, "a field missing"), _edit(_inputs, "no inputs"),
        _edit(_side, "id, parameters or outputs of another kind", meant=_same), _edit(_whole_other, "another document"),
        _edit(_ill_text, "text that is none"), _edit(_trailing, "something behind it"), _edit(_input_twice, "an input twice", meant=_same),
        _edit(_unknown_input, "more inputs than there are"),
        _edit(_shared_memory, "shared memory"),
    )  # fmt: skip


def _shape(how: Callable[[list[int], Chance], Any], name: str) -> Callable[[Material, Chance], Conversation]:
    """A kind that lies about a tensor's shape, in JSON or before raw bytes."""

    def make(material: Material, chance: Chance) -> Conversation:
        body, headers = write_request(material.row(chance), binary=material.binary(chance))
        length = int(headers.get(HEADER_LENGTH, len(body)))
        told = json.loads(body[:length])
        first = told["inputs"][0]
        first["shape"] = how(list(first["shape"]), chance)
        if name == "empty" and "data" in first:
            first["data"] = []
        head = json.dumps(told).encode()
        binary = HEADER_LENGTH in headers
        lengths = {HEADER_LENGTH: str(len(head))} if binary else {}
        # no rows at all may be answered with none
        meant = (
            sense(head + body[length:], len(head) if binary else None, material.target.signature)
            if name == "empty"
            else MALFORMED
        )
        return Conversation(name, (material.post(head + body[length:], dict(headers) | lengths),), (meant,))

    return make


def _overflowing(shape: list[int], chance: Chance) -> list[int]:
    """Axes whose product is beyond 64 bits, or just zero in them."""
    big = choose(chance, (2**31, 2**32, 2**61, 2**62, 2**63, 2**64, 10**30))
    return [big] * max(2, len(shape)) if chance.random() < 0.5 else [big, *shape[1:]]


def _negative(shape: list[int], chance: Chance) -> list[int]:
    changed = list(shape)
    changed[int(chance.integers(len(shape)))] = int(choose(chance, (-1, -2, -(2**31), -(2**63))))
    return changed if chance.random() < 0.5 else [-each for each in shape]


def _mismatched(shape: list[int], chance: Chance) -> list[int]:
    at = int(chance.integers(len(shape)))
    return [each + (1 if index == at else 0) for index, each in enumerate(shape)]


def _ranked(shape: list[int], chance: Chance) -> list[Any]:
    return choose(chance, ([*shape, 2], [], [1] * 200, [shape], shape + shape[-1:] * 40))  # type: ignore[no-any-return]


class Shapes(Family):
    """Tensors whose shape cannot be, or is not theirs."""

    name = "shapes"
    kinds = (
        _shape(_overflowing, "a product beyond 64 bits"), _shape(_negative, "negative"),
        _shape(lambda shape, _: [0, *shape[1:]], "empty"), _shape(_mismatched, "not what is there"), _shape(_ranked, "another rank"),
        _shape(lambda shape, chance: [choose(chance, (str(each), None, each + 0.5, [each])) for each in shape], "no whole numbers"),
        _shape(lambda _, chance: choose(chance, (None, "2", 4, {}, True)), "no list"),
    )  # fmt: skip


def _other_type(material: Material, chance: Chance) -> Conversation:
    """An honest tensor under another datatype's name."""
    body, headers = write_request(material.row(chance), binary=material.binary(chance))
    length = int(headers.get(HEADER_LENGTH, len(body)))
    told = json.loads(body[:length])
    own = told["inputs"][0]["datatype"]
    others = [name for name in DATATYPES if name != own]
    told["inputs"][0]["datatype"] = choose(chance, [*others, own.lower(), "FP8", "", None, 32, [own], "n" * BIG_TEXT])
    head = json.dumps(told).encode()
    lengths = {HEADER_LENGTH: str(len(head))} if HEADER_LENGTH in headers else {}
    return Conversation("another datatype", (material.post(head + body[length:], dict(headers) | lengths),))


def _converted(material: Material, chance: Chance) -> Conversation:
    """A whole tensor of another dtype: data, datatype and size are of one mind, and not of the model's."""
    feeds = dict(material.row(chance))
    name = choose(chance, list(feeds))
    own = "object" if feeds[name].dtype.kind in "OSU" else str(feeds[name].dtype)
    other = choose(chance, [each for each in NAMES if each not in (own, "object")])
    feeds[name] = np.zeros(feeds[name].shape, other)
    body, headers = write_request(feeds, binary=material.binary(chance))
    return Conversation("converted to another dtype", (material.post(body, headers),))


def _strings(material: Material, chance: Chance) -> Conversation:
    """Text where numbers belong, or text whose length reaches beyond the body."""
    feeds = dict(material.row(chance))
    name = choose(chance, list(feeds))
    shape = feeds[name].shape
    raw = b"\xff\xff\xff\xff" * int(np.prod(shape))
    head = {"name": name, "datatype": "BYTES", "shape": list(shape), "parameters": {"binary_data_size": len(raw)}}
    text = json.dumps({"inputs": [head]}).encode()
    headers = {"Content-Type": "application/octet-stream", HEADER_LENGTH: str(len(text))}
    return Conversation("texts longer than the body", (material.post(text + raw, headers),))


def _sized(material: Material, chance: Chance) -> Conversation:
    """A length of raw bytes that is not theirs."""
    body, headers = write_request(material.row(chance), binary=True)
    length = int(headers[HEADER_LENGTH])
    told = json.loads(body[:length])
    parameters = told["inputs"][0]["parameters"]
    size = parameters["binary_data_size"]
    parameters["binary_data_size"] = choose(
        chance, (size - 1, size + 1, 0, -size, 2**31, 2**63, 10**40, size + 0.5, str(size), None, [size], True)
    )
    head = json.dumps(told).encode()
    return Conversation(
        "another size of raw bytes", (material.post(head + body[length:], headers | {HEADER_LENGTH: str(len(head))}),)
    )


def _both(material: Material, chance: Chance) -> Conversation:
    """A tensor that is said twice, in JSON and in raw bytes."""
    feeds = material.row(chance)
    body, headers = write_request(feeds, binary=True)
    length = int(headers[HEADER_LENGTH])
    told = json.loads(body[:length])
    told["inputs"][0]["data"] = json.loads(write_request(feeds, binary=False)[0])["inputs"][0]["data"]
    head = json.dumps(told).encode()
    message = material.post(head + body[length:], headers | {HEADER_LENGTH: str(len(head))})
    return Conversation("data and raw bytes", (message,), (feeds,))


class Datatypes(Family):
    """Tensors of other datatypes than the model's, and lengths that are not theirs."""

    name = "datatypes"
    kinds = (_other_type, _converted, _strings, _sized, _both)


def _values(
    kind: str, among: Callable[[np.dtype[Any]], list[Any]], name: str, *, must: bool = False, compared: bool = True
) -> Callable[[Material, Chance], Conversation]:
    """A kind that puts values into a tensor of numbers that are few in honest ones."""

    def make(material: Material, chance: Chance) -> Conversation:
        feeds = dict(material.row(chance))
        fitting = [key for key, array in feeds.items() if array.dtype.kind in kind]
        for key in fitting:
            feeds[key] = _sprinkled(feeds[key], among(feeds[key].dtype), chance)
        # what JSON has no word for goes as raw bytes where it can
        body, headers = write_request(feeds, binary=material.target.binary)
        return Conversation(name, (material.post(body, headers),), (feeds if compared else None,), must=must)

    return make


def _sprinkled(array: NDArray[Any], values: list[Any], chance: Chance) -> NDArray[Any]:
    changed = array.copy().reshape(-1)
    share = choose(chance, (0.05, 0.5, 1.0))
    at = chance.random(changed.size) < share
    at[int(chance.integers(changed.size))] = True
    changed[at] = chance.choice(np.array(values, array.dtype), int(at.sum()))
    return changed.reshape(array.shape)


def _tiny(dtype: np.dtype[Any]) -> list[Any]:
    least = np.finfo(dtype).smallest_subnormal
    return [least, -least, least * 7, np.finfo(dtype).tiny / 2, -0.0]


def _huge(dtype: np.dtype[Any]) -> list[Any]:
    return [np.finfo(dtype).max, np.finfo(dtype).min]


def _ends(dtype: np.dtype[Any]) -> list[Any]:
    if dtype.kind == "b":
        return [False, True]
    return [np.iinfo(dtype).max, np.iinfo(dtype).min, 0]


class Values(Family):
    """Numbers that are none, or are at the ends of what there is; well-formed, so that what is answered must be right."""

    name = "values"
    kinds = (
        _values("f", lambda _: [np.nan], "NaN"), _values("f", lambda _: [np.inf, -np.inf], "infinite"),
        _values("f", _tiny, "denormal", must=True), _values("f", _huge, "the largest", compared=False), _values("iub", _ends, "the ends of whole numbers"),
    )  # fmt: skip
