// Who is equal with whom: a row is what one member says, a column whom of. For
// one map the digests that members answered are compared; for all maps it is
// what each member found at its last exchange with the other.

import {byID, clock, count, fill, never, short} from './text.js';

export function showMatrix(views, map, now) {
  const left = new Set(views.find(v => v.self)?.members?.filter(m => m.state === 'left').map(m => m.node));
  const nodes = [...new Set(views.flatMap(v => [v.node, ...(v.members ?? []).map(m => m.node)]))].filter(node => !left.has(node)).sort();
  const view = new Map(views.map(v => [v.node, v]));
  const digest = node => view.get(node)?.maps?.find(m => m.name === map)?.digest ?? '';
  const heads = [map ? 'Member, digest' : 'Member', ...nodes];
  fill(byID('matrix').tHead, [heads.map(text => ({text, title: text}))], true);
  const rows = nodes.map(node => {
    const v = view.get(node), mine = digest(node);
    const head = {text: mine ? `${node} ${short(mine)}` : node, title: mine};
    return [head, ...nodes.map(other => {
      if (other === node) return {text: v && !v.error ? '·' : 'no answer', tone: v && !v.error ? '' : 'worry', title: v?.error ?? 'it is not asked: it is not alive here'};
      return map ? ofOneMap(v, other, mine, digest(other)) : ofAllMaps(v, view.get(other), other, now);
    })];
  });
  fill(byID('matrix').tBodies[0], rows);
  const silent = nodes.filter(node => !view.has(node) || view.get(node).error);
  const asked = map ? `Digests of ${map} that the members answered a moment ago; while writes flow they may differ for a moment.`
    : 'A row is what that member found when it last exchanged with the others. Choose a map to compare digests now.';
  byID('matrix-note').textContent = asked + (silent.length ? ` No answer from ${count(silent.length, 'member')}: ${silent.join(', ')}.` : '');
}

// state is what a view says of another member that is not alive; undefined: it is alive.
function state(v, other) {
  if (!v || v.error) return {text: 'no answer', tone: 'worry', title: v?.error ?? ''};
  const m = (v.members ?? []).find(m => m.node === other);
  if (!m) return {text: 'unknown', tone: 'worry', title: `${v.node} does not know ${other}`};
  if (m.state === 'left') return {text: 'left', tone: ''};
  if (m.state !== 'alive') return {text: m.state, tone: m.state === 'dead' ? 'bad' : 'worry', title: `${v.node} holds ${other} for ${m.state}`};
  return undefined;
}

function ofOneMap(v, other, mine, theirs) {
  const odd = state(v, other);
  if (odd) return odd;
  if (!mine || !theirs) return {text: mine || theirs ? 'no answer' : 'no such map', tone: 'worry'};
  return mine === theirs ? {text: '= equal', tone: 'good', title: mine} : {text: '≠ differs', tone: 'bad', title: `${short(mine)} and ${short(theirs)}`};
}

function ofAllMaps(v, theirs, other, now) {
  const odd = state(v, other);
  if (odd) return odd;
  const m = v.members.find(m => m.node === other);
  const title = never(m.last_sync) ? 'no exchange yet' : `last exchange at ${clock(m.last_sync, now)}`;
  if (m.in_sync) return {text: '= equal', tone: 'good', title};
  if (never(m.last_sync)) return {text: 'not yet', tone: 'worry', title};
  if (!theirs || theirs.error) return {text: 'no answer', tone: 'worry', title: `${title}; it does not answer now`};
  const differ = (v.maps ?? []).filter(a => theirs?.maps?.some(b => b.name === a.name && b.digest !== a.digest)).map(a => a.name);
  return {text: differ.length ? `≠ ${differ.join(', ')}` : '≠ differs', tone: 'bad', title};
}
