// Assembles the page: reads the data, makes the panels that have any, and the controls they share.

const runs = JSON.parse(document.getElementById('data').textContent);

// What all panels over steps share.
const view = {
  names: runs.map(r => r.name),
  x: 'step',          // or 'tokens'
  smooth: 0.3,        // 0 … 1
  hidden: new Set(),  // runs
  zoom: null,         // [x0, x1]
  at: null,           // x under the pointer
  panels: [],
  domain() {
    let lo = Infinity, hi = -Infinity;
    runs.forEach((r, i) => {
      if (this.hidden.has(i)) return;
      for (const x of [r.steps[this.x], r.evals[this.x]]) {
        if (x.length > 0) { lo = Math.min(lo, x[0]); hi = Math.max(hi, x.at(-1)); }
      }
    });
    return lo > hi ? [0, 1] : [lo, hi];
  },
  draw() { for (const panel of this.panels) panel.draw(); },
  zoomTo(range) { this.zoom = range; this.changed?.(); this.draw(); },
  pointAt(x) {
    this.at = x;
    for (const panel of this.panels) if (!panel.spec.axis) panel.point();
    this.changed?.();
  },
};

// A run's color; with one run alone, what is held out gets another than what is trained on.
const colorOf = (run, heldOut) => runs.length === 1 && heldOut ? 1 : run % COLORS;

// The curve `key` of every run that has it. Held-out curves have dots.
function series(group, key, name, dots = false, scale = 1) {
  return runs.flatMap((r, run) => {
    const c = r[group][key];
    if (!c) return [];
    const scaled = values => values?.map(v => v === null ? null : v / scale);
    return [{run, color: colorOf(run, dots), name, dots, step: r[group].step, tokens: r[group].tokens, broken: c.broken,
             y: scaled(c.y), lo: scaled(c.lo), hi: scaled(c.hi)}];
  });
}

function memoryPanel() {
  const most = Math.max(0, ...runs.flatMap(r => r.steps.memory_bytes?.y ?? []));
  const [unit, size] = most >= 2 ** 30 ? ['GiB', 2 ** 30] : ['MiB', 2 ** 20];
  return {id: 'memory', title: 'Memory', note: `resident, ${unit}`, series: series('steps', 'memory_bytes', 'memory', false, size),
          format: v => v.toPrecision(3), zero: true};
}

// Buckets double in width, so they stand at even distances: position p at log2(p) + 1, position 0 at 0.
function positionPanel() {
  const place = p => p === 0 ? 0 : Math.log2(p) + 1;
  const withIt = runs.flatMap((r, run) => r.position ? [{run, ...r.position}] : []);
  const all = [...new Set(withIt.flatMap(p => p.from))].sort((a, b) => a - b);
  const label = p => p < 1024 ? String(p) : p < 2 ** 20 ? `${+(p / 1024).toFixed(1)}Ki` : `${+(p / 2 ** 20).toFixed(1)}Mi`;
  const back = x => all[nearest(all.map(place), x)];
  return {
    id: 'position', title: 'Held-out loss by position',
    note: withIt.length === 1 ? `nats, evaluation at step ${wholeCount(withIt[0].step)}` : 'nats, latest evaluation of each run',
    series: withIt.map(p => ({run: p.run, color: colorOf(p.run, true), name: `step ${wholeCount(p.step)}`, dots: true, x: p.from.map(place), y: p.loss})),
    format: decimals(4), log: true,
    axis: count => {
      const stride = Math.ceil(all.length / Math.min(count + 1, 12));
      return {ticks: all.filter((_, i) => i % stride === 0).map(place), label: x => label(back(x))};
    },
    where: x => `position ${wholeCount(back(x))}`,
  };
}

const specs = [
  {id: 'loss', title: 'Loss', note: runs.some(r => r.evals.loss) ? 'nats; ● training, ○ held-out' : 'nats', wide: true, height: 340, format: decimals(4), smooth: true, log: true,
   series: [...series('steps', 'loss', 'training'), ...series('evals', 'loss', 'held-out', true)]},
  {id: 'bpb', title: 'Bits per byte', note: 'held-out', series: series('evals', 'bits_per_byte', 'bits per byte', true), format: decimals(4), log: true},
  positionPanel(),
  {id: 'norm', title: 'Gradient norm', note: 'before clipping', series: series('steps', 'grad_norm', 'gradient norm'), format: significant, smooth: true, log: true},
  {id: 'lr', title: 'Learning rate', series: series('steps', 'lr', 'learning rate'), format: scientific, zero: true, log: true},
  {id: 'speed', title: 'Throughput', note: 'tokens/s', series: series('steps', 'tokens_per_second', 'tokens/s'), format: shortCount, smooth: true, zero: true},
  memoryPanel(),
  {id: 'aux', title: 'Load-balancing loss', note: 'summed over layers', series: series('steps', 'aux_loss', 'auxiliary loss'), format: significant, smooth: true, log: true},
  {id: 'z', title: 'Router z-loss', note: 'summed over layers', series: series('steps', 'z_loss', 'z-loss'), format: significant, smooth: true, log: true},
  {id: 'entropy', title: 'Expert load entropy', note: '1 is even; mean over layers', series: series('steps', 'entropy', 'entropy'), format: decimals(3), top: 1, smooth: true},
  {id: 'starved', title: 'Starved experts', note: 'below a tenth of an even share, all layers', series: series('steps', 'starved', 'experts'), format: v => String(+v.toFixed(1)), zero: true, top: 1, whole: true},
];

function button(parent, text, pressed, onclick, attributes = {}) {
  const node = html(parent, 'button', {type: 'button', 'aria-pressed': pressed, ...attributes}, text);
  node.onclick = () => onclick(node);
  return node;
}

function makeControls() {
  const bar = document.getElementById('controls');
  bar.hidden = false;
  if (runs.length > 1) {
    const legend = html(bar, 'div', {class: 'group'});
    runs.forEach((r, i) => {
      const toggle = button(legend, '', true, node => {
        if (!view.hidden.delete(i)) view.hidden.add(i);
        node.setAttribute('aria-pressed', !view.hidden.has(i));
        view.draw();
      }, {class: `run run-${i % COLORS}`, title: 'Show or hide'});
      html(toggle, 'span', {class: i >= COLORS ? 'swatch dashed' : 'swatch'});
      toggle.append(r.name);
    });
  }
  if (runs.some(r => r.steps.tokens.some(t => t > 0))) {
    const axis = html(bar, 'div', {class: 'group', role: 'group', 'aria-label': 'Horizontal axis'});
    const choices = ['step', 'tokens'].map(x => button(axis, x === 'step' ? 'steps' : x, x === view.x, () => {
      view.x = x;
      choices.forEach((b, i) => b.setAttribute('aria-pressed', ['step', 'tokens'][i] === x));
      view.zoomTo(null);
    }));
  }
  const smooth = html(html(bar, 'label', {class: 'group'}, 'smoothing'), 'input', {type: 'range', min: 0, max: 1, step: 0.02, value: view.smooth});
  smooth.oninput = () => { view.smooth = +smooth.value; view.draw(); };
  const reset = button(bar, 'whole run', false, () => view.zoomTo(null));
  const where = html(bar, 'span', {class: 'where'});
  view.changed = () => {
    reset.hidden = view.zoom === null;
    where.textContent = view.at !== null ? `${view.x} ${view.x === 'step' ? wholeCount(view.at) : shortCount(view.at)}` : 'drag to zoom';
  };
  view.changed();
}

makeControls();
for (const spec of specs) {
  if (spec.series.length > 0) view.panels.push(new Panel(document.getElementById('panels'), {height: 190, ...spec}, view));
}
new HeatMaps(document.getElementById('experts'), runs);
