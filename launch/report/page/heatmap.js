// Expert load: for each MoE layer a map of expert (down) by step (across), one pixel a bin, scaled up.
//
// Colour says how far a share departs from an even one: log2(share · experts), full colour at four times or a quarter.

const FULL = 2;  // doublings

const rgb = name => {
  const hex = getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  return [1, 3, 5].map(i => parseInt(hex.slice(i, i + 2), 16));
};
function heatScale() {
  const [under, even, over] = ['--heat-under', '--heat-even', '--heat-over'].map(rgb);
  return ratio => {
    const t = Math.max(-1, Math.min(1, Math.log2(ratio) / FULL));
    const end = t < 0 ? under : over;
    return even.map((c, i) => Math.round(c + (end[i] - c) * Math.abs(t)));
  };
}

// Fills a canvas of columns × rows pixels; color(column, row) is [r, g, b] or null.
function paint(canvas, columns, rows, color) {
  Object.assign(canvas, {width: columns, height: rows});
  const context = canvas.getContext('2d'), image = context.createImageData(columns, rows);
  for (let row = 0; row < rows; ++row) {
    for (let column = 0; column < columns; ++column) {
      const c = color(column, row);
      if (c) image.data.set([...c, 255], 4 * (row * columns + column));
    }
  }
  context.putImageData(image, 0, 0);
}

class HeatMaps {
  constructor(section, runs) {
    this.runs = runs.filter(r => r.experts);
    if (this.runs.length === 0) return;
    this.run = this.runs[0];
    section.hidden = false;
    const head = html(section, 'div', {class: 'heat-head'});
    html(head, 'h2', {}, 'Expert load by layer and step');
    if (this.runs.length > 1) {
      const select = html(head, 'select', {'aria-label': 'Run'});
      this.runs.forEach((r, i) => html(select, 'option', {value: i}, r.name));
      select.onchange = () => { this.run = this.runs[select.value]; this.draw(); };
    }
    const key = html(head, 'span', {class: 'heat-key'});
    html(key, 'span', {}, '¼ of an even share');
    this.key = html(key, 'canvas');
    html(key, 'span', {}, '4×');
    this.where = html(head, 'span', {class: 'where'});
    this.grid = html(section, 'div', {class: 'heat-grid'});
    matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => this.draw());
    this.draw();
  }

  draw() {
    const color = heatScale(), {step, first, last, layers, experts, load} = this.run.experts;
    paint(this.key, 120, 1, x => color(2 ** ((x / 119 * 2 - 1) * FULL)));
    this.grid.replaceChildren();
    for (let layer = 0; layer < layers; ++layer) {
      const share = (column, expert) => {
        const value = load[column][layer * experts + expert];
        return value === null ? null : value / 1e5;
      };
      const figure = html(this.grid, 'figure', {class: 'heat'});
      const caption = html(figure, 'figcaption');
      html(caption, 'span', {}, `MoE layer ${layer}`);
      html(caption, 'small', {}, `${experts} experts`);
      const canvas = html(figure, 'canvas');
      canvas.style.height = `${Math.min(256, Math.max(96, experts * 14))}px`;
      paint(canvas, step.length, experts, (x, y) => share(x, y) === null ? null : color(share(x, y) * experts));
      const ends = html(figure, 'div', {class: 'ends'});
      html(ends, 'span', {}, wholeCount(first));
      html(ends, 'span', {}, wholeCount(last));
      canvas.onpointermove = event => {
        const box = canvas.getBoundingClientRect();
        const x = Math.min(step.length - 1, Math.floor((event.clientX - box.left) / box.width * step.length));
        const y = Math.min(experts - 1, Math.floor((event.clientY - box.top) / box.height * experts));
        if (x < 0 || y < 0) return;
        const s = share(x, y);
        this.where.textContent = `layer ${layer}, expert ${y}, step ${wholeCount(step[x])}: ` +
            (s === null ? 'not finite' : `${(100 * s).toFixed(2)} % of slots, ${(s * experts).toFixed(2)} × even`);
      };
      canvas.onpointerleave = () => { this.where.textContent = ''; };
    }
  }
}
