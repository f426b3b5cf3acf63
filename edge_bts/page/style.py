"""The style sheet of a page: light, dark, phone and paper."""

__all__ = ["STYLE"]

_LIGHT = """
--paper:#fcfcfb;--card:#f3f2ee;--ink:#14140f;--soft:#5a5953;--grid:#e2e1da;--axis:#a9a79e;
--one:#2a78d6;--two:#d95f28;--three:#1a9a6b;--warn:#8a5a00;--warnpaper:#fdf3dc
"""
_DARK = """
--paper:#171716;--card:#222220;--ink:#f4f4f0;--soft:#b9b8ae;--grid:#32322f;--axis:#6e6d66;
--one:#4b94ea;--two:#ea7a44;--three:#2bb583;--warn:#f2c879;--warnpaper:#352a12
"""

STYLE = (
    f":root{{color-scheme:light dark;{_LIGHT}}}"
    f"@media screen and (prefers-color-scheme:dark){{:root{{{_DARK}}}}}"
    """
*{box-sizing:border-box}
body{margin:0;background:var(--paper);color:var(--ink);
 font:15px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,sans-serif}
main{max-width:1060px;margin:0 auto;padding:28px 20px 60px}
h1{font-size:27px;line-height:1.2;margin:0 0 4px;overflow-wrap:anywhere}
h2{font-size:21px;margin:44px 0 4px;padding-top:14px;border-top:1px solid var(--grid)}
h3{font-size:15px;margin:26px 0 8px}
p{margin:6px 0}.soft,figcaption,.unit{color:var(--soft)}
a{color:var(--one)}
.warn{background:var(--warnpaper);color:var(--warn);border-left:3px solid;border-radius:4px;
 padding:8px 12px;margin:12px 0}
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(145px,1fr));gap:10px;margin:16px 0}
.tile{background:var(--card);border-radius:8px;padding:10px 14px}
.tile b{display:block;font-size:26px;line-height:1.25;font-weight:600}
.tile span{display:block;font-size:13px;color:var(--soft)}
.wide{overflow-x:auto}
summary{cursor:pointer;margin:10px 0}
table{border-collapse:collapse;font-size:14px;font-variant-numeric:tabular-nums;width:100%}
th,td{text-align:right;padding:5px 10px;border-bottom:1px solid var(--grid);white-space:nowrap;
 vertical-align:top}
th{font-weight:600}thead th{color:var(--soft);font-weight:500}
th:first-child,td:first-child{text-align:left}tr.next>*{border-top:1px solid var(--axis)}
.interval{display:block;color:var(--soft);font-size:12px;line-height:1.2}
table.facts{width:auto}table.facts td{text-align:left;white-space:normal;overflow-wrap:anywhere}
table.facts th{text-align:left}
.charts{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,400px),1fr));
 gap:8px 28px}
.charts.few{grid-template-columns:repeat(auto-fill,minmax(min(100%,400px),1fr))}
.chart{margin:0}.chart h3{margin:18px 0 2px}.chart p{font-size:13px;color:var(--soft)}
.plot{width:100%;display:block}
.plot text{font:11px system-ui,sans-serif;fill:var(--soft)}
.plot text.label,.plot text.note{fill:var(--ink)}
.plot .note{paint-order:stroke;stroke:var(--paper);stroke-width:3px;stroke-linejoin:round}
.end{text-anchor:end}.mid{text-anchor:middle}
.grid{stroke:var(--grid)}.axis{stroke:var(--axis)}
.line{stroke:var(--ink);stroke-width:1.4}.dash{stroke-dasharray:5 4}
.one{fill:var(--one);background:var(--one)}.two{fill:var(--two);background:var(--two)}
.three{fill:var(--three);background:var(--three)}
.curve{fill:none!important;stroke-width:1.8;stroke-linejoin:round}
.curve.one{stroke:var(--one)}.curve.two{stroke:var(--two)}.curve.three{stroke:var(--three)}
.curve.d1{stroke-dasharray:7 3}.curve.d2{stroke-dasharray:2 3}
.dot{stroke:var(--paper);stroke-width:.8;fill-opacity:.8}
.legend{display:flex;flex-wrap:wrap;gap:4px 16px;font-size:13px;color:var(--soft)}
.points{columns:230px;font-size:13px;color:var(--soft);margin:4px 0;padding-left:24px}
.key{display:inline-block;width:10px;height:10px;border-radius:50%;margin-right:6px}
.key.stroke{width:24px;height:8px;border-radius:0;background:none;margin-right:6px}
.key.diamond{border-radius:0;transform:rotate(45deg) scale(.85)}
.key.truth,.key.found{width:22px;height:0;border-radius:0;border-top:3px solid #ffb000;
 vertical-align:middle}.key.truth{border-top:3px dashed #12b5c9}
.pictures{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,260px),1fr));gap:14px}
.picture{margin:0;min-width:0}
.picture svg{width:100%;display:block;border-radius:6px;background:#000;aspect-ratio:4/3}
.picture path{fill:none;stroke-linejoin:round;stroke-linecap:round;
 vector-effect:non-scaling-stroke}
.halo{stroke:#000;stroke-opacity:.55;stroke-width:3.4}
.truth{stroke:#35d6ea;stroke-width:1.7;stroke-dasharray:6 4}.found{stroke:#ffb000;stroke-width:1.7}
figcaption{font-size:13px;padding-top:4px;overflow-wrap:anywhere}
figcaption b{display:block;color:var(--ink);font-weight:600}
dl{display:grid;grid-template-columns:minmax(110px,190px) 1fr;gap:5px 16px;font-size:14px}
dt{font-weight:600}dd{margin:0;color:var(--soft)}
@media(max-width:560px){main{padding:18px 14px 40px}dl{grid-template-columns:1fr;gap:0}
 dd{margin-bottom:8px}.tiles{grid-template-columns:1fr 1fr}.tile b{font-size:22px}}
@media print{body{font-size:11px;-webkit-print-color-adjust:exact;print-color-adjust:exact}
 main{max-width:none;padding:0}.chart,.picture,.tile,tr{break-inside:avoid}
 h2,h3{break-after:avoid}.charts{grid-template-columns:1fr 1fr}
 .pictures{grid-template-columns:repeat(3,1fr)}
 table{font-size:9.5px}th,td{padding:3px 5px}.interval{font-size:8.5px}}
"""
)
