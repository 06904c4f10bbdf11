"""Write Avro files aside, by kind and hour; what is written counts only when the run commits."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from zlib import crc32

import apache_beam as beam

from transforms.audit.avro_blocks import AvroBlock, rebuilt
from transforms.connectors.avro_files import OutputFile, write_file
from transforms.connectors.spill import Spill, fetch
from transforms.elements import OutputFileCoder  # noqa: F401 - registers it

FILE_BYTES = 256 << 20


def place_of(block: AvroBlock, shards: int) -> tuple[tuple[str, int, int], AvroBlock]:
    """Blocks that go to the same directory have the same key, and those of one resource stay together."""
    return (block.kind, block.hour, crc32(block.order[0].encode("utf-8", "surrogatepass")) % shards), block


class WriteFiles(beam.DoFn):
    """The files of one kind and hour."""

    def __init__(self, aside: str, run: int) -> None:
        self._aside = aside
        self._run = run

    def process(self, element: tuple[tuple[str, int, int], Iterable[AvroBlock]]) -> Iterator[OutputFile]:
        """Small blocks joined, files rolled by size."""
        (kind, hour, _), found = element
        blocks = list(found)
        # Where blocks come spilled, those made of them are spilled as well: a file of any size takes the memory of some blocks.
        spill = Spill(self._aside if any(block.place for block in blocks) else None)
        file: list[AvroBlock] = []
        size = 0
        for block in rebuilt(blocks, fetch):
            length = block.place[2] if block.place else len(block.packed)
            if size + length > FILE_BYTES and file:
                spill.close()
                yield write_file(self._aside, self._run, kind, hour, file)
                file, size = [], 0
            file.append(spill.block(block))
            size += length
        if file:
            spill.close()
            yield write_file(self._aside, self._run, kind, hour, file)


@dataclass
class WriteAvro(beam.PTransform):
    """Write blocks as container files below `aside`, named by their content: a bundle that is tried again writes the same.

    Attributes:
      aside: directory or prefix that only this run uses; the commit renames from there.
      run: the output's number of this run, part of the names: no two runs write the same file.
      shards: into how many files at least a directory's blocks go, each compressed by one worker.
    """

    aside: str
    run: int = 1
    shards: int = 1

    def expand(self, blocks: beam.PCollection[AvroBlock]) -> beam.PCollection[OutputFile]:
        """Gather the blocks of each directory, write its files."""
        return (
            blocks
            | "PlaceOf" >> beam.Map(place_of, self.shards).with_output_types(tuple[tuple[str, int, int], AvroBlock])
            | "GatherBlocks" >> beam.GroupByKey()
            | "WriteFiles" >> beam.ParDo(WriteFiles(self.aside, self.run)).with_output_types(OutputFile)
        )
