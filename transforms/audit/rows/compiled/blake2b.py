"""BLAKE2b with a digest of 16 bytes and no key, of bytes that lie in two arrays (RFC 7693): `hashlib.blake2b`, for compiled loops."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from transforms.audit.rows.compiled.eight_bytes import inner, load

DIGEST: Final = 16
_BLOCK: Final = 128
_IV = np.array(
    [
        0x6A09E667F3BCC908,
        0xBB67AE8584CAA73B,
        0x3C6EF372FE94F82B,
        0xA54FF53A5F1D36F1,
        0x510E527FADE682D1,
        0x9B05688C2B3E6C1F,
        0x1F83D9ABFB41BD6B,
        0x5BE0CD19137E2179,
    ],
    dtype=np.uint64,
)
_PARAMETERS: Final = np.uint64(0x01010000 ^ DIGEST)


@inner
def _turned(word: Any, by: int) -> Any:
    return word >> np.uint64(by) | word << np.uint64(64 - by)


@inner
def _mixed(a: Any, b: Any, c: Any, d: Any, x: Any, y: Any) -> Any:
    a = a + b + x
    d = _turned(d ^ a, 32)
    c = c + d
    b = _turned(b ^ c, 24)
    a = a + b + y
    d = _turned(d ^ a, 16)
    c = c + d
    b = _turned(b ^ c, 63)
    return a, b, c, d


@inner
def _round(v: Any, m: Any) -> Any:
    """One round: the words of the message in the order in which it takes them."""
    v0, v1, v2, v3, v4, v5, v6, v7, v8, v9, v10, v11, v12, v13, v14, v15 = v
    v0, v4, v8, v12 = _mixed(v0, v4, v8, v12, m[0], m[1])
    v1, v5, v9, v13 = _mixed(v1, v5, v9, v13, m[2], m[3])
    v2, v6, v10, v14 = _mixed(v2, v6, v10, v14, m[4], m[5])
    v3, v7, v11, v15 = _mixed(v3, v7, v11, v15, m[6], m[7])
    v0, v5, v10, v15 = _mixed(v0, v5, v10, v15, m[8], m[9])
    v1, v6, v11, v12 = _mixed(v1, v6, v11, v12, m[10], m[11])
    v2, v7, v8, v13 = _mixed(v2, v7, v8, v13, m[12], m[13])
    v3, v4, v9, v14 = _mixed(v3, v4, v9, v14, m[14], m[15])
    return v0, v1, v2, v3, v4, v5, v6, v7, v8, v9, v10, v11, v12, v13, v14, v15


@inner
def _compress(state: Any, words: Any, counted: int, last: bool) -> None:
    a, b, c, d, e, f, g, h = state[0], state[1], state[2], state[3], state[4], state[5], state[6], state[7]
    end = ~_IV[6] if last else _IV[6]
    v = (a, b, c, d, e, f, g, h, _IV[0], _IV[1], _IV[2], _IV[3], _IV[4] ^ np.uint64(counted), _IV[5], end, _IV[7])
    m0, m1, m2, m3, m4, m5, m6, m7, m8, m9, m10, m11, m12, m13, m14, m15 = words
    v = _round(v, (m0, m1, m2, m3, m4, m5, m6, m7, m8, m9, m10, m11, m12, m13, m14, m15))
    v = _round(v, (m14, m10, m4, m8, m9, m15, m13, m6, m1, m12, m0, m2, m11, m7, m5, m3))
    v = _round(v, (m11, m8, m12, m0, m5, m2, m15, m13, m10, m14, m3, m6, m7, m1, m9, m4))
    v = _round(v, (m7, m9, m3, m1, m13, m12, m11, m14, m2, m6, m5, m10, m4, m0, m15, m8))
    v = _round(v, (m9, m0, m5, m7, m2, m4, m10, m15, m14, m1, m11, m12, m6, m8, m3, m13))
    v = _round(v, (m2, m12, m6, m10, m0, m11, m8, m3, m4, m13, m7, m5, m15, m14, m1, m9))
    v = _round(v, (m12, m5, m1, m15, m14, m13, m4, m10, m0, m7, m6, m3, m9, m2, m8, m11))
    v = _round(v, (m13, m11, m7, m14, m12, m1, m3, m9, m5, m0, m15, m4, m8, m6, m2, m10))
    v = _round(v, (m6, m15, m14, m9, m11, m3, m0, m8, m12, m2, m13, m7, m1, m4, m10, m5))
    v = _round(v, (m10, m2, m8, m4, m7, m6, m1, m5, m15, m11, m9, m14, m3, m12, m13, m0))
    v = _round(v, (m0, m1, m2, m3, m4, m5, m6, m7, m8, m9, m10, m11, m12, m13, m14, m15))
    v = _round(v, (m14, m10, m4, m8, m9, m15, m13, m6, m1, m12, m0, m2, m11, m7, m5, m3))
    state[0] = a ^ v[0] ^ v[8]
    state[1] = b ^ v[1] ^ v[9]
    state[2] = c ^ v[2] ^ v[10]
    state[3] = d ^ v[3] ^ v[11]
    state[4] = e ^ v[4] ^ v[12]
    state[5] = f ^ v[5] ^ v[13]
    state[6] = g ^ v[6] ^ v[14]
    state[7] = h ^ v[7] ^ v[15]


@inner
def blake2b(prefix: Any, data: Any, start: int, end: int, state: Any, words: Any, out: Any, at: int) -> None:
    """Write the digest of `prefix` and `data[start:end]` to `out` at `at`; `state` (8) and `words` (16) are working memory."""
    for place in range(8):
        state[place] = _IV[place]
    state[0] ^= _PARAMETERS
    size = len(prefix)
    total = size + end - start
    done = 0
    while True:
        taken = min(_BLOCK, total - done)
        if done >= size and taken == _BLOCK:
            at_block = start + done - size
            block = (
                load(data, np.intp(at_block + 0)),
                load(data, np.intp(at_block + 8)),
                load(data, np.intp(at_block + 16)),
                load(data, np.intp(at_block + 24)),
                load(data, np.intp(at_block + 32)),
                load(data, np.intp(at_block + 40)),
                load(data, np.intp(at_block + 48)),
                load(data, np.intp(at_block + 56)),
                load(data, np.intp(at_block + 64)),
                load(data, np.intp(at_block + 72)),
                load(data, np.intp(at_block + 80)),
                load(data, np.intp(at_block + 88)),
                load(data, np.intp(at_block + 96)),
                load(data, np.intp(at_block + 104)),
                load(data, np.intp(at_block + 112)),
                load(data, np.intp(at_block + 120)),
            )
            done += _BLOCK
            _compress(state, block, done, done == total)
            if done == total:
                break
            continue
        for place in range(16):
            first = done + 8 * place
            if first >= size and first + 8 <= total:
                words[place] = load(data, np.intp(start + first - size))
                continue
            word = np.uint64(0)
            for byte in range(8):
                whole = first + byte
                if whole < size:
                    word |= np.uint64(prefix[whole]) << np.uint64(8 * byte)
                elif whole < total:
                    word |= np.uint64(data[start + whole - size]) << np.uint64(8 * byte)
            words[place] = word
        done += taken
        held = (
            words[0],
            words[1],
            words[2],
            words[3],
            words[4],
            words[5],
            words[6],
            words[7],
            words[8],
            words[9],
            words[10],
            words[11],
            words[12],
            words[13],
            words[14],
            words[15],
        )
        _compress(state, held, done, done == total)
        if done == total:
            break
    for place in range(DIGEST):
        out[at + place] = np.uint8(state[place // 8] >> np.uint64(8 * (place % 8)))
