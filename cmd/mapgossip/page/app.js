// Asks the agent again and again, and shows what it answers. ?every=SECONDS
// sets how often (2); the other members are asked at most every 5 seconds.

import {Live} from './live.js';
import {showMatrix} from './matrix.js';
import {lagBuckets} from './metrics.js';
import {Rates} from './rates.js';
import {say, show as showStory} from './story.js';
import {showMaps, showMembers} from './tables.js';
import {byID, clock, list, rounded, write} from './text.js';
import {verdict} from './verdict.js';

const every = Math.min(Math.max(Number(new URLSearchParams(location.search).get('every')) || 2, 0.2), 60) * 1000;
const patience = 8000; // ms; an agent whose owner is stuck says so within 10 s

let skew = 0;         // of the agent's clock to the browser's, ms
let answered = 0;     // when the last status came, by the browser's clock
let silentSince = 0;  // when the first answer of a row of failures was missed
let headline = '';    // of that status
let views = [];
let viewsAt = -Infinity; // when they came
let asking = false;      // for them
const now = () => Date.now() + skew;
const rates = new Rates();
const live = new Live(now, key => { byID('key').value = key; askStory(); });

// ask fetches a path; what the agent says of an error is the error's message.
async function ask(path, wait = patience) {
  const answer = await fetch(path, {signal: AbortSignal.timeout(wait), cache: 'no-store'}).catch(error => {
    throw new Error(error.name === 'TimeoutError' ? `no answer within ${rounded(wait)}` : 'no connection');
  });
  if (!answer.ok) {
    const told = await answer.json().catch(() => ({}));
    throw new Error(told.error ?? `${path}: ${answer.status} ${answer.statusText}`);
  }
  return answer;
}

const chosen = () => byID('map').value;

async function look() {
  let status;
  try {
    const answer = await ask('/debug/status');
    status = await answer.json();
    skew = Date.parse(answer.headers.get('Date')) - Date.now() || 0;
  } catch (error) {
    return away(error);
  }
  const metrics = await ask('/metrics').then(a => a.text()).then(lagBuckets).catch(() => null);
  lookAround();
  answered = Date.now();
  silentSince = 0;
  byID('away').hidden = true;
  document.body.classList.remove('stale');
  status.maps ??= [];
  rates.add(answered, status, metrics);
  show(status);
}

// fault says that this page is wrong, not the agent: what it shows can't be trusted.
function fault(error) {
  byID('away').hidden = false;
  write(byID('away'), `This page can't show what the agent answered (${error.message}): take 'mapgossip status', and tell its makers.`);
  document.body.classList.add('stale');
}

// lookAround has all members asked for their views; one that is silent takes
// seconds, and nothing else waits for it.
async function lookAround() {
  if (asking || performance.now() - viewsAt < Math.min(5000, every * 2.5)) return;
  asking = true;
  const told = await ask('/debug/convergence').then(a => a.json()).catch(() => null);
  viewsAt = performance.now();
  asking = false;
  views = told?.members ?? [];
  showMatrix(views, chosen(), now());
}

function show(status) {
  document.title = `${status.in_sync ? '✓' : '✗'} ${status.node} · mapgossip`;
  write(byID('node'), status.node);
  const up = Math.max(0, now() - Date.parse(status.started));
  write(byID('about'), `cluster ${status.cluster}, ${status.version}, up ${rounded(Math.floor(up / 60000) * 60000)}`);
  const v = verdict(status, now());
  byID('verdict').className = `verdict ${v.tone}`;
  headline = v.headline;
  write(byID('headline'), headline);
  list(byID('because'), v.because);
  list(byID('todo'), v.todo);
  byID('todo-title').hidden = v.todo.length === 0;
  choices(status.maps.map(m => m.name));
  showMaps(status.maps, now());
  showMembers(status.members, now());
  write(byID('asked'), `at ${clock(now(), now())}`);
  showChosen();
}

function showChosen() {
  const map = chosen();
  showMatrix(views, map, now());
  rates.show(map, Date.now());
  live.choose(map);
  byID('ask').disabled = !map;
  write(byID('story-of'), map ? `of ${map}` : '');
  if (!map && byID('story').hidden) say('Choose a map at the top to ask for a key of it.');
}

// choices of maps: the only one is chosen, and so is what the address names.
function choices(names) {
  const select = byID('map'), known = [...select.options].slice(1).map(o => o.value);
  if (known.join('\0') === names.join('\0')) return;
  const before = chosen() || new URLSearchParams(location.hash.slice(1)).get('map') || (names.length === 1 ? names[0] : '');
  select.replaceChildren(select.options[0], ...names.map(name => new Option(name, name)));
  select.value = names.includes(before) ? before : '';
}

// away says that what is shown is old.
function away(error) {
  silentSince ||= Date.now();
  const old = answered ? ` What is below is of ${clock(answered + skew, now())}.` : '';
  byID('away').hidden = false;
  write(byID('away'), `The agent does not answer since ${clock(silentSince + skew, now())}: ${error.message}.${old} Is it running, and this its address? Asking on.`);
  document.title = '? mapgossip';
  document.body.classList.add('stale');
  byID('verdict').className = 'verdict waiting'; // nobody is to take an old verdict for one of this moment
  write(byID('headline'), answered ? `Last known: ${headline}` : 'Nothing known: the agent does not answer');
}

async function askStory() {
  const map = chosen(), key = byID('key').value.trim();
  if (!map || !key) return say(map ? 'Which key?' : 'Choose a map at the top to ask for a key of it.');
  say('Asking all members …');
  try {
    showStory(await (await ask(`/debug/maps/${encodeURIComponent(map)}/entries/${encodeURIComponent(key)}/members`)).json(), now());
  } catch (error) {
    say(error.message);
  }
}

byID('map').addEventListener('change', () => {
  history.replaceState(null, '', chosen() ? '#' + new URLSearchParams({map: chosen()}) : location.pathname + location.search);
  say('');
  showChosen();
});
byID('story-form').addEventListener('submit', event => { event.preventDefault(); askStory(); });

// keepLooking asks for nothing while nobody looks, and waits for one answer
// before it asks for the next.
async function keepLooking() {
  for (;;) {
    await look().catch(fault);
    await new Promise(done => setTimeout(done, every));
    if (document.hidden) await new Promise(done => document.addEventListener('visibilitychange', done, {once: true}));
  }
}

keepLooking();
