// How things are said: as the commands say them, so that page and terminal
// agree word for word. What comes from the agent goes in as text, never as markup.

export const byID = id => document.getElementById(id);

// write sets the text of an element, and leaves one alone that has it already:
// what is selected stays selected, what is read aloud is not read again.
export function write(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

// list makes the items of a list say these texts.
export function list(element, texts) {
  while (element.children.length > texts.length) element.lastElementChild.remove();
  texts.forEach((text, i) => write(element.children[i] ?? element.appendChild(document.createElement('li')), text));
}

// fill makes a table body have these rows. A cell is a text, or {text, tone,
// title}; the first one of a row is its heading, or all of them are headings of
// columns. Elements are used again.
export function fill(body, rows, columns = false) {
  while (body.rows.length > rows.length) body.deleteRow(-1);
  rows.forEach((cells, i) => {
    const row = body.rows[i] ?? body.insertRow();
    while (row.cells.length > cells.length) row.deleteCell(-1);
    cells.forEach((cell, j) => {
      let td = row.cells[j];
      if (!td) {
        td = row.appendChild(document.createElement(j === 0 || columns ? 'th' : 'td'));
        if (td.tagName === 'TH') td.scope = columns ? 'col' : 'row';
      }
      const {text, tone = '', title = ''} = typeof cell === 'object' ? cell : {text: cell};
      write(td, String(text));
      if (td.className !== tone) td.className = tone;
      if (td.title !== title) td.title = title;
    });
  });
}

// never reports whether a time is Go's zero.
export const never = time => !time || time.startsWith('0001-');

// clock shows the time of day at the reader's, with the day if it is another one than that of now.
export function clock(time, now) {
  const t = new Date(time), two = n => String(n).padStart(2, '0');
  const day = t.toDateString() === new Date(now).toDateString() ? '' : `${t.getFullYear()}-${two(t.getMonth() + 1)}-${two(t.getDate())} `;
  return `${day}${two(t.getHours())}:${two(t.getMinutes())}:${two(t.getSeconds())}`;
}

export function ago(time, now) {
  if (never(time)) return 'never';
  const ms = now - Date.parse(time);
  return ms < 1000 ? 'just now' : rounded(Math.floor(ms / 1000) * 1000) + ' ago';
}

// rounded shows milliseconds as the commands do: 850µs, 1.2ms, 12ms, 3.4s, 12s, 2m5s, 3h2m, 4d3h.
export function rounded(ms) {
  if (ms < 0) return '-' + rounded(-ms);
  const s = ms / 1000;
  if (ms < 0.9995) return ms === 0 ? '0s' : Math.round(ms * 1000) + 'µs';
  if (ms < 10) return +ms.toFixed(1) + 'ms';
  if (s < 1) return Math.round(ms) + 'ms';
  if (s < 10) return +s.toFixed(1) + 's';
  if (s < 59.5) return Math.round(s) + 's';
  const pair = (n, unit, of, small) => { const rest = n % of; return Math.floor(n / of) + unit + (rest ? rest + small : ''); };
  if (s < 3599.5) return pair(Math.round(s), 'm', 60, 's');
  if (s < 86400) return pair(Math.round(s / 60), 'h', 60, 'm');
  const hours = Math.round(s / 3600);
  return `${Math.floor(hours / 24)}d${hours % 24}h`;
}

export const signed = ms => Math.abs(ms) < 0.001 ? '0s' : (ms > 0 ? '+' : '') + rounded(ms);
export const count = (n, noun) => n === 1 ? `1 ${noun}` : `${n} ${noun}s`;

// short shows enough of a digest to compare it by eye.
export const short = digest => digest.slice(0, 8);

// number shows a rate: 0, 0.4, 12, 3400, 12k, 1.2M.
export function number(n) {
  if (n >= 1e6) return +(n / 1e6).toFixed(1) + 'M';
  if (n >= 1e4) return Math.round(n / 1e3) + 'k';
  return n >= 10 ? String(Math.round(n)) : String(+n.toFixed(1));
}
