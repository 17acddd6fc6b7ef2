// A panel: a head with a read-out, and curves in SVG.
//
// A series: {run, color, name, step: […], tokens: […], y: […], lo, hi, broken: [index…], dots: bool}. A panel: {id, title,
// note, series, format, smooth, zero, top, log, wide, height}; all panels share the x, the crosshair, the zoom and the
// smoothing of `view`, but for one that brings its own {axis, where} and series with an x (loss by position).

const SVG = 'http://www.w3.org/2000/svg';
const COLORS = 8;  // .run-0 … .run-7 of the style
const MOST_DOTS = 40;
const MARGIN = {left: 58, right: 14, top: 8, bottom: 24};

function svg(parent, tag, attributes = {}) {
  const node = document.createElementNS(SVG, tag);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  return parent.appendChild(node);
}
function html(parent, tag, attributes = {}, text = '') {
  const node = document.createElement(tag);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  node.textContent = text;
  return parent.appendChild(node);
}

// A line fitted to each point's neighbourhood, weights halving every `halfLife` points: unlike a mean it neither lags nor
// sags at the ends. What is missing weighs nothing and stays missing.
function smoothed(y, halfLife) {
  if (halfLife <= 0) return y;
  const keep = 0.5 ** (1 / halfLife);
  // moments(v)[m][i] = sum over j of keep^|j - i| (j - i)^m v[j], by a pass in either direction.
  const moments = values => {
    const sums = [0, 1, 2].map(() => new Float64Array(values.length));
    for (const direction of [1, -1]) {
      let m0 = 0, m1 = 0, m2 = 0;  // of the points behind
      for (let n = 0; n < values.length; ++n) {
        const i = direction > 0 ? n : values.length - 1 - n;
        [m0, m1, m2] = [keep * m0, keep * (m1 - direction * m0), keep * (m2 - 2 * direction * m1 + m0)];
        sums[0][i] += m0 + (direction > 0 ? values[i] : 0);
        sums[1][i] += m1;
        sums[2][i] += m2;
        m0 += values[i];
      }
    }
    return sums;
  };
  const [w0, w1, w2] = moments(y.map(v => v === null ? 0 : 1)), [t0, t1] = moments(y.map(v => v ?? 0));
  return y.map((v, i) => {
    const spread = w0[i] * w2[i] - w1[i] ** 2;
    return v === null ? null : spread > 1e-9 ? (w2[i] * t0[i] - w1[i] * t1[i]) / spread : t0[i] / w0[i];
  });
}

// Index of the item of sorted `x` that lies nearest to `at`.
function nearest(x, at) {
  let lo = 0, hi = x.length - 1;
  while (lo < hi) {
    const mid = (lo + hi) >> 1;
    if (x[mid] < at) lo = mid + 1; else hi = mid;
  }
  return lo > 0 && at - x[lo - 1] < x[lo] - at ? lo - 1 : lo;
}

class Panel {
  constructor(parent, spec, view) {
    Object.assign(this, {spec, view, log: false});
    const section = html(parent, 'section', {class: spec.wide ? 'panel wide' : 'panel'});
    const head = html(section, 'div', {class: 'panel-head'});
    html(head, 'h2', {}, spec.title);
    if (spec.note) html(head, 'small', {}, spec.note);
    if (spec.log) {
      const toggle = html(head, 'button', {type: 'button', 'aria-pressed': 'false', title: 'Logarithmic scale'}, 'log');
      toggle.onclick = () => {
        this.log = !this.log;
        toggle.setAttribute('aria-pressed', this.log);
        this.draw();
      };
    }
    this.readout = html(head, 'div', {class: 'readout'});
    this.svg = svg(section, 'svg', {height: spec.height, role: 'img', 'aria-label': spec.title});
    this.listen();
    new ResizeObserver(() => this.draw()).observe(this.svg);
  }

  xs(series) { return this.spec.axis ? series.x : series[this.view.x]; }
  shown() { return this.spec.series.filter(s => !this.view.hidden.has(s.run)); }

  // The range of x of everything shown, or what was zoomed to.
  domainX() {
    if (!this.spec.axis && this.view.zoom) return this.view.zoom;
    if (!this.spec.axis) return this.view.domain();
    const all = this.spec.series.flatMap(s => s.x);
    return [Math.min(...all), Math.max(...all)];
  }

  domainY(curves, [from, to]) {
    let lo = Infinity, hi = -Infinity;
    for (const c of curves) {
      c.x.forEach((x, i) => {
        if (x < from || x > to) return;
        for (const v of [c.y[i], c.lo?.[i], c.hi?.[i]]) {
          if (v === null || v === undefined || (this.log && v <= 0)) continue;
          lo = Math.min(lo, v);
          hi = Math.max(hi, v);
        }
      });
    }
    if (lo > hi) return this.log ? [0.1, 1] : [0, 1];
    if (this.log) return lo === hi ? [lo / 1.5, hi * 1.5] : [lo / (hi / lo) ** 0.04, hi * (hi / lo) ** 0.04];
    if (this.spec.zero) lo = Math.min(lo, 0);
    if (this.spec.top !== undefined) hi = Math.max(hi, this.spec.top);
    const pad = lo === hi ? Math.abs(lo) * 0.1 || 1 : (hi - lo) * 0.05;
    return [this.spec.zero && lo === 0 ? 0 : lo - pad, hi === this.spec.top ? hi : hi + pad];
  }

  draw() {
    const width = this.svg.clientWidth, height = this.spec.height;
    if (width === 0) return;
    this.svg.setAttribute('viewBox', `0 0 ${width} ${height}`);
    this.svg.replaceChildren();
    const [x0, x1] = this.domainX();
    const curves = this.shown().map(s => {
      const x = this.xs(s), visible = x.filter(v => v >= x0 && v <= x1).length;
      const halfLife = this.spec.smooth && !s.dots ? this.view.smooth ** 2 * visible / 5 : 0;
      return {...s, x, mean: smoothed(s.y, halfLife), smooth: halfLife > 0.5};
    });
    const [y0, y1] = this.domainY(curves, [x0, x1]);
    const box = {left: MARGIN.left, right: width - MARGIN.right, top: MARGIN.top, bottom: height - MARGIN.bottom};
    const scaleY = this.log ? v => Math.log(v / y0) / Math.log(y1 / y0) : v => (v - y0) / (y1 - y0);
    this.px = x => box.left + (x1 === x0 ? 0.5 : (x - x0) / (x1 - x0)) * (box.right - box.left);
    this.py = y => box.bottom - scaleY(y) * (box.bottom - box.top);
    this.invert = px => x0 + (px - box.left) / (box.right - box.left) * (x1 - x0);
    Object.assign(this, {curves, box});
    this.drawAxes([x0, x1], [y0, y1]);
    const clip = `clip-${this.spec.id}`;
    svg(svg(this.svg, 'clipPath', {id: clip}), 'rect',
        {x: box.left - 4, y: box.top - 4, width: box.right - box.left + 8, height: box.bottom - box.top + 8});
    const plot = svg(this.svg, 'g', {'clip-path': `url(#${clip})`});
    for (const c of curves) this.drawCurve(plot, c);
    this.overlay = svg(this.svg, 'g');
    this.point();
  }

  drawAxes([x0, x1], [y0, y1]) {
    const {left, right, top, bottom} = this.box;
    const count = Math.max(2, Math.round((bottom - top) / 42));
    const y = this.log ? logTicks(y0, y1, count) : linearTicks(y0, y1, count, this.spec.whole);
    for (const value of y.ticks) {
      const at = this.py(value);
      svg(this.svg, 'line', {class: 'grid', x1: left, x2: right, y1: at, y2: at});
      svg(this.svg, 'text', {x: left - 8, y: at + 3.5, 'text-anchor': 'end'}).textContent = y.label(value);
    }
    svg(this.svg, 'line', {class: 'axis', x1: left, x2: right, y1: bottom, y2: bottom});
    const many = Math.max(2, Math.floor((right - left) / 90));
    const x = this.spec.axis ? this.spec.axis(many) : x1 > x0 ? linearTicks(x0, x1, many, true) : {ticks: [x0], label: wholeCount};
    for (const value of x.ticks) {
      const at = this.px(value);
      svg(this.svg, 'line', {class: 'axis', x1: at, x2: at, y1: bottom, y2: bottom + 4});
      const anchor = at > right - 16 ? 'end' : 'middle';
      svg(this.svg, 'text', {x: anchor === 'end' ? right + 8 : at, y: bottom + 17, 'text-anchor': anchor}).textContent = x.label(value);
    }
  }

  // "M… L…", broken where values are missing. A value that stands alone between gaps becomes a dot.
  path(c, values) {
    let d = '';
    const lone = [];
    const has = i => i >= 0 && i < values.length && values[i] !== null && !(this.log && values[i] <= 0);
    for (let i = 0; i < values.length; ++i) {
      if (!has(i)) continue;
      d += `${has(i - 1) ? 'L' : 'M'}${this.px(c.x[i]).toFixed(1)} ${this.py(values[i]).toFixed(1)}`;
      if (!has(i - 1) && !has(i + 1)) lone.push(i);
    }
    return {d, lone};
  }

  drawCurve(plot, c) {
    const g = svg(plot, 'g', {class: `run-${c.color}`});
    const dashed = c.run >= COLORS ? ' dashed' : '';
    if (c.lo) {  // the extremes of each bin
      const edge = values => values.map((v, i) => v === null || (this.log && c.lo[i] <= 0) ? null : `${this.px(c.x[i]).toFixed(1)} ${this.py(v).toFixed(1)}`);
      const points = [...edge(c.lo), ...edge(c.hi).reverse()].filter(p => p !== null);
      svg(g, 'path', {class: 'band', d: `M${points.join('L')}Z`});
    } else if (c.smooth) {
      svg(g, 'path', {class: 'line raw', d: this.path(c, c.y).d});
    }
    const {d, lone} = this.path(c, c.mean);
    svg(g, 'path', {class: `line${c.dots ? ' eval' : ''}${dashed}`, d});
    const stride = Math.ceil(c.x.length / MOST_DOTS);
    const marked = c.dots ? c.x.map((_, i) => i).filter(i => i % stride === 0) : lone;
    for (const i of marked) {
      if (c.mean[i] === null || (this.log && c.mean[i] <= 0)) continue;
      svg(g, 'circle', {class: c.dots ? 'point ring' : 'point', cx: this.px(c.x[i]), cy: this.py(c.mean[i]), r: 2.5});
    }
    for (const i of c.broken ?? []) {
      const x = this.px(c.x[i]), y = this.box.bottom - 5;
      svg(g, 'path', {class: 'broken', d: `M${x - 3} ${y - 3}l6 6m0 -6l-6 6`}).appendChild(document.createElementNS(SVG, 'title'))
          .textContent = 'not a finite number';
    }
  }

  // The crosshair and the read-out: at the pointer's x, or of the last values.
  point() {
    const at = this.spec.axis ? this.own ?? null : this.view.at;
    this.overlay.replaceChildren();
    this.readout.replaceChildren();
    if (at !== null && at >= this.domainX()[0] && at <= this.domainX()[1]) {
      const x = this.px(at);
      svg(this.overlay, 'line', {class: 'cross', x1: x, x2: x, y1: this.box.top, y2: this.box.bottom});
    }
    if (this.spec.axis && at !== null) html(this.readout, 'small', {}, this.spec.where(at));
    for (const c of this.curves) {
      const i = at === null ? c.y.findLastIndex(v => v !== null) : nearest(c.x, at);
      const slack = 0.01 * (this.domainX()[1] - this.domainX()[0]);
      const covered = at === null || (at >= c.x[0] - slack && at <= c.x.at(-1) + slack);
      const value = c.y[i];
      const item = html(this.readout, 'span', {class: `value run-${c.color}`, title: `${this.view.names[c.run]}: ${c.name}`});
      html(item, 'span', {class: `swatch${c.dots ? ' ring' : c.run >= COLORS ? ' dashed' : ''}`});
      item.append(!covered ? '\u2013' : value === null ? 'not finite' : this.spec.format(value));
      if (at !== null && covered && value !== null && !(this.log && value <= 0)) {
        svg(this.overlay, 'circle', {class: `point run-${c.color}`, cx: this.px(c.x[i]), cy: this.py(value), r: 3});
      }
    }
  }

  listen() {
    const px = event => event.clientX - this.svg.getBoundingClientRect().left;
    const inside = x => Math.min(this.box.right, Math.max(this.box.left, x));
    let pressed = null;
    const move = at => {
      if (!this.spec.axis) return this.view.pointAt(at);
      this.own = at;
      this.point();
    };
    this.svg.onpointermove = event => {
      const x = inside(px(event));
      move(this.invert(x));
      if (pressed === null) return;
      svg(this.overlay, 'rect', {class: 'brush', x: Math.min(pressed, x), width: Math.abs(x - pressed), y: this.box.top,
                                 height: this.box.bottom - this.box.top});
    };
    this.svg.onpointerleave = () => { pressed = null; move(null); };
    if (this.spec.axis) return;
    this.svg.onpointerdown = event => { pressed = inside(px(event)); };
    this.svg.onpointerup = event => {
      const x = inside(px(event)), from = pressed;
      pressed = null;
      if (from !== null && Math.abs(x - from) > 6 && this.invert(x) !== this.invert(from)) this.view.zoomTo([this.invert(Math.min(x, from)), this.invert(Math.max(x, from))]);
    };
    this.svg.ondblclick = () => this.view.zoomTo(null);
  }
}
