/* Keeps the status pages up to date, and makes their tree work by keyboard.
 *
 * Without this script the pages are complete: every link and form works. All HTML comes from the
 * site's own templates; what is already on the page is changed in place, so that focus, selection,
 * scroll position and what is open survive. No dependencies, no inline styles.
 */

const FAST = 1000;
const SLOW = 10000;
const MOST_ROWS = 60;

// -- changing what is shown ------------------------------------------------------------------------

/** What belongs to this page rather than to the data, so that new HTML does not overrule it. */
const OWN = new Set(["tabindex", "aria-expanded", "aria-posinset", "aria-setsize", "open", "href"]);

function parsed(html) {
  const table = /^\s*<tr/i.test(html);
  const source = table ? `<table><tbody>${html}</tbody></table>` : html;
  const page = new DOMParser().parseFromString(source, "text/html");
  return [...(table ? page.querySelector("tbody") : page.body).children];
}

/** Makes `old` say what `fresh` says, touching only what differs. */
function patch(old, fresh) {
  for (const { name, value } of fresh.attributes) {
    if (old.getAttribute(name) !== value && !(OWN.has(name) && keeps(old, name))) {
      old.setAttribute(name, value);
    }
  }
  for (const { name } of [...old.attributes]) {
    if (!fresh.hasAttribute(name) && !OWN.has(name)) old.removeAttribute(name);
  }
  let at = old.firstChild;
  for (const node of [...fresh.childNodes]) {
    const known = counterpart(old, at, node);
    if (!known) {
      old.insertBefore(node, at);
      continue;
    }
    if (known !== at) old.insertBefore(known, at);
    at = known.nextSibling;
    if (node.nodeType === Node.ELEMENT_NODE) patch(known, node);
    else if (known.data !== node.data) known.data = node.data;
  }
  while (at) {
    const next = at.nextSibling;
    at.remove();
    at = next;
  }
}

/** What a new node replaces: the one with its key, so that no button turns into another one. */
function counterpart(old, at, node) {
  const key = node.dataset?.uwKey;
  if (key) return [...old.children].find((each) => each.dataset.uwKey === key);
  const alike = at && at.nodeName === node.nodeName && !at.dataset?.uwKey;
  return alike ? at : null;
}

function keeps(element, name) {
  // Only the links that open and close rows lead elsewhere in a delta, where nothing is open.
  return name === "href" ? element.hasAttribute("data-uw-toggle") : element.hasAttribute(name);
}

// -- time ------------------------------------------------------------------------------------------

/** Durations grow from what the server said: the two clocks are never compared. */
const begun = new WeakMap();

function duration(seconds, units) {
  const [d, h, min, s] = units;
  if (seconds < 9.95) return `${seconds.toFixed(1)} ${s}`;
  const whole = Math.round(seconds);
  const sizes = [[86400, d], [3600, h], [60, min], [1, s]];
  for (let i = 0; i < 3; i += 1) {
    const [size, unit] = sizes[i];
    const [part, small] = sizes[i + 1];
    if (whole >= size) {
      const rest = String(Math.floor((whole % size) / part)).padStart(2, "0");
      return `${Math.floor(whole / size)} ${unit} ${rest} ${small}`;
    }
  }
  return `${whole} ${s}`;
}

function tick(live) {
  const units = (live.element.dataset.uwUnits || "d h min s").split(" ");
  const now = performance.now();
  const selection = document.getSelection();
  for (const element of live.element.querySelectorAll("[data-uw-elapsed]")) {
    const said = element.dataset.uwElapsed;
    let start = begun.get(element);
    if (!start || start.said !== said) {
      start = { said, at: now };
      begun.set(element, start);
    }
    const chosen = !selection.isCollapsed && selection.containsNode(element, true);
    const text = duration(Number(said) + (now - start.at) / 1000, units);
    if (!chosen && element.textContent !== text) element.textContent = text;
  }
}

// -- staying up to date ----------------------------------------------------------------------------

class Live {
  constructor(element) {
    this.element = element;
    this.pause = FAST;
    this.tag = { url: "", value: "" };
    this.timer = 0;
    this.busy = false;
    this.over = element.hasAttribute("data-uw-settled");
    this.grid = element.querySelector("[data-uw-grid]");
    if (this.grid) new Grid(this);
    if (this.over) return;
    document.addEventListener("visibilitychange", () => this.wake());
    window.addEventListener("online", () => this.wake());
    let scrolled = 0; // What comes into sight may be old.
    window.addEventListener("scroll", () => {
      clearTimeout(scrolled);
      scrolled = setTimeout(() => document.hidden || this.poll(), 200);
    }, { passive: true });
    this.clock = setInterval(() => document.hidden || tick(this), 1000);
    tick(this);
    this.later();
  }

  /** Looks at once, and often from now on: something has happened. */
  wake() {
    if (this.over || document.hidden) return;
    this.pause = FAST;
    clearTimeout(this.timer);
    this.poll();
  }

  later() {
    clearTimeout(this.timer);
    if (!this.over && !document.hidden) this.timer = setTimeout(() => this.poll(), this.pause);
  }

  stop(notice) {
    this.over = true;
    clearTimeout(this.timer);
    clearInterval(this.clock);
    if (notice) {
      this.notice(notice);
      this.say(this.element.querySelector(`[data-uw-notice="${notice}"]`)?.textContent || "");
    }
    this.element.toggleAttribute("data-uw-settled", true);
  }

  notice(wanted) {
    for (const each of this.element.querySelectorAll("[data-uw-notice]")) {
      each.hidden = each.dataset.uwNotice !== wanted;
    }
  }

  /** The rows that are in sight or near it, most important first. */
  shown() {
    const found = [];
    const height = window.innerHeight;
    for (const row of this.element.querySelectorAll("[data-uw-row]")) {
      if (row.hidden) continue;
      const box = row.getBoundingClientRect();
      const far = Math.max(0, box.top - height, -box.bottom);
      if (far < height) found.push([far, row]);
    }
    found.sort((a, b) => a[0] - b[0]);
    return found.slice(0, MOST_ROWS).map(([, row]) => row);
  }

  async poll() {
    if (this.busy || this.over) return;
    this.busy = true;
    try {
      const settled = await this.ask(this.shown());
      if (settled) await this.finish();
    } catch {
      this.notice("lost");
      this.pause = Math.min(SLOW, this.pause * 1.7);
    }
    this.busy = false;
    this.later();
  }

  /** It has ended: what is out of sight is brought up to date, too, and that was the last time. */
  async finish() {
    const rows = [...this.element.querySelectorAll("[data-uw-row]")];
    for (let start = 0; start < rows.length; start += MOST_ROWS) {
      await this.ask(rows.slice(start, start + MOST_ROWS));
    }
    this.stop("");
  }

  /** Asks after these rows and all sections; whether everything has ended. */
  async ask(rows) {
    const version = (element, name) => `${element.dataset[name]}.${element.dataset.uwV}`;
    const url = new URL(this.element.dataset.uwLive, document.baseURI);
    url.searchParams.set("rows", rows.map((row) => version(row, "uwRow")).join(","));
    const parts = [...this.element.querySelectorAll("[data-uw-part]")];
    if (parts.length) {
      url.searchParams.set("parts", parts.map((part) => version(part, "uwPart")).join(","));
    }
    const headers = { Accept: "application/json" };
    if (this.tag.url === url.href) headers["If-None-Match"] = this.tag.value;
    const answer = await fetch(url, {
      headers, cache: "no-store", credentials: "same-origin", signal: AbortSignal.timeout(20000),
    });
    if (answer.status === 404) this.stop("deleted");
    if (answer.status === 401 || answer.status === 403) this.stop("refused");
    if (this.over) return false;
    if (!answer.ok && answer.status !== 304) throw new Error(String(answer.status));
    const body = answer.status === 304 ? null : await answer.json();
    this.notice("");
    const changed = body !== null && this.apply(body);
    this.pause = changed ? FAST : Math.min(SLOW, this.pause * 1.5);
    if (body) this.tag = { url: url.href, value: answer.headers.get("ETag") || "" };
    return body?.settled;
  }

  apply({ rows, parts, gone }) {
    const header = () => this.element.querySelector("[data-uw-phase]");
    const before = header()?.dataset.uwPhase;
    for (const [name, html] of Object.entries(parts)) {
      const old = this.element.querySelector(`[data-uw-part="${name}"]`);
      const [fresh] = parsed(html);
      if (old && fresh) patch(old, fresh);
    }
    for (const [uuid, html] of Object.entries(rows)) {
      const old = this.element.querySelector(`[data-uw-row="${uuid.replaceAll("-", "")}"]`);
      const [fresh] = parsed(html);
      if (!old || !fresh) continue;
      const children = old.dataset.uwChildren;
      patch(old, fresh);
      if (children !== old.dataset.uwChildren) this.tree?.grown(old);
    }
    for (const uuid of gone) {
      this.element.querySelector(`[data-uw-row="${uuid.replaceAll("-", "")}"]`)?.remove();
    }
    const now = header();
    if (now && now.dataset.uwPhase !== before) this.say(now.dataset.uwSay);
    this.tree?.settle();
    tick(this);
    return Object.keys(rows).length + Object.keys(parts).length + gone.length > 0;
  }

  say(text) {
    const region = this.element.querySelector("[data-uw-announce]");
    if (region) region.textContent = text;
  }
}

// -- the tree --------------------------------------------------------------------------------------

class Grid {
  constructor(live) {
    this.live = live;
    this.table = live.grid;
    this.body = this.table.tBodies[0];
    live.tree = this;
    this.settle();
    this.table.addEventListener("keydown", (event) => this.key(event));
    this.table.addEventListener("click", (event) => this.click(event));
    this.table.addEventListener("focusin", (event) => this.focused(event.target.closest("tr")));
    window.addEventListener("hashchange", () => this.follow());
    this.follow();
  }

  rows() {
    return [...this.body.rows].filter((row) => !row.hidden);
  }

  /** One tab stop: the current row; what is inside rows is reached by arrow keys. */
  settle() {
    const rows = this.rows();
    if (!this.current?.isConnected || this.current.hidden) [this.current] = rows;
    for (const row of rows) {
      const stop = row === this.current ? "0" : "-1";
      if (row.getAttribute("tabindex") !== stop) row.setAttribute("tabindex", stop);
      for (const link of row.querySelectorAll("a, button")) {
        if (link.getAttribute("tabindex") !== "-1") link.setAttribute("tabindex", "-1");
      }
    }
  }

  focused(row) {
    if (!row || row.parentNode !== this.body || row === this.current) return;
    this.current = row;
    this.settle();
  }

  focus(row) {
    if (!row) return;
    this.current = row;
    this.settle();
    row.focus();
  }

  static level(row) {
    return Number(row.getAttribute("aria-level"));
  }

  above(row) {
    let other = row.previousElementSibling;
    while (other && Grid.level(other) >= Grid.level(row)) other = other.previousElementSibling;
    return other;
  }

  below(row) {
    const found = [];
    let other = row.nextElementSibling;
    while (other && Grid.level(other) > Grid.level(row)) {
      found.push(other);
      other = other.nextElementSibling;
    }
    return found;
  }

  key(event) {
    const row = event.target.closest("tr");
    if (!row || event.altKey || event.ctrlKey || event.metaKey) return;
    const inside = [...row.querySelectorAll("a:not([data-uw-toggle]), button, summary")];
    const at = inside.indexOf(event.target);
    const rows = this.rows();
    const place = rows.indexOf(row);
    const rtl = getComputedStyle(this.table).direction === "rtl";
    const [forth, back] = rtl ? ["ArrowLeft", "ArrowRight"] : ["ArrowRight", "ArrowLeft"];
    const expanded = row.getAttribute("aria-expanded");
    const page = Math.max(1, Math.floor(window.innerHeight / (row.offsetHeight || 40)) - 2);
    const moves = {
      ArrowDown: place + 1,
      ArrowUp: place - 1,
      Home: 0,
      End: rows.length - 1,
      PageDown: place + page,
      PageUp: place - page,
    };
    if (event.key in moves) {
      this.focus(rows[Math.min(rows.length - 1, Math.max(0, moves[event.key]))]);
    } else if (event.key === forth) {
      if (at < 0 && expanded === "false") this.open(row);
      else inside[at + 1]?.focus();
    } else if (event.key === back) {
      if (at > 0) inside[at - 1].focus();
      else if (at === 0) this.focus(row);
      else if (expanded === "true") this.close(row);
      else this.focus(this.above(row));
    } else if (event.key === "Enter" && event.target === row) {
      if (expanded) this.toggle(row);
      else row.querySelector("[data-uw-next]")?.click();
    } else return;
    event.preventDefault();
  }

  click(event) {
    if (event.ctrlKey || event.metaKey || event.shiftKey || event.button) return;
    const row = event.target.closest("tr");
    if (event.target.closest("[data-uw-toggle]")) {
      event.preventDefault();
      this.focus(row);
      this.toggle(row);
    } else if (event.target.closest("[data-uw-next]")) {
      event.preventDefault();
      this.more(row);
    }
  }

  toggle(row) {
    if (row.getAttribute("aria-expanded") === "true") this.close(row);
    else this.open(row);
  }

  close(row) {
    row.setAttribute("aria-expanded", "false");
    this.below(row).forEach((each) => { each.hidden = true; });
    this.settle();
  }

  async open(row) {
    row.setAttribute("aria-expanded", "true");
    const known = this.below(row);
    if (!known.length) await this.fetch(row, row.dataset.uwRow, "");
    let closed = Infinity; // Below a row that was closed before, nothing is shown.
    for (const each of known) {
      const level = Grid.level(each);
      if (level > closed) continue;
      closed = each.getAttribute("aria-expanded") === "false" ? level : Infinity;
      each.hidden = false;
    }
    this.settle();
    this.live.wake();
  }

  /** Puts the next page of children in the place of the row that says there are more. */
  async more(row) {
    const held = row.contains(document.activeElement);
    const before = row.previousElementSibling;
    if (!(await this.fetch(row, row.dataset.uwMore, row.dataset.uwAfter))) return;
    row.remove();
    if (held) this.focus(before.nextElementSibling);
    this.settle();
    this.live.wake();
  }

  async fetch(row, of, after) {
    const url = new URL(this.live.element.dataset.uwRows, document.baseURI);
    const asked = new URL(document.location.href).searchParams;
    for (const name of ["phase", "q"]) if (asked.get(name)) url.searchParams.set(name, asked.get(name));
    url.searchParams.set("of", of);
    if (after) url.searchParams.set("after", after);
    row.classList.add("uw-busy");
    row.setAttribute("aria-busy", "true");
    try {
      const answer = await fetch(url, { credentials: "same-origin", cache: "no-store" });
      if (!answer.ok) throw new Error(String(answer.status));
      row.after(...parsed(await answer.text()));
      return true;
    } catch {
      this.live.notice("lost");
      return false;
    } finally {
      row.classList.remove("uw-busy");
      row.removeAttribute("aria-busy");
    }
  }

  /** A task has added others below a node: they are fetched if its children are shown. */
  async grown(row) {
    if (row.getAttribute("aria-expanded") !== "true") {
      this.below(row).forEach((each) => each.remove());
      return;
    }
    const old = this.below(row);
    const open = new Set(old.filter((r) => r.getAttribute("aria-expanded") === "true").map((r) => r.id));
    const held = old.find((each) => each.contains(document.activeElement))?.id;
    if (!(await this.fetch(row, row.dataset.uwRow, ""))) return;
    old.forEach((each) => each.remove());
    for (const each of this.below(row)) if (open.has(each.id)) await this.open(each);
    if (held) this.focus(document.getElementById(held) || row);
    this.settle();
  }

  /** A link to a node: focuses it, or asks for the page on which the way to it is open. */
  follow() {
    const match = /^#node-([0-9a-f-]{36})$/.exec(window.location.hash);
    if (!match) return;
    const row = document.getElementById(window.location.hash.slice(1));
    if (row) {
      for (let up = this.above(row); up; up = this.above(up)) {
        if (up.getAttribute("aria-expanded") === "false") this.open(up);
      }
      this.focus(row);
    } else {
      const url = new URL(window.location.href);
      if (url.searchParams.get("node") === match[1]) return; // It is nowhere.
      url.search = "";
      url.searchParams.set("node", match[1]);
      window.location.replace(url);
    }
  }
}

// -- canceling -------------------------------------------------------------------------------------

async function confirmCancel(live, link) {
  const dialog = live.element.querySelector("[data-uw-dialog]");
  const url = new URL(link.href);
  url.searchParams.set("fragment", "1");
  const answer = await fetch(url, { credentials: "same-origin", cache: "no-store" });
  if (!answer.ok) throw new Error(String(answer.status));
  dialog.replaceChildren(...parsed(await answer.text()));
  dialog.showModal();
}

function watchCancel(live) {
  const dialog = live.element.querySelector("[data-uw-dialog]");
  if (!dialog) return;
  live.element.addEventListener("click", (event) => {
    const link = event.target.closest("[data-uw-cancel]");
    if (link && !event.ctrlKey && !event.metaKey && !event.shiftKey) {
      event.preventDefault();
      confirmCancel(live, link).catch(() => { window.location.href = link.href; });
    } else if (event.target.closest("[data-uw-close]") && dialog.open) {
      event.preventDefault();
      dialog.close();
    } else if (event.target === dialog) dialog.close();
  });
  dialog.addEventListener("submit", (event) => {
    event.preventDefault();
    const form = event.target;
    const button = form.querySelector("[type=submit]");
    if (button) button.disabled = true;
    const options = { method: "POST", body: new FormData(form), credentials: "same-origin" };
    fetch(form.action, { ...options, headers: { Accept: "application/json" } })
      .then(async (answer) => {
        if (!answer.ok) throw new Error(String(answer.status));
        live.say((await answer.json()).message);
        dialog.close();
        live.wake();
      })
      .catch(() => form.submit());
  });
}

for (const element of document.querySelectorAll("[data-uw-live]")) {
  watchCancel(new Live(element));
}
