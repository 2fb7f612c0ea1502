"use strict";
// Asks for news while somebody looks, less often while nobody answers, and replaces the sections that have changed.
(() => {
  const main = document.getElementById("main");
  const status = document.getElementById("live");
  const least = Number(main.dataset.every), most = 30000, patience = 20000, mostLog = 1000000;
  const seen = new Map();
  let pause = least, timer = 0, asking = false, failed = false, answered = Date.now();

  function say() {
    const old = Math.round((Date.now() - answered) / 1000);
    const text = document.hidden ? "Paused." : failed ? `No answer for ${old} s; asking again.` : "Live.";
    if (status.textContent !== text) status.textContent = text;
    status.classList.toggle("bad", failed);
  }

  function replace(text) {
    const news = new DOMParser().parseFromString(text, "text/html");
    const open = new Set([...main.querySelectorAll("details[open][id]")].map((one) => one.id));
    const focus = document.activeElement && main.contains(document.activeElement) ? document.activeElement.id : "";
    const chosen = document.getSelection();
    const sections = [...news.querySelectorAll("section[id]")];
    if (sections.some((one) => !document.getElementById(one.id))) {
      main.replaceChildren(...[...news.body.childNodes].map((one) => document.adoptNode(one)));
      return;
    }
    for (const section of sections) {
      const now = document.getElementById(section.id);
      const markup = section.outerHTML;
      if (seen.get(section.id) === markup) continue;
      // What somebody is about to copy stays.
      if (chosen && !chosen.isCollapsed && now.contains(chosen.anchorNode)) continue;
      seen.set(section.id, markup);
      const places = [...now.querySelectorAll(".wide")].map((one) => one.scrollLeft);
      for (const one of section.querySelectorAll("details[id]")) one.open = open.has(one.id);
      now.replaceWith(document.adoptNode(section));
      section.querySelectorAll(".wide").forEach((one, at) => { one.scrollLeft = places[at] || 0; });
    }
    if (focus && document.activeElement === document.body) {
      const again = document.getElementById(focus);
      if (again) again.focus({ preventScroll: true });
    }
  }

  async function ask(path) {
    const answer = await fetch(path, { cache: "no-store", redirect: "error", signal: AbortSignal.timeout(patience) });
    if (answer.status === 401) { location.reload(); throw new Error("signed out"); }
    if (!answer.ok) throw new Error(`status ${answer.status}`);
    return answer;
  }

  async function follow() {
    const log = document.getElementById("log");
    if (!log || log.dataset.over === "true") return;
    for (let more = true; more;) {
      const news = await (await ask(`${log.dataset.path}?from=${log.dataset.next}`)).json();
      const atEnd = log.scrollTop + log.clientHeight >= log.scrollHeight - 8;
      more = news.text !== "" && !news.over && news.more;
      log.dataset.next = news.next;
      log.dataset.over = String(news.over);
      if (news.text === "") continue;
      log.append(news.text);
      if (log.textContent.length > mostLog) log.textContent = log.textContent.slice(-mostLog / 2);
      if (atEnd) log.scrollTop = log.scrollHeight;
    }
  }

  async function look() {
    clearTimeout(timer);
    if (asking || document.hidden) return;
    asking = true;
    try {
      replace(await (await ask(`${location.pathname}?part=main`)).text());
      await follow();
      pause = least;
      failed = false;
      answered = Date.now();
    } catch {
      pause = Math.min(most, pause * 2);
      failed = true;
    }
    asking = false;
    say();
    timer = setTimeout(look, pause);
  }

  document.addEventListener("visibilitychange", () => { say(); pause = least; look(); });
  setInterval(say, 1000);
  const log = document.getElementById("log");
  if (log) log.scrollTop = log.scrollHeight;
  timer = setTimeout(look, least);
  say();
})();
