"""report.html: one file that opens anywhere, without a network."""

import base64
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from html import escape
from string import Template
from typing import Any


def page(
    report: Mapping[str, Any],
    svgs: Mapping[str, str],
    labels: Sequence[tuple[str, str]],
    each_label: bytes | None = None,
) -> str:
    """Return the page.

    Args:
        report: what report.json holds.
        svgs: the drawings `variance`, `components` and `labels`.
        labels: the labels of the scatter with their colors, in the order of its groups.
        each_label: PNG, the scatter once per label.
    """
    parts = {
        "title": "Fruit features" + (f" · {escape(report['run'])}" if report["run"] else ""),
        "subtitle": _subtitle(report),
        "tiles": "".join(_tile(*tile) for tile in _tiles(report)),
        "variance_text": _variance_text(report),
        "neighbors": _neighbors(report),
        "chips": "".join(
            f'<button type="button" data-group="{number}"><i style="background:{color}"></i>{escape(label)}</button>'
            for number, (label, color) in enumerate(labels)
        ),
        "sampled": _sampled(report),
        "each_label": _each_label(each_label),
        "label_count": f"{len(report['labels']):,}",
        "rejects": _rejects(report),
        "timings": _timings(report["timings"]),
        "facts": _facts(report),
        "style": _STYLE,
        "script": _SCRIPT,
        **{f"svg_{name}": svg for name, svg in svgs.items()},
    }
    return _PAGE.substitute(parts)


def _subtitle(report: Mapping[str, Any]) -> str:
    now = datetime.now(UTC).strftime("%-d %B %Y, %H:%M UTC")
    return f"Network {escape(report['model_id'])} · {now}"


def _tiles(report: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    tiles = [
        (f"{report['features']:,}", "images", f"of {report['images']:,} in the inventory"),
        (f"{len(report['labels']):,}", "varieties", "one folder each"),
        (f"{report['components']:,}", "components", f"instead of {report['feature_count']:,} features"),
    ]
    if report["explained_variance"] is not None:
        tiles.append((f"{report['explained_variance']:.1%}", "of the variance", _asked(report)))
    accuracy = report["nearest_neighbors"]["accuracy_components"]
    if accuracy is not None:
        before = report["nearest_neighbors"]["accuracy_features"]
        tiles.append((f"{accuracy:.1%}", "told apart", f"{before:.1%} on all features"))
    return tiles


def _asked(report: Mapping[str, Any]) -> str:
    asked = report["asked"]
    if "variance" in asked:
        return f"at least {asked['variance']:.1%} was asked for"
    if "components" in asked:
        return f"{asked['components']:,} components were asked for"
    return f"in the space of run {escape(report['fitted']['run']) or 'before'}"


def _tile(number: str, what: str, detail: str) -> str:
    return f"<li><b>{number}</b><span>{what}</span><small>{detail}</small></li>"


def _variance_text(report: Mapping[str, Any]) -> str:
    curve, size = report["variance_curve"], report["components"]
    text = f"The first {size:,} principal components of the standardized features hold {curve[size - 1]:.2%} of their variance"
    text += f"; one fewer would hold {curve[size - 2]:.2%}. " if size > 1 else ". "
    if not report["asked"]:
        text = (
            f"Fitted on {report['fitted']['features']:,} images and kept since: on those, {text[0].lower()}{text[1:]}"
        )
    constant = report["constant_features"]
    if constant:
        have, are = ("feature has", "is") if constant == 1 else ("features have", "are")
        text += f"{constant:,} {have} the same value in every image and {are} left out."
    return escape(text)


def _neighbors(report: Mapping[str, Any]) -> str:
    found = report["nearest_neighbors"]
    if found["accuracy_components"] is None:
        return "<p>Too few images to compare.</p>"
    rows = [
        (f"all {report['feature_count']:,} features", found["accuracy_features"], ""),
        (f"{report['components']:,} components", found["accuracy_components"], "accent"),
        ("the first two components", found["accuracy_two_components"], ""),
        ("always the most frequent variety", found["largest_label_share"], "faint"),
    ]
    bars = "".join(
        f'<tr class="{kind}"><th>{name}</th><td><div style="width:{value:.2%}"></div></td><td>{value:.1%}</td></tr>'
        for name, value, kind in rows
    )
    return (
        f"<p>How often the {found['neighbors']} nearest other images are mostly of an image’s own variety "
        f"(leave-one-out on {found['sample']:,} images). Views of the same fruit count as other images, so this says "
        "what the reduction keeps, not how a classifier would do on fruit it has never seen.</p>"
        f'<table class="bars">{bars}</table>'
    )


def _sampled(report: Mapping[str, Any]) -> str:
    shown, all_of_them = report["nearest_neighbors"]["sample"], report["features"]
    return (
        ""
        if shown == all_of_them
        else f"Shown are {shown:,} of {all_of_them:,} images, chosen by a hash of their path."
    )


def _each_label(image: bytes | None) -> str:
    if image is None:
        return ""
    source = f"data:image/png;base64,{base64.b64encode(image).decode()}"
    return f'<h3>Each variety over the shadow of all</h3><img alt="The same plane once per variety" src="{source}">'


def _rejects(report: Mapping[str, Any]) -> str:
    if not report["rejects"]:
        return "<p>None: every image in the inventory has features.</p>"
    reasons = "".join(
        f"<li><b>{count:,}</b> {escape(reason)}</li>" for reason, count in report["rejects_by_reason"].items()
    )
    rows = "".join(
        f"<tr><td>{escape(row['reason'])}</td><td><code>{escape(row['path'])}</code></td><td>{escape(row['detail'])}</td></tr>"
        for row in report["reject_examples"]
    )
    return (
        f'<ul class="reasons">{reasons}</ul><div class="wide"><table class="rows"><thead><tr><th>Reason</th>'
        f"<th>For example</th><th>Detail</th></tr></thead><tbody>{rows}</tbody></table></div>"
    )


def _timings(timings: Mapping[str, float]) -> str:
    longest = max(timings.values(), default=0) or 1
    rows = "".join(
        f'<tr><th>{escape(phase)}</th><td><div style="width:{seconds / longest:.2%}"></div></td><td>{seconds:.1f} s</td></tr>'
        for phase, seconds in timings.items()
    )
    return f'<table class="bars">{rows}</table>'


def _facts(report: Mapping[str, Any]) -> str:
    sizes = {name.replace("_", " "): _size(name, value) for name, value in report["sizes"].items()}
    facts = {**sizes, **report["versions"]}
    return "".join(f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in facts.items())


def _size(name: str, value: int) -> str:
    if not name.endswith("bytes"):
        return f"{value:,}"
    for unit in ("B", "kB", "MB"):
        if value < 1000:
            return f"{value:,.3g} {unit}"
        value /= 1000  # type: ignore[assignment]
    return f"{value:,.1f} GB"


_STYLE = """
:root { --ink: #22303c; --soft: #5f6c78; --line: #e3e8ec; --paper: #fff; --back: #f5f3ef; --accent: #c2410c; }
* { box-sizing: border-box; }
body { margin: 0; background: var(--back); color: var(--ink); font: 16px/1.55 system-ui, "Segoe UI", Helvetica, Arial,
  "DejaVu Sans", sans-serif; }
main { max-width: 1080px; margin: 0 auto; padding: 40px 20px 64px; }
header h1 { margin: 0; font-size: 30px; line-height: 1.2; letter-spacing: -.01em; overflow-wrap: anywhere; }
header p { margin: 6px 0 0; color: var(--soft); overflow-wrap: anywhere; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(170px, 1fr)); gap: 12px; padding: 0;
  margin: 26px 0 12px; list-style: none; }
.tiles li { background: var(--paper); border: 1px solid var(--line); border-radius: 10px; padding: 14px 18px; }
.tiles b { display: block; font-size: 30px; line-height: 1.15; font-weight: 650; font-variant-numeric: tabular-nums; }
.tiles span { display: block; font-weight: 550; }
.tiles small { color: var(--soft); font-size: 13px; }
section { background: var(--paper); border: 1px solid var(--line); border-radius: 10px; padding: 22px 26px;
  margin-top: 12px; }
h2 { margin: 0 0 6px; font-size: 20px; }
h3 { margin: 22px 0 8px; font-size: 15px; }
section > p { margin: 0 0 14px; max-width: 76ch; color: var(--soft); }
svg, img { display: block; width: 100%; height: auto; }
svg text { font-family: system-ui, "Segoe UI", Helvetica, Arial, "DejaVu Sans", sans-serif !important; }
g[id^=name-] text { paint-order: stroke; stroke: #fff; stroke-width: 3px; stroke-linejoin: round; }
.pair { display: grid; grid-template-columns: 1fr 1fr; gap: 12px; }
.chips { display: flex; flex-wrap: wrap; gap: 5px; margin-top: 14px; }
.chips button { display: inline-flex; align-items: center; gap: 6px; border: 1px solid var(--line); border-radius: 99px;
  background: none; padding: 2px 11px 2px 8px; font: inherit; font-size: 13px; color: var(--ink); cursor: pointer; }
.chips button:hover, .chips button[aria-pressed=true] { border-color: var(--ink); }
.chips i { width: 10px; height: 10px; border-radius: 50%; }
.one g[id^=points-], .one g[id^=name-] { opacity: .12; }
.one g.chosen { opacity: 1; }
table { border-collapse: collapse; width: 100%; font-size: 14px; }
.bars th { text-align: left; font-weight: 450; padding: 5px 14px 5px 0; white-space: nowrap; width: 1%; }
.bars td:last-child { text-align: right; padding-left: 12px; width: 1%; white-space: nowrap;
  font-variant-numeric: tabular-nums; }
.bars div { height: 14px; border-radius: 3px; background: #6f93ad; min-width: 1px; }
.bars .accent div { background: var(--accent); }
.bars .faint div { background: #cfd6dc; }
.wide { overflow-x: auto; }
.rows th, .rows td { text-align: left; vertical-align: top; padding: 6px 14px 6px 0; border-top: 1px solid var(--line); }
.rows thead th { border-top: 0; color: var(--soft); font-weight: 500; }
.rows td:first-child { white-space: nowrap; }
code { font: 13px/1.5 ui-monospace, Menlo, Consolas, "DejaVu Sans Mono", monospace; overflow-wrap: anywhere; }
.reasons { display: flex; flex-wrap: wrap; gap: 6px 26px; padding: 0; margin: 0 0 12px; list-style: none; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 4px 16px; margin: 0; font-size: 14px; }
dt { color: var(--soft); }
dd { margin: 0; font-variant-numeric: tabular-nums; }
@media (max-width: 760px) { .pair { grid-template-columns: 1fr; } section { padding: 18px 16px; } }
@media print { body { background: none; } section, .tiles li { break-inside: avoid; } .chips { display: none; } }
"""

_SCRIPT = """
const plane = document.getElementById("plane"), chips = document.querySelectorAll(".chips button");
let kept = null;
function show(group) {
  plane.classList.toggle("one", group !== null);
  plane.querySelectorAll(".chosen").forEach(element => element.classList.remove("chosen"));
  for (const kind of ["points", "name"])
    document.getElementById(kind + "-" + group)?.classList.add("chosen");
}
chips.forEach(chip => {
  const group = chip.dataset.group;
  chip.addEventListener("mouseenter", () => show(group));
  chip.addEventListener("mouseleave", () => show(kept));
  chip.addEventListener("click", () => {
    kept = kept === group ? null : group;
    chips.forEach(other => other.setAttribute("aria-pressed", other.dataset.group === kept));
    show(kept);
  });
});
"""

_PAGE = Template("""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy"
  content="default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:">
<title>$title</title>
<style>$style</style>
</head>
<body>
<main>
<header><h1>$title</h1><p>$subtitle</p></header>
<ul class="tiles">$tiles</ul>

<section>
<h2>How much variance the components keep</h2>
<p>$variance_text</p>
$svg_variance
</section>

<section>
<h2>The images on the first two components</h2>
<p>One dot an image, one color a variety. Point at a name to bring its variety out, click to keep it. $sampled</p>
<div id="plane">$svg_components</div>
<div class="chips">$chips</div>
$each_label
</section>

<section>
<h2>What the short vectors still tell apart</h2>
$neighbors
</section>

<section>
<h2>Images per variety</h2>
<p>$label_count varieties; images without features in the second color.</p>
$svg_labels
</section>

<section>
<h2>Images without features</h2>
$rejects
</section>

<div class="pair">
<section><h2>Time</h2>$timings</section>
<section><h2>Sizes and versions</h2><dl>$facts</dl></section>
</div>
</main>
<script>$script</script>
</body>
</html>
""")
