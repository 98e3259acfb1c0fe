// The changes of a map as the agent tells them.

import {byID, clock, rounded, write} from './text.js';

const shown = 100;   // rows
const drawEvery = 250; // ms: a storm of changes must not stop the page

export class Live {
  #source = null;
  #map = null;
  #rows = [];  // newest first
  #told = 0;
  #lost = 0;
  #timer = 0;
  #now;
  #ask;

  // now tells the agent's time in ms; ask is called with the key that was clicked.
  constructor(now, ask) {
    this.#now = now;
    this.#ask = ask;
    byID('follow').addEventListener('click', () => this.#source ? this.#stop('stopped') : this.#start());
  }

  choose(map) {
    if (map === this.#map) return;
    this.#stop('');
    this.#map = map;
    this.#rows = [];
    this.#draw();
    byID('follow').disabled = !map;
    write(byID('live-of'), map ? `of ${map}` : '');
    write(byID('live-note'), map ? '' : 'Choose a map at the top to follow its changes.');
  }

  #start() {
    this.#rows = [];
    this.#told = this.#lost = 0;
    this.#source = new EventSource(`/debug/maps/${encodeURIComponent(this.#map)}/watch`);
    this.#source.addEventListener('open', () => this.#note('following'));
    this.#source.addEventListener('change', event => this.#take(JSON.parse(event.data)));
    this.#source.addEventListener('error', () => {
      if (this.#source?.readyState === EventSource.CLOSED) this.#stop('the agent refused: it has no such map, or too many follow already');
      else this.#note('the agent went away; trying again');
    });
    this.#press('Stop', true);
    this.#note('connecting');
  }

  #stop(why) {
    this.#source?.close();
    this.#source = null;
    this.#press('Follow', false);
    this.#note(why);
  }

  #press(text, on) {
    write(byID('follow'), text);
    byID('follow').setAttribute('aria-pressed', String(on));
  }

  #note(text) {
    const lost = this.#lost ? `, ${this.#lost} left out because they came too fast` : '';
    write(byID('live-note'), text && `${text}: ${this.#told} told${lost}`);
  }

  #take(change) {
    this.#told++;
    this.#lost += change.lost;
    this.#rows.unshift(change);
    this.#rows.length = Math.min(this.#rows.length, shown);
    this.#timer ||= setTimeout(() => { this.#timer = 0; this.#draw(); if (this.#source) this.#note('following'); }, drawEvery);
  }

  #draw() {
    byID('live').tBodies[0].replaceChildren(...this.#rows.map(c => this.#row(c)));
  }

  #row(c) {
    const tr = document.createElement('tr'), cell = (text, tone = '') => {
      const td = tr.insertCell();
      td.textContent = text;
      td.className = tone;
      return td;
    };
    cell(clock(c.time, this.#now()));
    const key = document.createElement('button');
    key.type = 'button';
    key.className = 'key';
    key.textContent = c.key_text || c.key;
    key.title = 'ask all members for this key';
    key.addEventListener('click', () => this.#ask(c.key));
    cell('', 'mono').append(key);
    cell(c.deleted ? 'deleted' : c.value_text || c.value, 'mono');
    cell(c.origin === 'remote' ? `written on ${c.node}${c.from && c.from !== c.node ? `, told by ${c.from}` : ''}` : 'this host');
    cell(c.writer ? writer(c.writer) : c.origin === 'remote' ? '' : 'found by a comparison');
    cell(c.origin === 'remote' ? rounded(c.lag_ms) : '', 'number');
    return tr;
  }
}

// writer says who made a change. Who runs when an interrupt comes has nothing to do with it.
function writer(w) {
  if (w.source === 'interrupt') return `program in an interrupt, CPU ${w.cpu}`;
  const who = w.process ? `${w.process} (${w.pid})` : w.pid ? `process ${w.pid}` : 'unknown';
  return w.source === 'program' ? `program run by ${who}, CPU ${w.cpu}` : `${who}, CPU ${w.cpu}`;
}
