// A chart of two lines over time, in SVG.

import {rounded} from './text.js';

const styles = ['one', 'two'];
const left = 46, right = 8, top = 10, bottom = 20;

function svg(name, attributes, text = '') {
  const e = document.createElementNS('http://www.w3.org/2000/svg', name);
  for (const [key, value] of Object.entries(attributes)) e.setAttribute(key, value);
  e.textContent = text;
  return e;
}

// draw shows lines [[name, [[ms, value or null], …]], …] up to now. The axis is
// linear from 0, or of decades. A null is a gap.
export function draw(chart, legend, {now, span, lines, unit, title, log = false, floor = 0}) {
  const width = chart.clientWidth || 300, height = chart.clientHeight || 170;
  const known = lines.flatMap(([, points]) => points).map(([, y]) => y).filter(y => y !== null && (!log || y > 0));
  const ticks = log ? decades(known) : steps(Math.max(floor, ...known));
  const low = ticks[0], high = ticks.at(-1), scale = log ? y => Math.log10(Math.min(Math.max(y, low), high) / low) / Math.log10(high / low) : y => y / high;
  const x = at => left + (width - left - right) * (1 - (now - at) / span);
  const y = value => top + (height - top - bottom) * (1 - scale(value));

  const parts = ticks.flatMap(t => [
    svg('line', {class: 'grid', x1: left, x2: width - right, y1: y(t), y2: y(t)}),
    svg('text', {x: left - 5, y: y(t) + 4, 'text-anchor': 'end'}, unit(t)),
  ]);
  parts.push(svg('text', {x: left, y: height - 5}, `${rounded(span)} ago`), svg('text', {x: width - right, y: height - 5, 'text-anchor': 'end'}, 'now'));
  lines.forEach(([, points], i) => parts.push(svg('path', {class: styles[i], d: path(points.filter(([at]) => at >= now - span), x, y)})));
  chart.setAttribute('viewBox', `0 0 ${width} ${height}`);
  chart.replaceChildren(...parts);

  const said = lines.map(([name, points]) => { const last = points.at(-1)?.[1] ?? null; return `${name} ${last === null ? 'none' : unit(last)}`; });
  chart.setAttribute('aria-label', `${title}: ${said.join(', ')}`);
  const entries = said.flatMap((text, i) => {
    const swatch = svg('svg', {class: `swatch ${styles[i]}`, 'aria-hidden': 'true', viewBox: '0 0 26 8'});
    swatch.append(svg('line', {x1: 0, x2: 26, y1: 4, y2: 4}));
    return [swatch, ` ${text}`];
  });
  legend.replaceChildren(...entries);
}

function path(points, x, y) {
  let d = '', pen = false;
  for (const [at, value] of points) {
    if (value !== null) d += `${pen ? 'L' : 'M'}${x(at).toFixed(1)} ${y(value).toFixed(1)}`;
    pen = value !== null;
  }
  return d;
}

// steps are 0 and round numbers up to max or over it, five at most.
function steps(max) {
  const raw = (max || 1) / 4, unit = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 2.5, 5, 10].map(n => n * unit).find(n => n >= raw * 0.999);
  return [0, 1, 2, 3, 4].map(n => n * step).filter((t, i) => i === 0 || t - step < max || i === 1);
}

// decades of milliseconds around the values, one at least.
function decades(values) {
  const from = values.length ? Math.floor(Math.log10(Math.min(...values))) : 0;
  const to = values.length ? Math.ceil(Math.log10(Math.max(...values))) : 3;
  return Array.from({length: Math.max(to, from + 1) - from + 1}, (_, i) => 10 ** (from + i));
}
