"""Each step alone in a small pipeline, and the steps composed."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import apache_beam as beam
import msgspec
import pytest
from apache_beam.testing.test_pipeline import TestPipeline as APipeline
from apache_beam.testing.util import assert_that, equal_to

from pipelines.plan import plan
from tests.audit.logs import TARGETS, stages_of
from tests.audit.reduction import KEY, records, reduce_files, settings
from tests.examples import an_event, lines
from transforms.aggregate_reads import AggregateReads
from transforms.apply_policy import ApplyPolicy
from transforms.audit import avro
from transforms.audit.account import Account, total
from transforms.audit.avro_blocks import AvroBlock
from transforms.audit.block import EventBlock, RawBlock, Split
from transforms.audit.read_summary import ReadSummary
from transforms.audit.reduce_all import reduce_all
from transforms.audit.settings import Compiled
from transforms.close_accounts import MANIFEST, CloseAccounts, Manifest
from transforms.connectors.avro_files import OutputFile
from transforms.connectors.avro_files import records as file_records
from transforms.connectors.spill import SMALL, fetch, fetch_data
from transforms.merge_stages import MergeStages
from transforms.parse_events import ParseEvents
from transforms.read_audit_logs import ReadAuditLogs
from transforms.redact_secrets import RedactSecrets
from transforms.resolve_copies import ResolveCopies
from transforms.settle_events import EncodeAvro, SettleEvents
from transforms.strip_managed_fields import StripManagedFields
from transforms.write_avro import WriteAvro

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

SETTINGS = settings()
IDS = [f"{number:08x}-7a55-4c0d-9f3a-0c8f2f5b9b11" for number in range(len(TARGETS))]
EVENTS = [
    event
    for target, audit_id in zip(TARGETS, IDS, strict=True)
    for event in stages_of(target, ("RequestReceived", "ResponseComplete"), ["05:20:00"], auditID=audit_id)
]


@pytest.fixture
def splits(tmp_path: Path) -> list[Split]:
    (tmp_path / "audit.log").write_bytes(lines(*EVENTS))
    return plan([(str(tmp_path / "audit.log"), None)], split_size=4000).splits


def outcome(splits: list[Split], steps: Callable[[Any], Any], tell: Callable[[Any], Any], expected: list[Any]) -> None:
    """Run `steps` on what is read from the splits; `tell` says of each element what is compared."""
    with APipeline("FnApiRunner") as pipeline:
        told = steps(pipeline | ReadAuditLogs(splits, KEY)) | "Tell" >> beam.FlatMap(tell).with_output_types(object)
        assert_that(told, equal_to(expected))


def audit_ids(block: EventBlock) -> list[tuple[str, str]]:
    return [(str(event.auditID), str(event.stage)) for event in [*block.events, *[event for event, *_ in block.loose]]]


def test_all_bytes_of_all_splits_are_read_once(splits: list[Split]):
    assert len(splits) > 2
    outcome(splits, lambda blocks: blocks, lambda block: block.data.splitlines(), lines(*EVENTS).splitlines())


def test_lines_become_events(splits: list[Split]):
    outcome(splits, lambda blocks: blocks | ParseEvents(KEY), audit_ids, [(event["auditID"], event["stage"]) for event in EVENTS])


def test_a_policy_drops_what_it_says(splits: list[Split]):
    rules = "- {level: None, verbs: [get]}\n- {level: Metadata}\n"
    policy = f"apiVersion: audit.k8s.io/v1\nkind: Policy\nomitStages: [RequestReceived]\nrules:\n{rules}"
    kept = [(event["auditID"], event["stage"]) for event in EVENTS if event["verb"] != "get" and event["stage"] == "ResponseComplete"]
    outcome(splits, lambda blocks: blocks | ParseEvents(KEY) | ApplyPolicy(settings(policy=policy)), audit_ids, kept)


def test_stages_that_lie_in_one_split_merge(tmp_path: Path):
    (tmp_path / "audit.log").write_bytes(lines(*EVENTS))
    whole = plan([(str(tmp_path / "audit.log"), None)]).splits
    merged = [(audit_id, ["RequestReceived"]) for audit_id in IDS]

    def tell(block: EventBlock) -> list[Any]:
        return [(event.auditID, [stage.stage for stage in event.merged or ()]) for event in block.events]

    outcome(whole, lambda blocks: blocks | ParseEvents(KEY) | MergeStages(SETTINGS, KEY), tell, merged)


def test_managed_fields_go(tmp_path: Path):
    body = {"kind": "Pod", "apiVersion": "v1", "metadata": {"name": "x", "managedFields": [{"manager": "kubectl"}]}}
    (tmp_path / "audit.log").write_bytes(lines(an_event(responseObject=body)))
    whole = plan([(str(tmp_path / "audit.log"), None)]).splits

    def tell(block: EventBlock) -> list[Any]:
        return [msgspec.json.decode(bytes(event.responseObject))["metadata"] for event in block.events]

    outcome(whole, lambda blocks: blocks | ParseEvents(KEY) | StripManagedFields(), tell, [{"name": "x"}])


def test_secrets_are_withheld(tmp_path: Path):
    body = {"kind": "Secret", "apiVersion": "v1", "metadata": {"name": "x"}, "data": {"k": "Y25yeS1zZWNyZXQ="}}
    (tmp_path / "audit.log").write_bytes(lines(an_event(responseObject=body, objectRef__resource="secrets", objectRef__apiGroup="")))
    whole = plan([(str(tmp_path / "audit.log"), None)]).splits

    def tell(block: EventBlock) -> list[Any]:
        return [(b"Y25yeS1zZWNyZXQ=" in bytes(event.responseObject), bool(event.reductions)) for event in block.events]

    outcome(whole, lambda blocks: blocks | ParseEvents(KEY) | RedactSecrets(SETTINGS, KEY), tell, [(False, True)])


def steps_to(settled: Callable[[Any], Any], aside: str | None = None) -> Callable[[Any], Any]:
    def steps(blocks: Any) -> Any:
        redacted = blocks | ParseEvents(KEY) | MergeStages(SETTINGS, KEY) | StripManagedFields() | RedactSecrets(SETTINGS, KEY)
        return settled(redacted | SettleEvents(SETTINGS, KEY) | ResolveCopies(SETTINGS, KEY, aside=aside))

    return steps


def test_what_beam_resolves_is_what_the_pure_reduction_says(splits: list[Split]):
    expected = reduce_files([lines(*EVENTS)])
    events = [(each["digest"], len(each["stages"]), each["flags"]) for each in expected.events]
    outcome(
        splits,
        steps_to(lambda found: found.blocks),
        lambda block: [(each["digest"], len(each["stages"]), each["flags"]) for each in records(block)],
        events,
    )
    rows = [{name: value for name, value in row.items() if name != "exemplar"} for row in expected.reads]
    outcome(
        splits,
        steps_to(lambda found: found.reads | AggregateReads(SETTINGS)),
        lambda block: [{name: value for name, value in row.items() if name != "exemplar"} for row in records(block)],
        rows,
    )
    outcome(
        splits, steps_to(lambda found: found.accounts | beam.combiners.ToList()), lambda accounts: [total(accounts)], [expected.account]
    )


def test_what_is_spilled_goes_through_shuffles_without_its_bytes_and_is_written_once(splits: list[Split], tmp_path: Path):
    expected = reduce_files([lines(*EVENTS)])
    aside = str(tmp_path / "aside")
    outcome(
        splits,
        steps_to(lambda found: found.blocks | beam.Reshuffle(), aside),
        lambda block: [(len(block.packed) <= SMALL, len(avro.decompress(fetch(block))) == block.size)] * block.count,
        [(True, True)] * len(expected.events),
    )
    outcome(
        splits,
        steps_to(lambda found: found.reads | beam.Reshuffle(), aside),
        lambda rows: [len(rows[1]) <= SMALL] * (rows[1] != fetch_data(rows[1])),
        [True] * len(expected.reads),
    )
    outcome(splits, steps_to(lambda found: found.blocks | WriteAvro(aside), aside), lambda file: [file.records], [len(expected.events)])
    (path,) = (tmp_path / "aside" / "events").rglob("*.avro")
    written = [each["digest"] for each in file_records(io.BytesIO(path.read_bytes()))]
    assert sorted(written) == sorted(each["digest"] for each in expected.events)


def test_rows_of_a_window_are_spilled_and_fetched(splits: list[Split], tmp_path: Path):
    rows = [row["count"] for row in reduce_files([lines(*EVENTS)]).reads]
    aside = str(tmp_path)

    def tell(block: AvroBlock) -> list[Any]:
        return [row["count"] for row in records(msgspec.structs.replace(block, packed=fetch(block)))] if block.place else ["not spilled"]

    outcome(splits, steps_to(lambda found: found.reads | AggregateReads(SETTINGS, aside) | beam.Reshuffle(), aside), tell, rows)


def test_rows_of_a_window_add_up_whichever_split_they_come_from():
    key = ("alice", None, "get", "", "pods", None, "shop", "kubectl", None, 200)
    parts = [
        ReadSummary("east", 60_000_000, key, count, 0, 10, at, at, order=(at, 0, 0, 0), exemplar=b"")
        for count, at in ((1, 61_000_000), (2, 62_000_000))
    ]
    packed = [(60_000_000, avro.compress(msgspec.msgpack.encode([part]))) for part in parts]
    with APipeline("FnApiRunner") as pipeline:
        rows = pipeline | beam.Create(packed).with_output_types(tuple[int, bytes]) | AggregateReads(SETTINGS)
        counted = rows | beam.FlatMap(lambda block: [(row["count"], row["bytes"], row["verb"]) for row in records(block)])
        assert_that(counted, equal_to([(3, 20, "get")]))


def test_blocks_of_an_hour_become_one_file_that_any_reader_opens(tmp_path: Path):
    raw = encoded(an_event())
    blocks = [AvroBlock("events", 1_795_410_000_000_000, ("pods", 0, 0, at), 1, len(raw), avro.compress(raw)) for at in range(3)]
    with APipeline("FnApiRunner") as pipeline:
        files = pipeline | beam.Create(blocks).with_output_types(AvroBlock) | WriteAvro(str(tmp_path), 7)
        assert_that(
            files | beam.Map(lambda file: (file.path.rpartition("/")[0], file.records)), equal_to([("events/dt=2026-11-23/hour=05", 3)])
        )
    (path,) = tmp_path.rglob("*.avro")
    assert path.name.startswith("000007-")
    assert [each["auditID"] for each in file_records(io.BytesIO(path.read_bytes()))] == [an_event()["auditID"]] * 3


def encoded(event: dict[str, Any]) -> bytes:
    """The record of an event."""
    split, data = Split(0, "/log", "/log"), lines(event)
    block = RawBlock(split, Account(0, 0, len(data), size=len(data)), 0, data, last=True)
    (found,) = reduce_all([split], lambda _: [block], Compiled(SETTINGS, KEY)).blocks
    return avro.decompress(found.packed)


def test_the_manifest_lists_each_file_once_and_adds_partial_accounts_up(tmp_path: Path):
    files = [OutputFile("events/a.avro", 1, 2, "00"), OutputFile("events/b.avro", 1, 2, "00"), OutputFile("events/a.avro", 1, 2, "00")]
    accounts = [Account(0, 0, 10, events=2, kept=1), Account(0, 0, 0, merged=1), Account(1, 0, 5, events=1, folded=1)]
    with APipeline("FnApiRunner") as pipeline:
        made = (
            pipeline | "Accounts" >> beam.Create(accounts).with_output_types(Account),
            pipeline | "Files" >> beam.Create(files).with_output_types(OutputFile),
        )
        _ = made | CloseAccounts(str(tmp_path))
    manifest = msgspec.msgpack.decode((tmp_path / MANIFEST).read_bytes(), type=Manifest)
    assert manifest == Manifest(files[:2], [Account(0, 0, 10, events=2, kept=1, merged=1), Account(1, 0, 5, events=1, folded=1)])


def test_five_lines_make_a_pipeline_of_ones_own_that_loses_nothing(splits: list[Split]):
    plain = settings(merge=False, fold=False)
    with APipeline("FnApiRunner") as pipeline:
        events = pipeline | ReadAuditLogs(splits, KEY) | ParseEvents(KEY) | StripManagedFields() | RedactSecrets(plain, KEY)
        blocks = events | MergeStages(plain, KEY) | EncodeAvro(plain, KEY)
        told = blocks | beam.FlatMap(lambda block: [(each["auditID"], each["stage"]) for each in records(block)])
        assert_that(told, equal_to([(event["auditID"], event["stage"]) for event in EVENTS]))


def test_no_two_steps_of_the_job_have_the_same_label(splits: list[Split], tmp_path: Path):
    pipeline = APipeline("FnApiRunner")
    _ = steps_to(lambda found: found.reads | AggregateReads(SETTINGS) | WriteAvro(str(tmp_path)))(pipeline | ReadAuditLogs(splits, KEY))
    labels = [transform.unique_name for transform in pipeline.to_runner_api().components.transforms.values()]
    assert len(labels) == len(set(labels)) > 20
