"""How the reference page looks: contents at the side where there is room, above the rest where there is none."""

STYLE = """
:root { color-scheme: light dark; --text: #1c2330; --soft: #5b6575; --line: #d9dee6; --page: #fff; --back: #f5f7fa;
        --link: #0b57c2; --get: #0b57c2; --post: #176d3a; }
@media (prefers-color-scheme: dark) {
  :root { --text: #e4e8ee; --soft: #a0aaba; --line: #353d4a; --page: #14181f; --back: #1c222c;
          --link: #7db3ff; --get: #7db3ff; --post: #6fd39a; }
}
* { box-sizing: border-box; }
html { scroll-padding-top: 1rem; }
body { margin: 0; background: var(--page); color: var(--text); font: 1rem/1.55 system-ui, sans-serif;
       overflow-wrap: break-word; }
header, main, nav { padding: 1.25rem; max-width: 56rem; min-width: 0; }
h1 { font-size: 1.75rem; line-height: 1.2; margin: 0.5rem 0 1rem; }
h1 small { color: var(--soft); font-size: 1rem; font-weight: 400; }
h2 { border-bottom: 1px solid var(--line); font-size: 1.35rem; line-height: 1.2; margin: 2.5rem 0 0.5rem;
     padding-bottom: 0.35rem; text-transform: capitalize; }
h3 { font-size: 1rem; margin: 0; }
a { color: var(--link); }
code, pre { font-family: ui-monospace, monospace; font-size: 0.875em; }
pre { background: var(--back); border: 1px solid var(--line); border-radius: 6px; line-height: 1.45; margin: 0.75rem 0;
      overflow-x: auto; padding: 0.7rem 0.85rem; }
.curl { overflow-wrap: anywhere; white-space: pre-wrap; }
table { border-collapse: collapse; margin: 0.75rem 0; width: 100%; }
td, th { border-bottom: 1px solid var(--line); padding: 0.35rem 0.75rem 0.35rem 0; text-align: left;
         vertical-align: top; }
th { color: var(--soft); font-size: 0.875rem; font-weight: 600; }
td:first-child { white-space: nowrap; }
details { margin: 0.25rem 0; }
summary { cursor: pointer; padding: 0.2rem 0; }
section { border: 1px solid var(--line); border-radius: 8px; margin: 1rem 0; padding: 1rem 1.1rem 0.75rem; }
section:target { border-color: var(--link); }
section h3 a { color: inherit; text-decoration: none; }
.call { overflow-wrap: anywhere; }
.method { color: var(--post); display: inline-block; font-weight: 700; min-width: 2.9rem; }
.get { color: var(--get); }
nav { background: var(--back); border-block: 1px solid var(--line); font-size: 0.875rem; max-width: none; }
nav h2 { border: 0; color: var(--soft); font-size: 0.875rem; margin: 0.9rem 0 0.1rem; padding: 0; }
nav h2:first-child { margin-top: 0; }
nav ul { list-style: none; margin: 0; padding: 0; }
nav a { border-radius: 4px; color: inherit; display: block; padding: 0.22rem 0.3rem; text-decoration: none; }
nav a:hover, nav a:focus-visible { background: var(--line); }
@media (min-width: 62rem) {
  body { display: grid; grid-template-columns: 23rem minmax(0, 1fr); grid-template-rows: auto 1fr; }
  nav { border: 0; border-right: 1px solid var(--line); grid-column: 1; grid-row: 1 / span 2; height: 100vh;
        overflow-y: auto; position: sticky; top: 0; }
  header, main { grid-column: 2; padding-inline: 2.5rem; }
  header { padding-bottom: 0; }
  main { padding-top: 0; }
}
"""
