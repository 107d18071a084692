"""Families that are wrong in how they speak HTTP: lengths, places, bombs, connections that trickle, break off, or do nothing."""

from __future__ import annotations

import functools
import gzip
import zlib
from typing import TYPE_CHECKING

from windtunnel.serving.protocol import HEADER_LENGTH, write_request

from .conversation import MALFORMED, Conversation, Pause, Turn
from .family import Family, choose

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np

    from .conversation import Material, Step

    Chance = np.random.Generator
    Kind = Callable[[Material, Chance], Conversation]

INFLATED_BYTES = 64 << 20
"""What a bomb becomes where somebody inflates it: a thousand times what is sent."""

FLOOD_BYTES = 4 << 20
"""What is sent of a body that is too long, at most."""

_FLOOD = b"10000\r\n" + b"[" * 65536 + b"\r\n"

DRIP_S = 0.5
"""Between two bytes of a connection that trickles."""

DRIPS = 240
"""Bytes that trickle, at most: two minutes."""

SMALL, LARGE = 200, 1 << 20
"""The bodies that are promised to come, and trickle: one that an ingress may hold back until it is whole, one that it may not."""


def _json(material: Material, chance: Chance) -> tuple[bytes, dict[str, str]]:
    return write_request(material.row(chance), binary=False)


def _header_length(material: Material, chance: Chance) -> Conversation:
    """The length of the JSON before raw bytes, wrong."""
    body, headers = write_request(material.row(chance), binary=True)
    length = int(headers[HEADER_LENGTH])
    wrong = choose(chance, (
        length - 2 if body[length - 2 : length - 1] != b" " else length // 2, 0, length // 2, len(body) + 1, len(body), -length, 10**30,
        f"0x{length:x}", f"+{length}", f"{length}.0", f"1e{length}", "", "abc", f"{length} {length}", "\xb2\xb2",
    ))  # fmt: skip
    return Conversation("length of the JSON", (material.post(body, headers | {HEADER_LENGTH: str(wrong)}),))


def _no_length(material: Material, chance: Chance) -> Conversation:
    body, headers = _json(material, chance)
    return Conversation("no Content-Length", (material.head(headers) + body,), linger_s=0.2)


def _wrong_length(material: Material, chance: Chance) -> Conversation:
    """A Content-Length that is no length, or two of them that differ."""
    body, headers = _json(material, chance)
    wrong = choose(chance, (-1, f"+{len(body)}", "abc", "", 10**20, 2**63, f"{len(body)}.0", f"0x{len(body):x}"))
    return Conversation("Content-Length that is none", (material.head(headers, length=wrong) + body,), linger_s=0.2)


def _two_lengths(material: Material, chance: Chance) -> Conversation:
    body, headers = _json(material, chance)
    pairs = [*headers.items(), ("Content-Length", str(len(body) // 2))]
    return Conversation("two lengths that differ", (material.head(pairs, length=len(body)) + body,), linger_s=0.2)


def _short_length(material: Material, chance: Chance) -> Conversation:
    """A Content-Length within the body, so that its rest looks like another request."""
    body, headers = _json(material, chance)
    return Conversation(
        "Content-Length too short", (material.head(headers, length=len(body) - 3) + body,), linger_s=0.2
    )


def _chunks(body: bytes, chance: Chance) -> bytes:
    sent, at = b"", 0
    while at < len(body):
        piece = body[at : at + int(chance.integers(1, 200))]
        sent += f"{len(piece):x}\r\n".encode() + piece + b"\r\n"
        at += len(piece)
    return sent + b"0\r\n\r\n"


def _chunked(material: Material, chance: Chance) -> Conversation:
    """Well-formed, in chunks: what is answered must be right."""
    feeds = material.row(chance)
    body, headers = write_request(feeds, binary=material.binary(chance))
    message = material.head(headers | {"Transfer-Encoding": "chunked"}) + _chunks(body, chance)
    return Conversation("in chunks", (message,), (feeds,))


def _bad_chunks(material: Material, chance: Chance) -> Conversation:
    body, headers = _json(material, chance)
    size = f"{len(body):x}".encode()
    ill = choose(chance, (
        b"zz\r\n" + body, b"-5\r\n" + body, b"ffffffffffffffff\r\n" + body, b"\r\n" + body, b"10000000000000000\r\n" + body,
        size + b"\r\n" + body + b"XX0\r\n\r\n", size + b"\0\r\n" + body + b"\r\n0\r\n\r\n",
    ))  # fmt: skip
    steps = (material.head(headers | {"Transfer-Encoding": "chunked"}) + ill, Turn.HALF_CLOSE)
    return Conversation("chunks that are none", steps)


def _smuggled(material: Material, chance: Chance) -> Conversation:
    """Two ways to tell the length, with a second request in the difference (RFC 9112, section 6.3): it must not be answered."""
    feeds, hidden = material.honest(chance)
    body, headers = write_request(feeds, binary=False)
    chunked = _chunks(body, chance)
    both = dict(headers) | {"Transfer-Encoding": "chunked"}
    if (
        chance.random() < 0.5
    ):  # who goes by the length takes the hidden one for a part of the body; who goes by chunks does not
        message = material.head(both, length=len(chunked) + len(hidden)) + chunked + hidden
        return Conversation("chunks and a length", (message, Pause(0.05), Turn.HALF_CLOSE), (feeds,), linger_s=0.2)
    coded = choose(chance, ("xchunked", "chunked, identity", "identity, chunked, identity", "\x0bchunked"))
    message = material.head(dict(headers) | {"Transfer-Encoding": coded}) + chunked
    return Conversation("a transfer coding that is none", (message, Turn.HALF_CLOSE), linger_s=0.2)


class Lengths(Family):
    """Requests that do not say, or do not know, how long they are."""

    name = "lengths"
    kinds = (_header_length, _no_length, _wrong_length, _two_lengths, _short_length, _chunked, _bad_chunks, _smuggled)


METHODS = ("GET", "PUT", "DELETE", "PATCH", "TRACE", "CONNECT", "FOO", "post", "M" * 300)

STEERING = (
    b"X-Request-Id", b"X-Request-Timeout-Seconds", b"X-Request-Disconnect-Disabled", b"serve_multiplexed_model_id", b"X-Session-Id",
    b"X-Key", b"X-Forwarded-For", b"Expect", b"TE", b"Connection", b"Accept", b"Accept-Encoding", b"Content-Type", b"Range", b"traceparent",
)  # fmt: skip
"""Headers that a server may read: of Ray Serve (`serve/_private/constants.py` of 2.60), of ours, of HTTP."""

ELSEWHERE = (
    "/v2/models/no-such-model/infer", "/v2/models//infer", "/v2/models/%00/infer", "/v2/models/..%2f..%2fetc%2fpasswd/infer",
    "/../../../../etc/passwd", "/v1/models/x:predict", "/%ff%fe", "/-/routes/../..", "/v2/models/" + "n" * 4000 + "/infer",
    "/v2/models/" + "n" * 60_000 + "/infer", "/;", "*", "infer", "/v2/models/{}/infer", "/v2/models/%F0%9F%92%A9/ready",
)  # fmt: skip


def _method(material: Material, chance: Chance) -> Conversation:
    body, headers = _json(material, chance)
    head = material.head(headers, length=len(body), method=choose(chance, METHODS))
    return Conversation("another method", (head + body,))


def _elsewhere(material: Material, chance: Chance) -> Conversation:
    body, headers = _json(material, chance)
    return Conversation(
        "another place", (material.head(headers, length=len(body), path=choose(chance, ELSEWHERE)) + body,)
    )


def _version(material: Material, chance: Chance) -> Conversation:
    body, headers = _json(material, chance)
    path = material.path.removesuffix("/infer") + f"/versions/{choose(chance, (99, -1, 'x', '1%2f..', 10**30))}/infer"
    return Conversation("another version", (material.head(headers, length=len(body), path=path) + body,))


def _http_version(material: Material, chance: Chance) -> Conversation:
    body, headers = _json(material, chance)
    spoken = choose(chance, ("HTTP/1.1 extra", "HTTQ/1.1", "HTTP/x", "SSH-2.0-x"))
    return Conversation("another HTTP", (material.head(headers, length=len(body), version=spoken) + body,), other=True)


def _no_http(_material: Material, chance: Chance) -> Conversation:
    tls = bytes.fromhex("160301020001000001fc0303")
    ill = choose(
        chance,
        (
            tls + chance.bytes(500),
            chance.bytes(300),
            b"\0" * 1000,
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            b"\r\n" * 500 + b"x\r\n\r\n",
        ),
    )
    return Conversation("no HTTP", (ill, Turn.HALF_CLOSE), other=True)


def _many_headers(material: Material, chance: Chance) -> Conversation:
    """So many or so long headers that no buffer holds them; whoever takes them must still be right."""
    feeds = material.row(chance)
    body, headers = write_request(feeds, binary=False)
    more = choose(
        chance, ({f"X-{at}": "v" for at in range(2000)}, {"X-Long": "v" * 100_000}, {"Cookie": "a=b; " * 5000})
    )
    return Conversation("headers without end", (material.post(body, headers | more),), (feeds,))


def _steering(material: Material, chance: Chance) -> Conversation:
    """Headers that steer servers and what stands before them, with values that are none."""
    feeds = material.row(chance)
    body, _ = write_request(feeds, binary=False)
    name = choose(chance, STEERING)
    value = choose(chance, (b"\xff\xfe", b"-1", b"abc", b"9" * 400, b"'\"\\", b"%00", b"{}", b"1e308", b"nan"))
    head = material.head({"Content-Type": "application/json"}, length=len(body))
    return Conversation("headers that steer", (head[:-2] + name + b": " + value + b"\r\n\r\n" + body,), (feeds,))


def _upgraded(material: Material, chance: Chance) -> Conversation:
    """A request to speak something else from now on."""
    other = choose(chance, (
        {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==", "Sec-WebSocket-Version": "13"},
        {"Connection": "Upgrade, HTTP2-Settings", "Upgrade": "h2c", "HTTP2-Settings": "AAMAAABkAARAAAAAAAIAAAAA"},
        {"Connection": "Upgrade", "Upgrade": "TLS/1.0"},
    ))  # fmt: skip
    head = material.head(other, method="GET")
    return Conversation("another protocol", (head, Pause(0.05), Turn.HALF_CLOSE), other=True)


def _ill_headers(material: Material, chance: Chance) -> Conversation:
    """Headers that should be refused; whoever takes them must still be right."""
    feeds = material.row(chance)
    body, _ = write_request(feeds, binary=False)
    ill = choose(
        chance, (b"X Y: 1\r\n", b"X: a\0b\r\n", b": v\r\n", b"X\r\n", b"\x80\xff: 1\r\n", b"Content-Length : 3\r\n")
    )
    head = material.head({"Content-Type": "application/json"}, length=len(body))
    return Conversation("headers that are none", (head[:-2] + ill + b"\r\n" + body,), (feeds,))


class Places(Family):
    """Methods, paths, versions and headers that are not there, or are none."""

    name = "unknown names, methods and paths"
    kinds = (_method, _elsewhere, _version, _http_version, _no_http, _many_headers, _ill_headers, _steering, _upgraded)


def _oversized(material: Material, chance: Chance) -> Conversation:
    """A length that nobody would hold, and the first part of it."""
    length = choose(chance, (10**10, 2**40, 2**62))
    head = material.head({"Content-Type": "application/json"}, length=length)
    return Conversation("a length beyond all", (head + b'{"inputs": [' + b" " * int(choose(chance, (0, 1000, 65536))),))


def _flood(material: Material, _chance: Chance) -> Conversation:
    """A body that goes on and on, in chunks, and breaks off."""
    pieces = [_FLOOD] * (FLOOD_BYTES // 65536)
    steps: tuple[Step, ...] = (material.head({"Transfer-Encoding": "chunked"}), *pieces, Turn.HALF_CLOSE)
    return Conversation("chunks without end", steps)


def _large(material: Material, chance: Chance) -> Conversation:
    """A long list where a short one belongs."""
    body, headers = _json(material, chance)
    filled = body.replace(b'"data":[', b'"data":[' + b"0," * int(choose(chance, (10_000, 300_000))), 1)
    return Conversation("more data than the shape holds", (material.post(filled, headers),))


class Oversized(Family):
    """Bodies that are too long, and say so or not."""

    name = "oversized"
    kinds = (_oversized, _large, _flood)


_gzip = functools.partial(gzip.compress, mtime=0)
"""Without the time of day, so that the same is sent again."""


@functools.cache
def _packed(byte: bytes, times: int) -> bytes:
    """So many times a thousandfold nothing."""
    inner = byte * INFLATED_BYTES if times == 1 else _packed(byte, times - 1)
    return _gzip(inner)


def _bomb(material: Material, chance: Chance) -> Conversation:
    """A small body that becomes large where somebody unpacks it."""
    body = _packed(choose(chance, (b" ", b"[")), int(choose(chance, (1, 2))))
    coding = choose(chance, ("gzip", "x-gzip", "GZIP", "gzip, gzip"))
    return Conversation(
        "a thousandfold", (material.post(body, {"Content-Type": "application/json", "Content-Encoding": coding}),)
    )


def _padded_bomb(material: Material, chance: Chance) -> Conversation:
    """An honest request, packed, and behind it nothing, a thousandfold."""
    feeds = material.row(chance)
    body, headers = write_request(feeds, binary=False)
    packed = _gzip(body) + _packed(b" ", 1)  # members follow one another (RFC 1952, section 2.2)
    return Conversation(
        "an honest request and a thousandfold",
        (material.post(packed, headers | {"Content-Encoding": "gzip"}),),
        (feeds,),
    )


def _packed_honest(material: Material, chance: Chance) -> Conversation:
    """An honest request, packed: refused, or answered as it means."""
    feeds = material.row(chance)
    body, headers = write_request(feeds, binary=material.binary(chance))
    name, pack = choose(chance, (("gzip", _gzip), ("deflate", zlib.compress)))
    return Conversation("packed", (material.post(pack(body), headers | {"Content-Encoding": name}),), (feeds,))


def _ill_packed(material: Material, chance: Chance) -> Conversation:
    body, headers = _json(material, chance)
    packed = _gzip(body)
    ill = choose(chance, (packed[:-9], packed[: len(packed) // 2], b"\x1f\x8b" + chance.bytes(200)))
    coding = choose(chance, ("gzip", "br", "zstd", "nonsense"))
    return Conversation("packed badly", (material.post(ill, headers | {"Content-Encoding": coding}),))


def _not_packed(material: Material, chance: Chance) -> Conversation:
    """An honest request that says that it is packed: a server need not heed that (RFC 9110, section 8.4), but must be right."""
    feeds = material.row(chance)
    body, headers = write_request(feeds, binary=False)
    coding = choose(chance, ("gzip", "br", "zstd", "nonsense"))
    return Conversation("not packed at all", (material.post(body, headers | {"Content-Encoding": coding}),), (feeds,))


class Bombs(Family):
    """Packed bodies: bombs, honest ones, and broken ones."""

    name = "decompression bombs"
    kinds = (_bomb, _padded_bomb, _packed_honest, _ill_packed, _not_packed)


def _heard_out(material: Material, chance: Chance) -> Conversation:
    """An honest request whose sender says that he sends no more, and listens."""
    feeds, message = material.honest(chance)
    return Conversation("whole, then half closed", (message, Turn.HALF_CLOSE), (feeds,))


def _half(material: Material, chance: Chance) -> Conversation:
    """A request that ends within."""
    _, message = material.honest(chance)
    return Conversation("half closed within", (message[: int(chance.integers(1, len(message)))], Turn.HALF_CLOSE))


class HalfClosed(Family):
    """Connections on which no more will come."""

    name = "half-closed"
    kinds = (_heard_out, _half)


def _torn(material: Material, chance: Chance) -> Conversation:
    _, message = material.honest(chance)
    return Conversation("reset within", (message[: int(chance.integers(1, len(message)))], Pause(0.01), Turn.RESET))


def _unheard(material: Material, chance: Chance) -> Conversation:
    """A whole request whose sender is gone before its answer."""
    feeds, message = material.honest(chance)
    last = choose(chance, (Turn.RESET, Turn.LEAVE))
    return Conversation(
        "gone before the answer", (message, Pause(float(choose(chance, (0.0, 0.002, 0.01)))), last), (feeds,)
    )


class Resets(Family):
    """Connections that break off."""

    name = "resets"
    kinds = (_torn, _unheard)


def _pipelined(material: Material, chance: Chance) -> Conversation:
    """Honest requests sent at once: each is answered, rightly, and in order."""
    asked = [material.honest(chance) for _ in range(int(chance.integers(2, 9)))]
    return Conversation(
        "honest ones", (b"".join(each for _, each in asked),), tuple(feeds for feeds, _ in asked), must=True
    )


def _mixed(material: Material, chance: Chance) -> Conversation:
    """An honest request, a bad one, and an honest one."""
    first, good = material.honest(chance)
    last, better = material.honest(chance)
    bad = choose(chance, (material.post(b"{"), material.head({}, method="DELETE"), material.post(b'{"inputs": 7}')))
    return Conversation("a bad one between two", (good + bad + better,), (first, MALFORMED, last))


class Pipelined(Family):
    """Several requests at once on one connection."""

    name = "pipelined"
    kinds = (_pipelined, _mixed)


def _dripping(start: bytes, drop: bytes) -> tuple[Step, ...]:
    pair: tuple[Step, ...] = (Pause(DRIP_S), drop)
    return (start, *(pair * DRIPS))


def _slow_head(material: Material, chance: Chance) -> Conversation:
    """A head that never ends."""
    head = material.head({"Content-Type": "application/json"})[:-2]
    drop = choose(chance, (b"X: y\r\n", b"a"))
    return Conversation(
        "a head byte by byte", _dripping(head[: int(chance.integers(1, len(head)))] if drop == b"a" else head, drop)
    )


def _slow_small(material: Material, _chance: Chance) -> Conversation:
    """A small body that never ends."""
    return Conversation("a small body byte by byte", _dripping(material.head({}, length=SMALL) + b'{"inputs": [', b" "))


def _slow_large(material: Material, _chance: Chance) -> Conversation:
    """A large body, of which so much comes at once that no ingress holds it back, and then a byte now and then."""
    start = material.head({}, length=LARGE) + b'{"inputs": [' + b" " * (LARGE // 8)
    return Conversation("a large body byte by byte", _dripping(start, b" "))


def _slow_chunks(material: Material, _chance: Chance) -> Conversation:
    start = material.head({"Transfer-Encoding": "chunked"}) + b"8000\r\n" + b" " * 0x8000 + b"\r\n"
    return Conversation("chunks byte by byte", _dripping(start, b"1\r\n \r\n"))


class Slow(Family):
    """Connections that trickle, so that they hold a place for as long as they are let (slowloris)."""

    name = "slowloris"
    pace = "slow"
    kinds = (_slow_large, _slow_head, _slow_chunks, _slow_small)


def _nothing(_material: Material, _chance: Chance) -> Conversation:
    return Conversation("nothing", (b"", Pause(3600.0)), (), held=True)


def _kept_alive(material: Material, chance: Chance) -> Conversation:
    feeds, message = material.honest(chance)
    return Conversation("an honest request, then nothing", (message, Pause(3600.0)), (feeds,), held=True)


class Idle(Family):
    """Connections on which nothing is said, or nothing more."""

    name = "idle connections"
    pace = "idle"
    kinds = (_nothing, _nothing, _nothing, _kept_alive)
