// What pages do beyond links and forms. Without it every page still works.
const root = document.documentElement;
const all = (selector, within = document) => [...within.querySelectorAll(selector)];
const keep = (name, value) => {
  try {
    localStorage.setItem(`console.${name}`, value);
  } catch {
    // Storage is switched off: the choice holds for this page.
  }
};
const kept = (name) => {
  try {
    return localStorage.getItem(`console.${name}`);
  } catch {
    return null;
  }
};

// Theme and density
function showAppearance() {
  const theme = kept("theme") ?? "system";
  for (const button of all("[data-set-theme]")) {
    button.setAttribute("aria-pressed", String(button.dataset.setTheme === theme));
  }
  for (const button of all("[data-set-density]")) {
    const chosen = button.dataset.setDensity === root.dataset.density;
    button.setAttribute("aria-pressed", String(chosen));
  }
}
function setTheme(choice) {
  keep("theme", choice);
  const dark = matchMedia("(prefers-color-scheme: dark)").matches;
  root.dataset.bsTheme = choice === "system" ? (dark ? "dark" : "light") : choice;
}

// Navigation: on wide windows it narrows to its icons, on small ones it opens over
const small = matchMedia("(max-width: 991.98px)");
const navToggle = document.querySelector("[data-nav-toggle]");
function showNavigation() {
  const open = small.matches ? "navOpen" in root.dataset : root.dataset.nav === "wide";
  navToggle?.setAttribute("aria-expanded", String(open));
  const closed = (root.dataset.closed ?? "").split(" ");
  for (const button of all("[data-section-toggle]")) {
    const shut = closed.includes(button.dataset.sectionToggle);
    button.setAttribute("aria-expanded", String(!shut));
  }
}
function toggleNavigation() {
  if (small.matches) {
    if ("navOpen" in root.dataset) delete root.dataset.navOpen;
    else root.dataset.navOpen = "";
  } else {
    root.dataset.nav = root.dataset.nav === "wide" ? "narrow" : "wide";
    keep("nav", root.dataset.nav);
  }
  showNavigation();
}
function toggleSection(key) {
  const closed = new Set((root.dataset.closed ?? "").split(" ").filter(Boolean));
  if (!closed.delete(key)) closed.add(key);
  root.dataset.closed = [...closed].join(" ");
  keep("closed", root.dataset.closed);
  showNavigation();
}
small.addEventListener("change", showNavigation);

// Clicks
document.addEventListener("click", async (event) => {
  const on = (selector) => event.target.closest(selector);
  for (const menu of all("details[data-menu][open]")) {
    if (!menu.contains(event.target)) menu.open = false;
  }
  if (!on("[data-global-search]")) document.querySelector("#search-results")?.replaceChildren();
  if (on("[data-nav-toggle]")) toggleNavigation();
  const section = on("[data-section-toggle]");
  if (section) toggleSection(section.dataset.sectionToggle);
  const theme = on("[data-set-theme]");
  if (theme) setTheme(theme.dataset.setTheme);
  const density = on("[data-set-density]");
  if (density) {
    root.dataset.density = density.dataset.setDensity;
    keep("density", density.dataset.setDensity);
  }
  if (theme || density) showAppearance();
  const copy = on("[data-copy]");
  if (copy) {
    await navigator.clipboard.writeText(copy.dataset.copy);
    copy.dataset.copied = "";
    setTimeout(() => delete copy.dataset.copied, 1500);
  }
});

// Keys: Ctrl or Command K searches, Escape closes, the arrows walk rows
function walkRows(event) {
  const list = event.target.closest("[data-rows], [data-global-search]");
  const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
  if (!list || !step || event.target.closest("select, textarea")) return;
  const links = list.matches("table")
    ? all("tbody tr", list).map((row) => row.querySelector("a[href]")).filter(Boolean)
    : all("a[href]", list);
  const here = links.indexOf(event.target.closest("tr")?.querySelector("a[href]") ?? event.target);
  const next = links[here + step];
  if (next) {
    event.preventDefault();
    next.focus();
  } else if (here === 0 && step < 0) {
    const search = list.matches("table") ? document.querySelector("main input[type=search]") : list.querySelector("input[type=search]");
    search?.focus();
  }
}
document.addEventListener("keydown", (event) => {
  if ((event.ctrlKey || event.metaKey) && event.key.toLowerCase() === "k") {
    const input = document.querySelector("[data-global-search] input");
    if (input) {
      event.preventDefault();
      input.select();
    }
  } else if (event.key === "Escape") {
    const menu = event.target.closest("details[data-menu][open]");
    if (menu) {
      menu.open = false;
      menu.querySelector("summary").focus();
    }
    if (event.target.closest("[data-global-search]")) {
      document.querySelector("#search-results").replaceChildren();
    }
    if (small.matches && "navOpen" in root.dataset) toggleNavigation();
  } else if (event.target.matches("[data-filter], .filter-bar input") && event.key === "ArrowDown") {
    document.querySelector("table[data-rows] tbody a[href]")?.focus();
  } else {
    walkRows(event);
  }
});

// A deed that is typed: its button waits for the name
const checkTyped = (form) => {
  const input = form.querySelector("[data-expected]");
  form.querySelector("button[type=submit]").disabled = input.value !== input.dataset.expected;
};
document.addEventListener("input", (event) => {
  const form = event.target.closest("[data-confirm-form]");
  if (form) checkTyped(form);
});

// Relative times grow older while the page stands open
const units = [["day", 86400], ["hour", 3600], ["minute", 60]];
function showTimes() {
  for (const time of all("time[data-relative]")) {
    const seconds = (Date.now() - Date.parse(time.dateTime)) / 1000;
    const [unit, size] = units.find(([, length]) => Math.abs(seconds) >= length) ?? [];
    const count = Math.floor(Math.abs(seconds) / size);
    const words = `${count} ${unit}${count === 1 ? "" : "s"}`;
    if (unit) time.textContent = seconds > 0 ? `${words} ago` : `in ${words}`;
  }
}
setInterval(showTimes, 30000);

// A session in which nothing is done ends: said in time, and put off by a button. What
// is done in another tab counts, so the last activity is kept in the browser.
const idle = Number(document.body.dataset.idleMinutes ?? 0) * 60000;
const warnedFor = Math.min(120000, idle / 2);
function active() {
  keep("active", String(Date.now()));
  document.querySelector("[data-idle-notice]")?.remove();
  watchIdle();
}
let idleTimer;
function watchIdle() {
  if (!idle) return;
  clearTimeout(idleTimer);
  const left = Number(kept("active") ?? Date.now()) + idle - Date.now();
  if (left > warnedFor) idleTimer = setTimeout(watchIdle, left - warnedFor + 1000);
  else showIdle(left > 0);
}
function showIdle(open) {
  const box = document.createElement("div");
  box.className = "notice notice-warning";
  box.dataset.idleNotice = "";
  const text = document.createElement("p");
  text.textContent = open
    ? "Nothing was done here for a while. You are signed out in two minutes."
    : "You were signed out, because nothing was done here. What you typed is given back after you sign in and send it.";
  box.append(text);
  if (open) {
    const stay = document.createElement("button");
    stay.className = "btn btn-sm";
    stay.type = "button";
    stay.dataset.stay = "";
    stay.textContent = "Stay signed in";
    box.append(stay);
    idleTimer = setTimeout(watchIdle, warnedFor);
  }
  document.querySelector("#page-messages")?.replaceChildren(box);
}
document.addEventListener("click", async (event) => {
  if (!event.target.closest("[data-stay]")) return;
  const headers = JSON.parse(document.body.getAttribute("hx-headers"));
  const answer = await fetch(document.body.dataset.keepUrl, { method: "POST", headers });
  if (answer.ok) active();
  else location.reload();
});
document.addEventListener("htmx:afterRequest", (event) => {
  if (event.detail.requestConfig?.verb !== "get" && event.detail.successful) active();
});

// Requests of htmx that fail say so in words; a lost session goes to sign-in
function say(text) {
  const notice = document.createElement("div");
  notice.className = "notice notice-danger";
  notice.textContent = text;
  document.querySelector("#page-messages")?.replaceChildren(notice);
}
document.addEventListener("htmx:beforeSwap", (event) => {
  const { target, xhr } = event.detail;
  if (target.id === "search-results" && !document.querySelector("[data-global-search] input").value.trim()) {
    event.detail.shouldSwap = false; // the search was closed or emptied meanwhile
    target.replaceChildren();
  } else if (/^\s*<!doctype/i.test(xhr.responseText) && xhr.status < 400) {
    event.detail.shouldSwap = false; // a whole page: the server wants it shown as one
    location.assign(xhr.responseURL || location.href);
  }
});
document.addEventListener("htmx:responseError", (event) => {
  say(`The server refused this part of the page (${event.detail.xhr.status}). Nothing was changed. Reload the page to see why.`);
});
document.addEventListener("htmx:sendError", () => {
  say("The console does not answer. What you see may be out of date. Check the connection and reload the page.");
});
const prepare = (within) => {
  all("[data-confirm-form]", within).forEach(checkTyped);
  within.querySelector("[data-focus]")?.focus();
};
document.addEventListener("htmx:load", (event) => prepare(event.detail.elt));

const shortcut = document.querySelector("[data-shortcut]");
if (shortcut && /mac/i.test(navigator.platform)) shortcut.textContent = "⌘ K";
showAppearance();
showNavigation();
active();
prepare(document);
