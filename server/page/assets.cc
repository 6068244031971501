// The style sheet, for light and dark, and the script that fetches a page again and exchanges what has changed.
#include "server/page/views.h"

namespace qzo::server {

const char kStyleSheet[] = R"css(:root {
  color-scheme: light dark;
  --text: #1b1f24; --soft: #57606a; --page: #ffffff; --panel: #f6f8fa; --line: #d0d7de;
  --link: #0550ae; --training: #0969da; --validation: #bc4c00; --good: #116329; --bad: #a40e26;
}
@media (prefers-color-scheme: dark) {
  :root {
    --text: #e6edf3; --soft: #9198a1; --page: #0d1117; --panel: #161b22; --line: #30363d;
    --link: #79c0ff; --training: #58a6ff; --validation: #ffa657; --good: #56d364; --bad: #ff7b72;
  }
}
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--text); font: 15px/1.5 system-ui, sans-serif; }
header, main { max-width: 76rem; margin: 0 auto; padding: 0.75rem 1.25rem; }
header { display: flex; gap: 1.25rem; align-items: baseline; border-bottom: 1px solid var(--line); }
header form { margin-left: auto; }
h1 { font-size: 1.45rem; margin: 0.75rem 0 0.25rem; }
h2 { font-size: 1.1rem; margin: 1.5rem 0 0.5rem; }
a { color: var(--link); }
nav a { margin-right: 0.75rem; }
a.brand { font-weight: 700; color: var(--text); text-decoration: none; }
.skip { position: absolute; left: -99rem; }
.skip:focus { left: 1rem; top: 0.5rem; background: var(--page); padding: 0.25rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
caption { text-align: left; color: var(--soft); padding-bottom: 0.25rem; }
th, td { text-align: left; padding: 0.35rem 0.9rem 0.35rem 0; border-bottom: 1px solid var(--line); vertical-align: top; }
th { color: var(--soft); font-weight: 600; white-space: nowrap; }
th[scope="row"] { white-space: normal; overflow-wrap: anywhere; max-width: 22rem; }
th span { font-weight: 400; }
td.number, th.number { text-align: right; }
dl { display: grid; grid-template-columns: repeat(auto-fill, minmax(13rem, 1fr)); gap: 0.75rem; margin: 0.75rem 0; }
dl div { background: var(--panel); border: 1px solid var(--line); border-radius: 6px; padding: 0.4rem 0.75rem; }
dt { color: var(--soft); font-size: 0.85rem; }
dd { margin: 0; overflow-wrap: anywhere; }
.state { font-weight: 600; }
.SUCCEEDED, .READY { color: var(--good); }
.FAILED, .ERROR { color: var(--bad); }
.soft { color: var(--soft); }
.problem { border-left: 4px solid var(--bad); padding: 0.4rem 0.75rem; background: var(--panel); overflow-wrap: anywhere; }
progress { width: 8rem; vertical-align: middle; }
figure { margin: 0.5rem 0; }
figcaption { color: var(--soft); font-size: 0.9rem; }
svg.curve { width: 100%; max-width: 60rem; height: auto; background: var(--panel); border: 1px solid var(--line); border-radius: 6px; }
svg.sparkline { width: 120px; height: 24px; display: block; }
svg text { fill: var(--soft); font: 11px system-ui, sans-serif; }
svg .grid { stroke: var(--line); }
polyline { fill: none; stroke-width: 1.75; stroke-linejoin: round; vector-effect: non-scaling-stroke; }
polyline.training { stroke: var(--training); }
polyline.validation { stroke: var(--validation); }
circle.validation { fill: var(--validation); }
span.training { color: var(--training); }
span.validation { color: var(--validation); }
input, button { font: inherit; color: inherit; background: var(--panel); border: 1px solid var(--line); border-radius: 6px; padding: 0.3rem 0.7rem; }
input { width: min(40rem, 100%); }
)css";

const char kRefreshScript[] = R"js("use strict";
// Exchanges the parts marked data-live for those of a fresh copy of this page; what holds the focus stays.
async function refresh() {
  if (document.hidden) return;
  const answer = await fetch(location.href, {cache: "no-store"}).catch(() => null);
  if (answer === null || answer.status === 429) return;
  if (answer.status === 401) return location.reload();
  const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
  for (const part of document.querySelectorAll("[data-live]")) {
    const next = fresh.getElementById(part.id);
    if (next === null || part.contains(document.activeElement) || part.innerHTML === next.innerHTML) continue;
    part.replaceChildren(...next.childNodes);
  }
}
if (document.querySelector("[data-live]")) setInterval(refresh, 3000);
)js";

}  // namespace qzo::server
