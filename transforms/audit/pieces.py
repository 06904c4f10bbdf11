"""Cut a record that cannot be read whole into what stands before, and after, the break."""

from __future__ import annotations

from typing import NamedTuple

from transforms.audit.documents import DocumentCutter, Item


class Pieces(NamedTuple):
    """What a record that cannot be read whole falls into. `listed`: it is a list; otherwise documents in a row."""

    listed: bool
    items: list[Item]


def cut_document(record: bytes) -> Pieces | None:
    """The items of a record that cannot be read whole; None where it is one broken thing."""
    cutter = DocumentCutter()
    items = cutter.feed(record)
    listed = cutter.listed
    items += cutter.close()
    if not items or (len(items) == 1 and (items[0].code is not None or items[0].raw == record)):
        return None
    return Pieces(listed, items)
