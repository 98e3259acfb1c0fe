// The tables of maps and members.

import {ago, byID, fill, never, rounded, short, signed} from './text.js';

export function showMaps(maps, now) {
  fill(byID('maps').tBodies[0], maps.map(m => [
    {text: m.name, title: m.target},
    {text: `${m.entries} of ${m.max_entries}`, tone: m.entries >= m.max_entries ? 'number bad' : m.entries >= 0.9 * m.max_entries ? 'number worry' : 'number', title: m.evict ? `evict=${m.evict}, ${m.evicted} evicted` : ''},
    {text: m.pending_apply, tone: m.pending_apply ? 'number bad' : 'number'},
    {text: m.tombstones, tone: 'number', title: m.held_back_by ? `they wait for ${m.held_back_by}` : ''},
    {text: m.unsettled, tone: 'number'},
    {text: m.counters.dropped, tone: m.counters.dropped ? 'number worry' : 'number', title: 'changes that found the ring full; a scan finds them'},
    {text: m.capture || 'none', title: m.capture_reason},
    ago(m.last_scan, now),
    {text: short(m.digest), tone: 'mono', title: m.digest},
    m.error ? {text: m.error, tone: 'long bad'} : m.bound ? {text: 'none', tone: 'long'} : {text: 'not bound', tone: 'long bad'},
  ]));
}

const states = {alive: 'good', suspect: 'worry', dead: 'bad'};

export function showMembers(members, now) {
  fill(byID('members').tBodies[0], members.map(m => {
    if (m.self) return [m.node, {text: m.state, tone: states[m.state]}, 'this one', '', '', '', m.addr, m.version];
    const offset = Math.abs(m.clock_offset_ms) >= 500 ? 'number bad' : 'number';
    return [
      m.node,
      {text: m.state, tone: states[m.state] ?? ''},
      equality(m),
      {text: ago(m.last_sync, now), title: never(m.last_sync) ? '' : m.last_sync},
      {text: m.rtt_ms > 0 ? signed(m.clock_offset_ms) : '', tone: offset},
      {text: m.rtt_ms > 0 ? rounded(m.rtt_ms) : '', tone: 'number'},
      m.addr,
      m.version,
    ];
  }));
}

function equality(m) {
  if (m.state === 'left') return '';
  if (m.state === 'dead') return {text: 'no answer', tone: 'bad'};
  if (m.lacks?.length > 0) return {text: 'lacks ' + m.lacks.join(', '), tone: 'bad'};
  if (m.in_sync) return {text: 'yes', tone: 'good'};
  return {text: m.differ.length > 0 ? 'differs in ' + m.differ.join(', ') : 'not yet', tone: 'bad'};
}
