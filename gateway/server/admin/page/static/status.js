// The status page follows the gateway. Without this script the page is complete as of when it was
// loaded; with it, what changes is put in place, and nothing that a person is using is touched:
// focus, the search field and the place on the page stay.
"use strict";

(() => {
  const root = document.documentElement;
  const source = root.dataset.events;
  if (!source) {
    return;
  }
  const byId = (id) => document.getElementById(id);
  const fresh = byId("fresh");
  const freshWords = byId("fresh-words");
  const announcement = byId("announcement");
  const body = byId("rows");

  // -- time: ages go on by themselves, on the gateway's clock ---------------------------------------

  let ahead = Number(root.dataset.now) - Date.now() / 1000;

  const age = (seconds) => {
    const whole = Math.max(Math.floor(seconds), 0);
    if (whole < 60) {
      return `${whole} s`;
    }
    if (whole < 3600) {
      return `${Math.floor(whole / 60)} min`;
    }
    if (whole < 86400) {
      return `${Math.floor(whole / 3600)} h ${Math.floor((whole % 3600) / 60)} min`;
    }
    return `${Math.floor(whole / 86400)} d ${Math.floor((whole % 86400) / 3600)} h`;
  };

  const began = new WeakMap(); // element -> Unix time, so that it is parsed once

  const tick = () => {
    const now = Date.now() / 1000 + ahead;
    for (const element of document.querySelectorAll("time[data-age]")) {
      let since = began.get(element);
      if (since === undefined) {
        since = Date.parse(element.dateTime) / 1000;
        began.set(element, since);
      }
      const words = age(now - since);
      if (element.firstChild.data !== words) {
        element.firstChild.data = words;
      }
    }
  };

  // -- what is said aloud: seldom, and only what matters --------------------------------------------

  const QUIET = 30000; // milliseconds between two announcements
  let announcedAt = 0;
  let announcedTotal = null;
  let total = null;

  const sessions = () => {
    const number = total.toLocaleString("en").replaceAll(",", "\u202f");
    return `${number} ${total === 1 ? "session" : "sessions"}`;
  };

  const announce = () => {
    const now = Date.now();
    if (total === null) {
      return;
    }
    if (announcedTotal === null) {
      announcedTotal = total; // the page itself says it
    } else if (total !== announcedTotal && now - announcedAt >= QUIET) {
      announcedAt = now;
      announcedTotal = total;
      announcement.textContent = sessions();
    }
  };

  // -- putting changes in place ---------------------------------------------------------------------

  const parse = (html) => {
    const template = document.createElement("template");
    template.innerHTML = html;
    return template.content;
  };

  const putPart = ({ id, html }) => {
    const part = byId(`part-${id}`);
    if (part === null) {
      return;
    }
    const hadFocus = part.contains(document.activeElement);
    const address = hadFocus ? document.activeElement.getAttribute("href") : null;
    part.replaceChildren(parse(html));
    if (hadFocus) {
      const same = [...part.querySelectorAll("a")].find((a) => a.getAttribute("href") === address);
      (same ?? byId("sessions")).focus({ preventScroll: true });
    }
  };

  const rows = new Map(); // session -> its row
  for (const row of body.rows) {
    rows.set(row.dataset.id, row);
  }

  // Cell by cell: a button that has the focus keeps it.
  const patch = (old, changed) => {
    old.dataset.v = changed.dataset.v;
    old.className = changed.className;
    for (let i = 0; i < changed.cells.length; i += 1) {
      const [mine, theirs] = [old.cells[i], changed.cells[i]];
      const time = mine.querySelector("time");
      if (time !== null && time.dateTime === theirs.querySelector("time")?.dateTime) {
        continue;
      }
      if (mine.innerHTML !== theirs.innerHTML) {
        mine.replaceChildren(...theirs.childNodes);
      }
    }
  };

  const putSessions = (data) => {
    const isFirst = total === null;
    total = data.total;
    // What a browser has is left alone: the first message holds every row.
    const changed = data.rows.filter(([id, version]) => rows.get(id)?.dataset.v !== version);
    if (changed.length) {
      const content = parse(`<table><tbody>${changed.map((each) => each[2]).join("")}</tbody></table>`);
      for (const row of [...content.querySelectorAll("tr")]) {
        const old = rows.get(row.dataset.id);
        if (old === undefined) {
          rows.set(row.dataset.id, row);
          if (!isFirst) {
            row.classList.add("changed");
          }
        } else {
          patch(old, row);
        }
      }
    }
    if (data.order !== null) {
      arrange(data.order);
    }
    document.title = `${sessions()} · Remoting Gateway`;
    announce();
  };

  const arrange = (order) => {
    const wanted = new Set(order);
    const focused = document.activeElement?.closest?.("#rows > tr") ?? null;
    let refuge = null; // where the focus goes if its row goes
    if (focused !== null && !wanted.has(focused.dataset.id)) {
      refuge = focused.nextElementSibling ?? focused.previousElementSibling;
      while (refuge !== null && !wanted.has(refuge.dataset.id)) {
        refuge = refuge.nextElementSibling;
      }
    }
    for (const [id, row] of rows) {
      if (!wanted.has(id)) {
        row.remove();
        rows.delete(id);
      }
    }
    // Rows are moved past the one that has the focus, never itself: moving takes the focus away.
    let place = body.firstElementChild;
    for (const id of order) {
      const row = rows.get(id);
      if (row === undefined) {
        continue;
      }
      if (row === place) {
        place = place.nextElementSibling;
      } else if (row === focused) {
        while (place !== null && place !== row) {
          const next = place.nextElementSibling;
          row.after(place);
          place = next;
        }
        place = row.nextElementSibling;
      } else {
        body.insertBefore(row, place);
      }
    }
    if (focused !== null && !focused.isConnected) {
      (refuge?.querySelector("button") ?? byId("sessions")).focus({ preventScroll: true });
    }
  };

  // -- the stream -----------------------------------------------------------------------------------

  const PATIENCE = 40000; // milliseconds without a word; the gateway says one every 15 s
  const COMES_BACK = 10000; // after a refusal, with as much again by chance
  let stream = null;
  let watch = 0;
  let again = 0;

  const show = (state, words) => {
    if (freshWords.textContent !== words) {
      fresh.className = `fresh ${state}`;
      freshWords.textContent = words;
    }
  };

  const heard = () => {
    clearTimeout(watch);
    watch = setTimeout(() => {
      close();
      open();
    }, PATIENCE);
  };

  const close = () => {
    clearTimeout(watch);
    clearTimeout(again);
    stream?.close();
    stream = null;
  };

  const open = () => {
    close();
    stream = new EventSource(source);
    heard();
    const on = (kind, act) =>
      stream.addEventListener(kind, (message) => {
        heard();
        act(JSON.parse(message.data));
      });
    on("part", putPart);
    on("sessions", putSessions);
    on("now", ({ now, assets }) => {
      ahead = now - Date.now() / 1000;
      announce();
      if (assets === root.dataset.assets) {
        show("live", "live");
      } else {
        close();
        show("lost", "not live: the gateway was upgraded, reload the page");
      }
    });
    stream.addEventListener("error", () => {
      if (stream.readyState !== EventSource.CLOSED) {
        show("lost", "not live: connecting again");
        return;
      }
      // Refused: too many viewers, or a login that has ended. A browser does not try again itself.
      show("lost", "not live: refused; reload the page if this stays");
      close();
      again = setTimeout(open, COMES_BACK * (1 + Math.random()));
    });
  };

  // A page that nobody sees holds no place and no connection: browsers have six for a host.
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) {
      close();
      show("", "not live while hidden");
    } else {
      open();
    }
  });
  addEventListener("pagehide", close);
  addEventListener("pageshow", (event) => {
    if (event.persisted) {
      open();
    }
  });

  setInterval(tick, 1000);
  if (!document.hidden) {
    open();
  }
})();
