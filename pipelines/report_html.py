"""The report as one page that stands alone: no script, no network, light and dark as the reader's system is."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Any, Final

from pipelines.display import size_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_WIDTH: Final = 960
_LABEL: Final = 272
_VALUE: Final = 176
_ROW: Final = 30
_TITLES: Final = {
    "verb": "verb",
    "resource": "resource",
    "user": "user",
    "userAgent": "user agent",
    "level": "level",
    "stage": "stage",
    "rule": "rule of the policy",
}
_LONG: Final = frozenset({"User", "Resource", "User agent", "Why", "Hides what guards keep"})  # columns that wrap
MINUS: Final = "\N{MINUS SIGN}"
_TITLE: Final = "Kubernetes audit log: what a reduction saves"
CHARTS: Final = ("resource", "user", "verb", "userAgent")

_STYLE: Final = """
:root { color-scheme: light dark; --ground: #fff; --card: #f6f7f9; --line: #d9dde3; --text: #1b2027; --soft: #5a6472; --kept: #1f6feb;
  --gone: #a9b3c1; --saved: #1a7f4b; --more: #b3261e; --warn: #fff4d6; --warn-line: #b7791f; }
@media (prefers-color-scheme: dark) { :root { --ground: #12161c; --card: #1b2129; --line: #333c48; --text: #e6eaf0; --soft: #9ba7b6;
  --kept: #58a0ff;
  --gone: #4a5563; --saved: #4cc38a; --more: #ff8a80; --warn: #33290f; --warn-line: #d9a441; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--ground); color: var(--text);
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; }
main { max-width: 1040px; margin: 0 auto; padding: 32px 24px 64px; }
h1 { font-size: 28px; line-height: 1.2; margin: 0 0 4px; } h2 { font-size: 20px; margin: 44px 0 4px; }
h3 { font-size: 16px; margin: 0; }
p { margin: 4px 0 12px; } .soft { color: var(--soft); }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(220px, 1fr)); gap: 14px; margin: 24px 0; }
.tile, .card { background: var(--card); border: 1px solid var(--line); border-radius: 10px; padding: 16px 18px; }
.tile b { display: block; font-size: 30px; line-height: 1.2; color: var(--saved); } .tile b.plain { color: var(--text); }
.tile b.more { color: var(--more); }
.tile span { display: block; color: var(--soft); font-size: 14px; }
.warning { background: var(--warn); border: 1px solid var(--warn-line); border-radius: 10px; padding: 14px 18px; margin: 20px 0; }
.scroll { overflow-x: auto; } .chart { display: block; width: 100%; min-width: 640px; height: auto; font-size: 14px; }
.chart text { fill: var(--text); } .chart .soft { fill: var(--soft); }
.kept { fill: var(--kept); } .gone { fill: var(--gone); } .saved { fill: var(--saved); } .more { fill: var(--more); }
.axis { stroke: var(--line); }
.legend { display: flex; flex-wrap: wrap; gap: 18px; font-size: 14px; color: var(--soft); margin: 0 0 6px; }
.legend i { display: inline-block; width: 12px; height: 12px; border-radius: 3px; margin-right: 6px; }
table { border-collapse: collapse; width: 100%; font-size: 14px; }
th, td { text-align: left; padding: 6px 10px; border-bottom: 1px solid var(--line); vertical-align: top; }
th { color: var(--soft); font-weight: 600; white-space: nowrap; }
.number { text-align: right; white-space: nowrap; font-variant-numeric: tabular-nums; }
td { overflow-wrap: break-word; word-break: normal; } td.long { overflow-wrap: anywhere; min-width: 150px; }
details { margin: 10px 0; } summary { cursor: pointer; }
pre { background: var(--ground); border: 1px solid var(--line); border-radius: 6px; padding: 10px 12px; overflow-x: auto;
  font: 13px/1.45 ui-monospace, Menlo, Consolas, "DejaVu Sans Mono", monospace; margin: 10px 0 0; }
.card { margin: 12px 0; break-inside: avoid; } .card p { margin: 6px 0 0; }
.risk { display: inline-block; border: 1px solid currentColor; border-radius: 20px; font-size: 13px; padding: 0 10px; margin-left: 8px;
  font-weight: 400; white-space: nowrap; }
.low { color: var(--saved); } .medium { color: var(--warn-line); } .high { color: var(--more); }
"""


def _safe(name: Any) -> str:
    """Text for the page: clients choose names, so markup, control and direction characters of theirs stay text."""
    text = str(name)
    if not text.isprintable():
        text = "".join(letter if letter.isprintable() else letter.encode("unicode_escape", "backslashreplace").decode() for letter in text)
    return escape(text)


def _cut(name: Any, length: int = 31) -> str:
    text = str(name)
    # The end tells service accounts and the agents of one binary apart.
    return text if len(text) <= length else f"{text[: length // 3]}…{text[length // 3 + 1 - length :]}"


def _percent(part: float, whole: float) -> str:
    return f"{100 * part / whole:.1f} %" if whole else "0 %"


def _bytes(size: float) -> str:
    return f"{MINUS}{size_text(-size)}" if size < 0 else size_text(size)


def page(report: dict[str, Any]) -> str:
    """The page."""
    body = "".join(
        (
            _header(report),
            _tiles(report),
            _unmatched(report),
            _waterfall(report),
            *[_bars(name, report["by"][name]) for name in CHARTS],
            _talkers(report),
            _suggestions(report),
            _policy(report),
            _guards(report),
            _details(report),
            _method(report),
        )
    )
    policy = "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">"
    head = f'<meta charset="utf-8">{policy}<meta name="viewport" content="width=device-width, initial-scale=1"><title>{_TITLE}</title>'
    return f'<!DOCTYPE html>\n<html lang="en"><head>{head}<style>{_STYLE}</style></head><body><main>{body}</main></body></html>\n'


def _section(title: str, note: str, *parts: str) -> str:
    told = f'<p class="soft">{_safe(note)}</p>' if note else ""
    return f"<h2>{_safe(title)}</h2>{told}{''.join(parts)}"


def _unfolding(title: str, inner: str, *, unfolded: bool = False) -> str:
    return f"<details{' open' if unfolded else ''}><summary>{_safe(title)}</summary>{inner}</details>"


def _header(report: dict[str, Any]) -> str:
    inputs, span = report["inputs"], report["span"]
    when = f", {span['from'][:16].replace('T', ' ')} to {span['to'][:16].replace('T', ' ')} UTC" if span else ""
    files = f"{inputs['files']:,} file{'' if inputs['files'] == 1 else 's'}"
    told = f"{inputs['events']:,} events in {files}{_safe(when)}. Nothing was written: this is a forecast from your own log."
    return f'<h1>{_TITLE}</h1><p class="soft">{told}</p>'


def _difference(before: int, after: int, what: str, note: str) -> tuple[str, str, str, str]:
    kind = "more" if after > before else "less"
    return _percent(abs(before - after), before), f"{kind} {what}", note, "more" if after > before else ""


def _tiles(report: dict[str, Any]) -> str:
    inputs, left, cost = report["inputs"], report["left"], report["cost"]
    before, after = inputs["jsonBytes"], left["jsonBytes"]
    tiles = [
        _difference(before, after, "to send to a SIEM", f"{_bytes(before)} → {_bytes(after)} of JSON"),
        _difference(
            inputs["storedBytes"],
            left["storedBytes"],
            "to store",
            f"{_bytes(inputs['storedBytes'])} as stored now → {_bytes(left['storedBytes'])} of Avro",
        ),
        (
            f"{left['events']:,}",
            "events stay whole",
            f"and {left['summaries']:,} summaries of reads, from {inputs['events']:,} events; none is lost uncounted",
            "plain",
        ),
    ]
    if cost and cost["perMonthBefore"] is not None:
        saved = cost["perMonthBefore"] - cost["perMonthAfter"]
        tiles.insert(
            1,
            (
                f"{saved:,.0f}",
                f"saved a month, at {cost['pricePerGB']:g} per GB",
                f"{cost['perMonthBefore']:,.0f} → {cost['perMonthAfter']:,.0f}; {cost['note']}",
                "" if saved >= 0 else "more",
            ),
        )
    elif cost:
        tiles.insert(1, ("?", "saved a month", cost["note"], "plain"))
    cells = "".join(
        f'<div class="tile"><b class="{kind}">{_safe(value)}</b>{_safe(meaning)}<span>{_safe(note)}</span></div>'
        for value, meaning, note, kind in tiles
    )
    return f'<div class="tiles">{cells}</div>'


def _unmatched(report: dict[str, Any]) -> str:
    lost = (report["policy"] or {}).get("unmatched")
    if not lost or not lost["events"]:
        return ""
    top = ", ".join(f"{_safe(row['name'])} ({row['events']:,})" for row in lost["top"])
    share = _percent(lost["events"], report["inputs"]["events"])
    loud = f"<strong>{lost['events']:,} events ({share}) match no rule of the policy and are dropped</strong>, as kube-apiserver would."
    return f'<div class="warning">{loud} Most of them: {top}. A last rule <code>- level: Metadata</code> keeps them.</div>'


def _svg(height: int, title: str, shapes: Iterable[str]) -> str:
    head = f'<svg class="chart" viewBox="0 0 {_WIDTH} {height}" role="img" aria-label="{_safe(title)}">'
    return f'<div class="scroll">{head}{"".join(shapes)}</svg></div>'


def _text(x: float, row: int, text: str, *, anchor: str = "start", soft: bool = False, full: str = "") -> str:
    title = f"<title>{_safe(full)}</title>" if full else ""
    return f'<text class="{"soft" if soft else ""}" x="{x:.1f}" y="{row * _ROW + 20}" text-anchor="{anchor}">{title}{_safe(text)}</text>'


def _bar(x: float, row: int, width: float, kind: str, title: str = "") -> str:
    width = max(width, 1.5 if width else 0)
    place = f'x="{x:.1f}" y="{row * _ROW + 5}" width="{width:.1f}" height="20" rx="3"'
    return f'<rect class="{kind}" {place}><title>{_safe(title)}</title></rect>'


def _waterfall(report: dict[str, Any]) -> str:
    """From what is captured down to what is left, a bar for each step."""
    captured, left = report["inputs"]["jsonBytes"], report["left"]["jsonBytes"]
    steps = [step for step in report["steps"] if step["jsonBytes"]]
    room = _WIDTH - _LABEL - _VALUE
    scale = room / max(captured, left, 1)
    shapes = [
        _text(_LABEL - 12, 0, "Captured", anchor="end"),
        _bar(_LABEL, 0, captured * scale, "gone", size_text(captured)),
        _text(_WIDTH, 0, size_text(captured), anchor="end"),
    ]
    at = captured
    for row, step in enumerate(steps, 1):
        saved = step["jsonBytes"]
        start = min(at, at - saved)
        shapes += [
            _text(_LABEL - 12, row, step["title"], anchor="end"),
            _bar(_LABEL + start * scale, row, abs(saved) * scale, "saved" if saved > 0 else "more", f"{step['title']}: {_bytes(saved)}"),
            _text(
                _WIDTH,
                row,
                f"{MINUS if saved > 0 else '+'}{size_text(abs(saved))}  ({_percent(abs(saved), captured)})",
                anchor="end",
                soft=True,
            ),
        ]
        at -= saved
    last = len(steps) + 1
    shapes += [
        _text(_LABEL - 12, last, "Left to send", anchor="end"),
        _bar(_LABEL, last, left * scale, "kept", size_text(left)),
        _text(_WIDTH, last, f"{size_text(left)}  ({_percent(left, captured)})", anchor="end"),
    ]
    stored = [step for step in report["steps"] if step.get("storedBytes") is not None]
    table = (
        _table(
            ("Step", "Events", "JSON saved", "Stored bytes saved, about"),
            [
                (
                    step["title"],
                    f"{step['events']:,}" if step["events"] is not None else "",
                    _bytes(step["jsonBytes"]),
                    _bytes(step["storedBytes"]) if step.get("storedBytes") is not None else "",
                )
                for step in report["steps"]
            ],
            numbers=(1, 2, 3),
        )
        if stored
        else ""
    )
    chart = _svg((last + 1) * _ROW, "What each step takes away", shapes)
    numbers = _unfolding("The same in numbers, and in stored bytes", table)
    return _section("What each step takes away", "Bytes of JSON, which is what a SIEM bills.", chart, numbers)


def _bars(name: str, rows: Sequence[dict[str, Any]]) -> str:
    """Bytes by one dimension: what stays as whole events, and what goes."""
    rows = rows[:8]
    largest = max((row["jsonBytes"] for row in rows), default=0) or 1
    scale = (_WIDTH - _LABEL - _VALUE) / largest
    shapes = []
    for at, row in enumerate(rows):
        kept = min(row["keptBytes"], row["jsonBytes"])
        title = f"{row['name']}: {row['events']:,} events, {size_text(row['jsonBytes'])}; {size_text(kept)} stay"
        shapes += [
            _text(_LABEL - 12, at, _cut(row["name"]), anchor="end", full=str(row["name"])),
            _bar(_LABEL, at, row["jsonBytes"] * scale, "gone", title),
            _bar(_LABEL, at, kept * scale, "kept", title),
            _text(_WIDTH, at, f"{size_text(row['jsonBytes'])} → {size_text(kept)}", anchor="end", soft=True),
        ]
    colours = (("kept", "stays, as whole events"), ("gone", "goes, or is counted in summaries"))
    entries = "".join(f'<span><i style="background:var(--{colour})"></i>{meaning}</span>' for colour, meaning in colours)
    legend = f'<div class="legend">{entries}</div>'
    return f"<h2>By {_TITLES[name]}</h2>{legend}{_svg(len(rows) * _ROW + 6, f'Bytes by {_TITLES[name]}', shapes)}"


def _table(names: Sequence[str], rows: Iterable[Sequence[Any]], numbers: Sequence[int] = ()) -> str:
    kind = ['class="number"' if at in numbers else 'class="long"' if name in _LONG else "" for at, name in enumerate(names)]
    head = "".join(f"<th {kind[at]}>{_safe(name)}</th>" for at, name in enumerate(names))
    body = "".join("<tr>" + "".join(f"<td {kind[at]}>{_safe(cell)}</td>" for at, cell in enumerate(row)) + "</tr>" for row in rows)
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def _talkers(report: dict[str, Any]) -> str:
    rows = [
        (
            row["user"],
            row["verb"],
            row["resource"],
            row["userAgent"],
            f"{row['events']:,}",
            size_text(row["jsonBytes"]),
            size_text(row["keptBytes"]),
        )
        for row in report["topTalkers"]
    ]
    return f"<h2>Top talkers</h2>{_table(('User', 'Verb', 'Resource', 'User agent', 'Events', 'JSON', 'Stays'), rows, numbers=(4, 5, 6))}"


def _suggestions(report: dict[str, Any]) -> str:
    cards = []
    for each in report["suggestions"]:
        saving = (
            f"{each['events']:,} events; saves {_bytes(each['saves'])} of what is captured, {_bytes(each['saves_more'])} of what is left"
        )
        hides = ", ".join(f"{name} {count:,}" for name, count in each["hides"].items())
        hidden = f" Hidden, by guard: {_safe(hides)}." if hides else ""
        cards.append(
            f'<div class="card"><h3>{_safe(each["title"])}<span class="risk {_safe(each["risk"])}">risk: {_safe(each["risk"])}</span></h3>'
            f"<p>{_safe(saving)}</p>"
            f'<p class="soft">{_safe(each["why"])}{hidden}</p><pre>{escape(each["yaml"])}</pre></div>'
        )
    if not cards:
        return ""
    note = "Savings are those on the events of this log; they overlap where rules match the same events. Rules of level None come first."
    return _section("Rules worth adding to the audit policy", note, *cards)


def _policy(report: dict[str, Any]) -> str:
    policy = report["policy"]
    if policy is None:
        return ""
    rules = sorted(policy["rules"], key=lambda rule: (-rule["saves"], rule["rule"]))
    rows = [
        (
            rule["rule"],
            rule["level"],
            f"{rule['events']:,}",
            f"{rule['dropped']:,}",
            size_text(rule["saves"]),
            ", ".join(f"{name} {count:,}" for name, count in rule["hides"].items()),
        )
        for rule in rules
        if rule["events"]
    ]
    never = ", ".join(str(rule) for rule in policy["neverMatched"])
    table = _table(("Rule", "Level", "Events", "Dropped", "Saves", "Hides what guards keep"), rows, numbers=(2, 3, 4))
    warnings = "".join(f"<li>{_safe(warning)}</li>" for warning in policy["warnings"])
    unused = f"<p>Never matched: {_safe(never)}</p>" if never else ""
    return _section("The policy's rules, by what they save", "", table, unused, f"<ul>{warnings}</ul>" if warnings else "")


def _guards(report: dict[str, Any]) -> str:
    if not report["guards"]:
        return ""
    rows = [(row["guard"], f"{row['events']:,}", size_text(row["jsonBytes"]), row["reason"]) for row in report["guards"]]
    table = _table(("Guard", "Events", "JSON", "Why"), rows, numbers=(1, 2))
    return _section("Reads that stay whole", "Other reads become counts. These tell too much to be folded.", table)


def _details(report: dict[str, Any]) -> str:
    outcomes = [(name, f"{row['events']:,}", size_text(row["jsonBytes"])) for name, row in report["outcomes"].items()]
    parts = [_unfolding("Every event has one outcome", _table(("Outcome", "Events", "JSON"), outcomes, numbers=(1, 2)), unfolded=True)]
    for name, rows in report["by"].items():
        if name not in CHARTS:
            cells = [(row["name"], f"{row['events']:,}", size_text(row["jsonBytes"]), size_text(row["keptBytes"])) for row in rows]
            names = (_TITLES[name].capitalize(), "Events", "JSON", "Stays")
            parts.append(_unfolding(f"By {_TITLES[name]}", _table(names, cells, numbers=(1, 2, 3))))
    if report["managedFields"]:
        places = [(row["place"], f"{row['count']:,}", size_text(row["jsonBytes"])) for row in report["managedFields"]]
        parts.append(_unfolding("managedFields, by place", _table(("Place", "Count", "JSON"), places, numbers=(1, 2))))
    if report["redaction"]:
        cuts = [(row["kind"], row["place"], f"{row['count']:,}", size_text(row["jsonBytes"])) for row in report["redaction"][:24]]
        parts.append(_unfolding("Redaction, by kind", _table(("Kind", "Place", "Count", "JSON"), cuts, numbers=(2, 3))))
    if report["deadLettered"]:
        codes = [(code, f"{count:,}") for code, count in report["deadLettered"].items()]
        parts.append(_unfolding("What could not be read", _table(("Code", "Count"), codes, numbers=(1,)), unfolded=True))
    return _section("Details", "", *parts)


def _method(report: dict[str, Any]) -> str:
    note = (
        "Events and bytes of JSON are counted over all of the input, with the very steps of the reduction. "
        f"What each step saves of stored bytes is measured on {size_text(report['sampledBytes'])} of it, compressed after every step; "
        "the stored total is that of the real Avro. The bytes of read summaries include each summary's exemplar and are estimated "
        "from the Avro. Names are redacted as in the output."
    )
    return _section("How this was counted", note)
