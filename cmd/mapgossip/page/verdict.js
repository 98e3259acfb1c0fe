// What 'mapgossip status' says of the same JSON: the verdict, what it rests
// on, what to do. Times of day stand for ages, so that what is read aloud
// changes only when there is something new.

import {clock, count, never} from './text.js';

// verdict returns {tone, headline, because, todo} of a status.
export function verdict(s, now) {
  const others = s.members.filter(m => !m.self), alive = others.filter(m => m.state === 'alive');
  const behind = alive.filter(m => !m.in_sync || m.lacks?.length > 0).length;
  const because = others.flatMap(m => lagging(m, now));
  const told = new Set();
  for (const text of [...s.conflicts ?? [], ...s.not_ready ?? [], ...s.unhealthy ?? [], s.state_error]) {
    if (text && !told.has(text)) because.push(text);
    told.add(text);
  }
  if (s.encrypted === false) because.push('traffic between members is not encrypted: who shares their network can read maps and write into them; --keyring mends that');
  because.push(...s.refused ?? []);
  if (s.capture_reason) because.push(`captures by ${s.capture || 'nothing'}: ${s.capture_reason}`);
  const todo = s.advice ?? [];
  let headline = `In sync with ${count(alive.length, 'member')}`, tone = s.healthy ? 'good' : 'worry';
  if (alive.length === 0) {
    headline = others.some(m => m.state !== 'left') ? 'Alone: no other member is alive' : 'Alone: no other member is known';
    tone = s.in_sync && s.healthy ? 'worry' : 'bad';
  } else if (!s.in_sync) {
    tone = 'bad';
    if (behind > 0) headline = `Not in sync with ${behind} of ${count(alive.length, 'alive member')}`;
    else if (!s.ready) headline = 'Not in sync: this member is not ready';
    else headline = `In sync with ${count(alive.length, 'alive member')}, not with those that do not answer`;
  } else if (!s.healthy) {
    headline += ', but something needs you';
  }
  return {tone, headline, because, todo};
}

// lagging says of one other member why it may not hold the same.
function lagging(m, now) {
  const last = never(m.last_sync) ? 'never' : 'at ' + clock(m.last_sync, now);
  if (m.state === 'suspect' || m.state === 'dead') return [`${m.node} is ${m.state}, last exchange ${last}`];
  if (m.state === 'alive' && m.lacks?.length > 0) return [`${m.node} lacks ${m.lacks.join(', ')}`];
  if (m.state !== 'alive' || m.in_sync) return [];
  if (never(m.last_sync)) return [`${m.node}: no exchange yet`];
  if (m.differ.length > 0) return [`${m.node} differs in ${m.differ.join(', ')}, found ${last}`];
  return [`${m.node}: last exchange ${last}`];
}
