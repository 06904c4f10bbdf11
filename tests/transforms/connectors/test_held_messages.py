"""Messages in memory as blocks: whole, in order, and GKE's entries put together."""

from __future__ import annotations

import hashlib
import hmac
import json
from typing import TYPE_CHECKING

import pytest

from tests.audit.envelopes.test_gke import entry
from transforms.audit.block import BLOCK_SIZE, RawBlock, Split
from transforms.connectors.held_messages import hold, let_go, read_split

if TYPE_CHECKING:
    from collections.abc import Sequence

KEY = b"k" * 32


def blocks_of(messages: Sequence[tuple[int, bytes]], end: int) -> list[RawBlock]:
    path = hold(messages)
    try:
        return list(read_split(Split(0, "pubsub://projects/p/subscriptions/s", path, messages[0][0], end), KEY))
    finally:
        let_go(path)


def items(blocks: list[RawBlock]) -> list[tuple[int, bytes | None]]:
    return [(offset, raw) for block in blocks for offset, _, raw, _ in block.items or ()]


def part(index: int, uid: str = "u") -> bytes:
    return entry({"request": {"spec": {f"field{index}": index}}}, split={"uid": uid, "index": index, "totalSplits": 2})


def half(**operation: bool) -> bytes:
    return entry(operation={"id": "op", "producer": "k8s.io", **operation})


def test_messages_are_items_at_their_offsets_and_empty_ones_hold_nothing():
    blocks = blocks_of([(5, b"{}"), (6, b""), (9, b"[1]")], 12)
    assert items(blocks) == [(5, b"{}"), (9, b"[1]")]
    (account,) = (block.account for block in blocks)
    assert (account.start, account.end, account.size) == (5, 12, 5)
    lengths = [(2).to_bytes(8, "big"), (0).to_bytes(8, "big"), (3).to_bytes(8, "big")]
    assert account.mac == hmac.digest(KEY, lengths[0] + b"{}" + lengths[1] + lengths[2] + b"[1]", hashlib.sha256)


def test_many_messages_come_in_pieces_whose_sizes_add_up():
    messages = [(at, b"x" * (BLOCK_SIZE // 2)) for at in range(5)]
    blocks = blocks_of(messages, 5)
    assert items(blocks) == messages
    assert [block.account.size for block in blocks] == [BLOCK_SIZE, BLOCK_SIZE, BLOCK_SIZE // 2]
    assert [block.last for block in blocks] == [False, False, True]


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_the_parts_of_a_split_entry_are_one_item_at_the_first(order: tuple[int, int]):
    messages = [(1, part(order[0])), (2, b"{}"), (3, part(order[1]))]
    blocks = blocks_of(messages, 4)
    (first, whole), rest = items(blocks)
    assert rest == (2, b"{}")
    assert first == 1
    assert json.loads(whole or b"")["protoPayload"]["request"]["spec"] == {"field0": 0, "field1": 1}
    assert sum(block.account.size for block in blocks) == sum(len(value) for _, value in messages)


def test_a_part_without_the_other_is_an_item_of_its_own():
    blocks = blocks_of([(1, part(0)), (2, part(0, "v"))], 3)
    assert [at for at, _ in items(blocks)] == [1, 2]


def test_the_halves_of_an_operation_are_one_item():
    (item,) = items(blocks_of([(1, half(first=True)), (2, half(last=True))], 3))
    assert item[0] == 1
    operation = json.loads(item[1] or b"")["operation"]
    assert (operation["first"], operation["last"]) == (True, True)


def test_cri_fragments_of_different_containers_are_not_put_together():
    messages = [(1, b"2026-01-02T03:04:05.6Z stdout P {"), (2, b"2026-01-02T03:04:05.6Z stdout F }")]
    assert items(blocks_of(messages, 3)) == messages
