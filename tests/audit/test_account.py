"""Accounts add up, and say whether they are closed."""

from __future__ import annotations

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from transforms.audit.account import Account, total

COUNT = st.integers(0, 1 << 40)
NAMES = st.dictionaries(st.sampled_from(["0", "1", "none"]), COUNT)
ACCOUNTS = st.builds(
    Account, file=st.just(0), start=st.just(0), end=COUNT,
    events=COUNT, size=COUNT, kept=COUNT, folded=COUNT, merged=COUNT, duplicate=COUNT,
    dropped_by_rule=NAMES, dropped_by_stage=COUNT,
    dead_lettered=NAMES,
)  # fmt: skip


def copied(account: Account) -> Account:
    return msgspec.convert(msgspec.to_builtins(account), Account)


@given(st.lists(ACCOUNTS, max_size=6), st.randoms())
def test_the_total_is_the_same_in_any_order_and_leaves_the_parts_alone(accounts: list[Account], chance):
    before = [copied(account) for account in accounts]
    summed = total(accounts)
    shuffled = list(accounts)
    chance.shuffle(shuffled)
    assert total(shuffled) == summed
    assert accounts == before
    assert summed.accounted == sum(account.accounted for account in accounts)
    assert summed.events == sum(account.events for account in accounts)


def test_an_account_is_closed_when_every_event_has_an_outcome():
    account = Account(0, 0, events=7, kept=1, folded=1, merged=1, duplicate=1, dropped_by_stage=1)
    account.drop_by_rule(3)
    account.dead_letter("INVALID_JSON")
    assert account.accounted == account.events
    account.drop_by_rule(None)
    assert account.accounted == account.events + 1
    assert account.dropped_by_rule == {"3": 1, "none": 1}


def test_accounts_share_no_counts():
    first, second = Account(0, 0), Account(0, 0)
    first.drop_by_rule(0)
    first.dead_letter("NOT_AUDIT")
    assert (second.dropped_by_rule, second.dead_lettered) == ({}, {})


def test_the_range_and_its_mac_survive_in_whichever_part_has_them():
    part, end = Account(0, 10), Account(0, 10, 90, mac=b"m" * 32)
    part.add(end)
    end.add(Account(0, 10))
    assert (part.end, part.mac, end.end, end.mac) == (90, b"m" * 32, 90, b"m" * 32)
