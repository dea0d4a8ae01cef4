"""How pages look; every pair of ink and ground has a contrast of at least 4.5 (WCAG 2.2 AA)."""

from __future__ import annotations

STYLE = """
:root {
  color-scheme: light dark;
  --ground: #f6f5f2; --card: #ffffff; --line: #dedbd4; --ink: #1d1c1a; --soft: #5d5a54;
  --accent: #0b5c4d; --accent-ground: #dcefe9; --warn: #7a3e00; --warn-ground: #fdf0dc;
  --stop: #9b1c1c; --track: #e7e4dd; --shadow: 0 1px 2px rgb(0 0 0 / .06), 0 4px 14px rgb(0 0 0 / .05);
}
@media (prefers-color-scheme: dark) {
  :root {
    --ground: #151514; --card: #20201e; --line: #3a3935; --ink: #f0eee9; --soft: #b3afa6;
    --accent: #7fd6bf; --accent-ground: #17372f; --warn: #ffc877; --warn-ground: #3a2a10;
    --stop: #ff9d97; --track: #35342f; --shadow: none;
  }
}
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; }
body {
  margin: 0; background: var(--ground); color: var(--ink);
  font: 1rem/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", sans-serif;
  overflow-wrap: anywhere;
}
header, main, footer { max-width: 84rem; margin: 0 auto; padding: 0 clamp(1rem, 4vw, 2.5rem); }
header { padding-top: clamp(1.25rem, 4vw, 2.5rem); }
footer { padding-top: 1.5rem; padding-bottom: 2.5rem; color: var(--soft); font-size: .875rem; }
h1 {
  font-size: clamp(1.5rem, 1.1rem + 1.8vw, 2.25rem); line-height: 1.2; margin: 0 0 .25rem;
  letter-spacing: -.015em;
}
h2 { font-size: 1.1875rem; line-height: 1.3; margin: 0; }
h3 { font-size: .9688rem; line-height: 1.35; margin: 0; font-weight: 600; }
p { margin: .25rem 0; }
.over { color: var(--soft); font-size: .875rem; font-weight: 600; margin: 0 0 .25rem; }
.soft { color: var(--soft); }
code, .id {
  font: .8125rem/1.4 ui-monospace, SFMono-Regular, Consolas, "Noto Sans Mono", monospace;
}
:focus-visible { outline: 3px solid var(--accent); outline-offset: 2px; border-radius: .25rem; }
.skip { position: absolute; left: -99rem; }
.skip:focus {
  left: 1rem; top: 1rem; background: var(--card); color: var(--accent); padding: .5rem 1rem;
  z-index: 2;
}

.unseen {
  position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%);
  white-space: nowrap;
}

.asked {
  display: flex; flex-wrap: wrap; align-items: center; gap: .75rem 1.5rem; margin: 1.25rem 0 0;
  padding: 1rem 1.25rem; background: var(--card); border: 1px solid var(--line); border-radius: .875rem;
}
.asked .photo { flex: none; width: 6.5rem; border: 1px solid var(--line); border-radius: .5rem; }
.asked dl { flex: 1 1 16rem; }
dl {
  display: grid; grid-template-columns: max-content minmax(0, 1fr); gap: .125rem .75rem; margin: 0;
  font-size: .875rem;
}
dt { color: var(--soft); }
dd { margin: 0; }

.notice {
  margin: 1rem 0 0; padding: .75rem 1.25rem; border-radius: .875rem; background: var(--warn-ground);
  color: var(--warn);
}
.notice strong { display: block; }
.state { margin-top: 1rem; }

ol.grid {
  list-style: none; margin: 1.5rem 0 0; padding: 0; display: grid; gap: clamp(.75rem, 1.6vw, 1.25rem);
  grid-template-columns: repeat(auto-fill, minmax(min(100%, 15rem), 1fr));
}
.card {
  display: flex; flex-direction: column; height: 100%; overflow: hidden;
  background: var(--card); border: 1px solid var(--line); border-radius: .875rem; box-shadow: var(--shadow);
}
.frame { position: relative; border-bottom: 1px solid var(--line); }
.photo {
  aspect-ratio: 1; background: #ffffff; display: grid; place-items: center; overflow: hidden;
}
.photo img { width: 100%; height: 100%; object-fit: contain; display: block; }
.photo.none {
  background: var(--track); color: var(--soft); font-size: .875rem; text-align: center;
  padding: 1rem;
}
.rank {
  position: absolute; left: .625rem; top: .625rem; min-width: 2rem; padding: .125rem .5rem;
  text-align: center;
  background: var(--card); color: var(--ink); border: 1px solid var(--line); border-radius: 1rem;
  font-size: .875rem; font-weight: 600; font-variant-numeric: tabular-nums;
}
.body { display: flex; flex-direction: column; gap: .5rem; padding: .875rem 1rem 1rem; flex: 1; }
.title {
  display: -webkit-box; -webkit-box-orient: vertical; -webkit-line-clamp: 3; overflow: hidden;
}
.score { font-size: .875rem; font-variant-numeric: tabular-nums; }
.score strong { font-size: 1rem; }
.bar {
  display: block; width: 100%; height: .375rem; margin-top: .25rem; border-radius: .25rem;
  background: var(--track); overflow: hidden;
}
.bar rect { fill: var(--accent); }
.views {
  display: flex; flex-wrap: wrap; gap: .25rem; margin: 0; padding: 0; list-style: none;
  font-size: .8125rem; font-variant-numeric: tabular-nums;
}
.views li {
  padding: 0 .5rem; border-radius: 1rem; border: 1px solid var(--line); color: var(--soft);
}
.views li.best {
  background: var(--accent-ground); border-color: transparent; color: var(--accent);
  font-weight: 600;
}
.body .id { margin-top: auto; color: var(--soft); padding-top: .25rem; }
.empty {
  margin: 2rem 0; padding: 2.5rem 1.5rem; text-align: center; background: var(--card);
  border: 1px dashed var(--line); border-radius: .875rem;
}

.facts {
  list-style: none; display: flex; flex-wrap: wrap; gap: .75rem; margin: 1.25rem 0 0; padding: 0;
}
.facts li {
  flex: 1 1 9rem; padding: .75rem 1rem; background: var(--card); border: 1px solid var(--line);
  border-radius: .875rem; font-size: .875rem; color: var(--soft);
}
.facts strong {
  display: block; font-size: 1.5rem; line-height: 1.25; color: var(--ink);
  font-variant-numeric: tabular-nums; letter-spacing: -.01em;
}
.group {
  margin-top: 1.5rem; padding: 1.125rem 1.25rem 1.25rem; background: var(--card);
  border: 1px solid var(--line); border-radius: .875rem; box-shadow: var(--shadow);
}
.part { margin: 2.5rem 0 0; font-size: 1.5rem; letter-spacing: -.01em; }
.strip {
  list-style: none; display: flex; gap: .875rem; margin: .875rem 0 0; padding: .25rem .25rem .75rem;
  overflow-x: auto;
}
.strip > li {
  flex: 0 0 11.5rem; display: flex; flex-direction: column; gap: .375rem; font-size: .875rem;
}
.strip.wide > li { flex-basis: min(20rem, 47%); }
.strip .photo { width: 100%; border: 1px solid var(--line); border-radius: .625rem; }
.strip .kept .photo { border: 3px solid var(--accent); }
.tag {
  align-self: flex-start; padding: .0625rem .5625rem; border-radius: 1rem; font-size: .8125rem;
  font-weight: 600; border: 1px solid var(--line); color: var(--soft);
}
.kept .tag { background: var(--accent-ground); border-color: transparent; color: var(--accent); }
.marked .tag { background: var(--warn-ground); border-color: transparent; color: var(--warn); }
.strip dl { font-size: .8125rem; }
.strip .id { color: var(--soft); }
details { margin-top: .75rem; font-size: .9375rem; }
summary { cursor: pointer; color: var(--accent); font-weight: 600; padding: .25rem 0; }
.scroll { overflow-x: auto; }
table {
  border-collapse: collapse; width: 100%; font-size: .875rem; font-variant-numeric: tabular-nums;
}
th, td {
  text-align: left; vertical-align: top; padding: .375rem .75rem .375rem 0;
  border-top: 1px solid var(--line); min-width: 7rem;
}
th { color: var(--soft); font-weight: 600; }
thead th { border-top: 0; }

@media (max-width: 40rem) {
  ol.grid { grid-template-columns: repeat(2, minmax(0, 1fr)); }
  .card .body { padding: .75rem; }
  .facts li { flex-basis: 40%; }
  .card dl { display: block; }
  .card dt { font-size: .75rem; }
  .strip:not(.wide) > li { flex-basis: 9.5rem; }
  .group { padding: 1rem; }
}
@media (forced-colors: active) { .bar rect { fill: CanvasText; } .bar { border: 1px solid CanvasText; } }
@media print {
  :root { --ground: #fff; --shadow: none; }
  .card, .group, .strip > li { break-inside: avoid; }
  .strip { flex-wrap: wrap; overflow: visible; }
}
"""
