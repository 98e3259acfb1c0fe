// Histograms from the text that Prometheus reads.

// lagBuckets returns, by map, [[upper bound in seconds, count up to it], …].
export function lagBuckets(text) {
  const maps = new Map();
  for (const line of text.split('\n')) {
    const sample = /^mapgossip_apply_lag_seconds_bucket\{(.*)\} (\S+)$/.exec(line);
    if (!sample) continue;
    const labels = {};
    for (const [, name, value] of sample[1].matchAll(/(\w+)="((?:[^"\\]|\\.)*)"/g)) labels[name] = value.replace(/\\(.)/g, (_, c) => c === 'n' ? '\n' : c);
    const buckets = maps.get(labels.map) ?? [];
    buckets.push([labels.le === '+Inf' ? Infinity : Number(labels.le), Number(sample[2])]);
    maps.set(labels.map, buckets);
  }
  return maps;
}

// sum adds histograms that have the same bounds.
export function sum(histograms) {
  return histograms.reduce((a, b) => a ? a.map(([le, n], i) => [le, n + (b[i]?.[1] ?? 0)]) : b, null);
}

// quantile of what came between two readings, in seconds, as PromQL has it:
// linear within a bucket, and the last bound for what is over it. null: nothing
// came, or the agent began anew.
export function quantile(q, before, after) {
  if (!before || !after || before.length !== after.length) return null;
  const counts = after.map(([le, n], i) => [le, n - before[i][1]]);
  const total = counts.at(-1)[1];
  if (!(total > 0) || counts.some(([, n]) => n < 0)) return null;
  const rank = q * total;
  let low = 0, below = 0;
  for (const [le, n] of counts) {
    if (n >= rank && n > below) return le === Infinity ? low : low + (le - low) * (rank - below) / (n - below);
    low = le; below = n;
  }
  return low;
}
