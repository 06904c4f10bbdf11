"""Close the accounts: add up the partial accounts of each source range, and write the manifest of the run."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import apache_beam as beam
import msgspec
from apache_beam.metrics import Metrics

from transforms.audit.account import Account, sum_accounts
from transforms.connectors import storage
from transforms.connectors.avro_files import OutputFile

MANIFEST = "manifest.msgpack"


class Manifest(msgspec.Struct):
    """All that a run wrote: what is not in it does not exist for the commit."""

    files: list[OutputFile]
    accounts: list[Account]
    carried: list[tuple[str, bytes]] = []  # of a followed input: what later runs need, by kind


def entry_of(kind: str, value: Account | OutputFile) -> tuple[int, tuple[str, bytes]]:
    """(0, (kind, encoded)): all go to one place."""
    return 0, (kind, msgspec.msgpack.encode(value))


class WriteManifest(beam.DoFn):
    """The last step: one file that lists the rest."""

    def __init__(self, aside: str) -> None:
        self._aside = aside

    def process(self, element: tuple[int, Iterable[tuple[str, bytes]]]) -> None:
        """All accounts and files of the run."""
        files: dict[str, OutputFile] = {}
        accounts: list[Account] = []
        carried: list[tuple[str, bytes]] = []
        for kind, encoded in element[1]:
            if kind == "file":
                file = msgspec.msgpack.decode(encoded, type=OutputFile)
                files[file.path] = file
            elif kind != "account":
                carried.append((kind, encoded))
            else:
                accounts.append(msgspec.msgpack.decode(encoded, type=Account))
        closed = sum_accounts(accounts)
        for account in closed:
            for name in ("events", "size", "kept", "folded", "merged", "duplicate", "dropped_by_stage"):
                Metrics.counter("reduce", name).inc(getattr(account, name))
            Metrics.counter("reduce", "dropped_by_rule").inc(sum(account.dropped_by_rule.values()))
            Metrics.counter("reduce", "dead_letters").inc(sum(account.dead_lettered.values()))
        manifest = Manifest([files[path] for path in sorted(files)], closed, sorted(carried))
        storage.write(storage.join(self._aside, MANIFEST), [msgspec.msgpack.encode(manifest)])


@dataclass
class CloseAccounts(beam.PTransform):
    """Gather the accounts and files of the run in one manifest.

    Attributes:
      aside: where the run writes.
      carried: what a followed input carries on.
    """

    aside: str
    carried: Sequence[beam.PCollection[tuple[str, bytes]]] = ()

    def expand(self, written: tuple[beam.PCollection[Account], beam.PCollection[OutputFile]]) -> beam.PCollection[None]:
        """Both to one place, once."""
        accounts, files = written
        kinds = tuple[int, tuple[str, bytes]]
        entries: tuple[beam.PCollection[tuple[int, tuple[str, bytes]]], ...] = (
            accounts | "AccountEntries" >> beam.Map(lambda account: entry_of("account", account)).with_output_types(kinds),
            files | "FileEntries" >> beam.Map(lambda file: entry_of("file", file)).with_output_types(kinds),
        )
        for number, each in enumerate(self.carried):
            entries += (each | f"CarriedEntries{number}" >> beam.Map(lambda carried: (0, carried)).with_output_types(kinds),)
        return (
            entries
            | "Entries" >> beam.Flatten()
            | "GatherEntries" >> beam.GroupByKey()
            | "WriteManifest" >> beam.ParDo(WriteManifest(self.aside))
        )
