// One key across members: who has which version of it.

import {ago, byID, clock, count, fill, rounded, write} from './text.js';

// show tells the answers of all members; map and now (ms) as elsewhere.
export function show(answer, now) {
  const held = answer.members, answered = held.filter(h => !h.error);
  const versions = new Map(); // id: {entry, nodes}, newest first
  for (const h of answered) {
    if (!h.entry) continue;
    const id = order(h.entry);
    versions.set(id, {entry: h.entry, nodes: [...(versions.get(id)?.nodes ?? []), h.node]});
  }
  const sorted = [...versions].sort(([a], [b]) => a < b ? 1 : -1).map(([, v]) => v);
  const without = answered.filter(h => !h.entry).map(h => h.node);
  sentences(answer, sorted, without, held.filter(h => h.error).map(h => h.node), now);
  byID('story').hidden = false;
  fill(byID('story').tBodies[0], held.map(h => row(h, sorted[0]?.entry, now)));
}

// order sorts versions: by time to the nanosecond, then logical, then node, as
// members do.
function order(e) {
  const [, fraction = ''] = /\.(\d+)/.exec(e.time) ?? [];
  const seconds = Math.floor(Date.parse(e.time) / 1000);
  return `${String(seconds).padStart(12, '0')}.${fraction.padEnd(9, '0')} ${String(e.logical).padStart(10, '0')} ${e.node}`;
}

function sentences(answer, versions, without, silent, now) {
  const texts = [], all = answer.members.length;
  const did = e => `${e.deleted ? 'deleted' : 'written'} by ${e.node} at ${clock(e.time, now)}, ${ago(e.time, now)}`;
  if (versions.length === 0) texts.push('No member that answered has this key.');
  else if (versions.length === 1 && versions[0].nodes.length === all) texts.push(`All ${count(all, 'member')} have the same: ${did(versions[0].entry)}.`);
  else versions.forEach((v, i) => {
    const behind = i > 0 ? Date.parse(versions[0].entry.time) - Date.parse(v.entry.time) : 0;
    texts.push(`${i === 0 ? 'Newest' : `Older${behind > 0 ? ' by ' + rounded(behind) : ''}`}: ${did(v.entry)}. ${v.nodes.join(', ')} ${v.nodes.length === 1 ? 'has' : 'have'} it.`);
  });
  if (versions.length > 0 && without.length > 0) texts.push(`${without.join(', ')} ${without.length === 1 ? 'has' : 'have'} nothing.`);
  if (silent.length > 0) texts.push(`No answer from ${silent.join(', ')}.`);
  byID('story-verdict').replaceChildren(...texts.map(text => { const p = document.createElement('p'); p.textContent = text; return p; }));
}

function row(h, newest, now) {
  const name = h.self ? `${h.node} (this one)` : h.node;
  if (h.error) return [name, {text: 'no answer', tone: 'bad', title: h.error}, {text: h.error, tone: 'long bad'}, '', '', ''];
  const e = h.entry;
  if (!e) return [name, {text: 'nothing', tone: newest ? 'bad' : ''}, '', '', '', ''];
  const latest = order(e) === order(newest);
  return [
    name,
    latest ? {text: e.deleted ? 'tombstone' : 'newest', tone: 'good'} : {text: e.deleted ? 'older tombstone' : 'older', tone: 'bad'},
    {text: e.deleted ? 'deleted' : e.value_text || e.value, tone: 'mono', title: e.value},
    e.node,
    {text: clock(e.time, now), title: `${e.time}, logical ${e.logical}`},
    kernel(e),
  ];
}

// kernel says whether the kernel map has what the member knows.
function kernel(e) {
  if (e.pending) return {text: 'not yet: it waits to be written', tone: 'bad'};
  if (e.evicted) return {text: 'evicted to make room', tone: 'worry'};
  const k = e.kernel;
  if (!k) return 'not told';
  if (e.deleted) return k.present ? {text: `still there: ${k.value_text || k.value}`, tone: 'mono bad'} : {text: 'gone, too', tone: 'good'};
  if (!k.present) return {text: 'not there', tone: 'bad'};
  return k.value === e.value ? {text: 'the same', tone: 'good'} : {text: `another value: ${k.value_text || k.value}`, tone: 'mono bad'};
}

// say puts one sentence where the story goes.
export function say(text) {
  byID('story').hidden = true;
  write(byID('story-verdict'), text);
}
