// Rates and lag of the last minutes, from counters that only grow. A counter
// that went back is an agent that began anew: a gap.

import {draw} from './chart.js';
import {quantile, sum} from './metrics.js';
import {byID, number, rounded, write} from './text.js';

const spans = [15, 60, 300].map(s => s * 1000); // ms that are drawn: the shortest that has all that is known, or the last
const longest = spans.at(-1);
const lagSpan = 10 * 1000;  // ms over which a quantile is taken

export class Rates {
  #samples = []; // {at, started, maps: Map of {captured, applied}, lag: Map of buckets}

  add(at, status, lag) {
    const maps = new Map(status.maps.map(m => [m.name, m.counters]));
    this.#samples.push({at, started: status.started, maps, lag});
    while (this.#samples[0].at < at - longest - lagSpan) this.#samples.shift();
  }

  // show draws what is known of a map, or of all of them (''), up to now.
  show(map, now) {
    const captured = this.#rate(map, 'captured'), applied = this.#rate(map, 'applied');
    const p50 = this.#quantiles(map, 0.5), p99 = this.#quantiles(map, 0.99);
    const span = spans.find(s => now - this.#samples[0]?.at <= s) ?? longest;
    write(byID('rates-of'), map ? `of ${map}` : 'of all maps');
    draw(byID('rates'), byID('rates-legend'), {now, span, floor: 1, unit: number, title: 'Changes a second', lines: [['captured', captured], ['applied', applied]]});
    draw(byID('lag'), byID('lag-legend'), {now, span, log: true, unit: ms => rounded(ms), title: 'From a write elsewhere to its apply here', lines: [['median', p50], ['99th percentile', p99]]});
  }

  #rate(map, name) {
    const total = s => map ? s.maps.get(map)?.[name] ?? NaN : [...s.maps.values()].reduce((n, c) => n + c[name], 0);
    return this.#samples.slice(1).map((s, i) => {
      const before = this.#samples[i], grown = total(s) - total(before);
      return [s.at, s.started === before.started && grown >= 0 ? grown / (s.at - before.at) * 1000 : null];
    });
  }

  #quantiles(map, q) {
    const buckets = s => s.lag && (map ? s.lag.get(map) : sum([...s.lag.values()]));
    return this.#samples.slice(1).map((s, i) => {
      const before = this.#samples.slice(0, i + 1).find(b => b.at >= s.at - lagSpan && b.started === s.started);
      const seconds = before ? quantile(q, buckets(before), buckets(s)) : null;
      return [s.at, seconds === null ? null : seconds * 1000];
    });
  }
}
