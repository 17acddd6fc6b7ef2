// Numbers as text, and the ticks of axes.

const MINUS = '\u2212';
const signed = text => text.replace('-', MINUS);

const shortCount = value => {
  for (const [unit, size] of [['T', 1e12], ['G', 1e9], ['M', 1e6], ['k', 1e3]]) {
    if (Math.abs(value) >= size) return signed(+(value / size).toPrecision(4) + unit);
  }
  return signed(String(+value.toPrecision(4)));
};
const wholeCount = value => signed(Math.round(value).toLocaleString('en', {useGrouping: Math.abs(value) >= 1e4}));
const scientific = value => value === 0 ? '0' : signed((+value.toPrecision(3)).toExponential().replace('+', ''));
const decimals = digits => value => signed(value.toFixed(digits));
// Four digits, whatever the magnitude.
const significant = value => {
  const size = Math.abs(value);
  return size !== 0 && (size < 1e-3 || size >= 1e5) ? scientific(value) : signed(value.toPrecision(4));
};

// About `count` ticks at 1, 2 or 5 times a power of ten.
function linearTicks(lo, hi, count, whole = false) {
  const rough = (hi - lo) / Math.max(1, count);
  const power = 10 ** Math.floor(Math.log10(rough));
  let step = power * [1, 2, 5, 10].find(m => m * power >= rough * 0.75);
  if (whole) step = Math.max(1, step);
  const ticks = [];
  for (let i = Math.ceil(lo / step - 1e-9); i * step <= hi + step * 1e-9; ++i) ticks.push(i * step);
  const digits = Math.max(0, -Math.floor(Math.log10(step) + 1e-9));
  return {ticks, label: value => step < 1e-3 ? scientific(value) : hi >= 1e4 ? shortCount(value) : signed(value.toFixed(digits))};
}

// 1, 2, 5 of every decade where there are few; else one tick in as many decades as keeps them apart.
function logTicks(lo, hi, count) {
  const first = Math.floor(Math.log10(lo)), last = Math.ceil(Math.log10(hi));
  const decades = Math.log10(hi / lo);
  if (decades < 0.7) return linearTicks(lo, hi, count);
  const multiples = decades <= count / 3 ? [1, 2, 5] : [1];
  const stride = Math.max(1, Math.ceil(decades / count));
  const ticks = [];
  for (let e = first; e <= last; e += stride) {
    for (const m of multiples) {
      const value = m * 10 ** e;
      if (value >= lo * 0.999 && value <= hi * 1.001) ticks.push(value);
    }
  }
  const label = value => value >= 1e-3 && value < 1e4 ? String(+value.toPrecision(1)) : value < 1 ? scientific(value) : shortCount(value);
  return {ticks, label};
}
