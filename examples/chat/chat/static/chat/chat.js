// The room's page: what comes is shown, what is written is sent. The connection is courier_django's.
const log = document.querySelector("#log");
const state = document.querySelector("#state");
const say = document.querySelector("#say");
const text = document.querySelector("#text");
const LINES_MAX = 500;

document.addEventListener("courier:open", () => { state.textContent = "live"; });
document.addEventListener("courier:lost", () => { state.textContent = "reconnecting"; });
document.addEventListener("courier:refused", () => { state.textContent = "not let in"; });
document.addEventListener("courier:gap", () => show({ text: "Some messages may be missing here.", kind: "gap" }));
document.addEventListener("courier:message", ({ detail: { event, value } }) => show({ ...value, kind: event }));

say.addEventListener("submit", async (event) => {
  event.preventDefault();
  const body = new FormData(say);
  const [, to, notice] = /^@(\S+)\s+(.+)/s.exec(text.value) ?? [];
  if (to) {
    body.set("to", to);
    body.set("text", notice);
  }
  const response = await fetch(to ? say.dataset.notices : say.action, { method: "POST", body }).catch(() => null);
  if (response?.ok) {
    if (to) show({ from: `to ${to}`, text: notice, kind: "notice" });
    text.value = "";
  } else {
    show({ text: response?.status === 404 ? `There is no ${to} here.` : "That was not sent. Try again.", kind: "gap" });
  }
  text.focus();
});

function show({ from, text, at, kind }) {
  // Each channel tells its own gap; one line is enough.
  if (kind === "gap" && log.lastElementChild?.textContent === text) return;
  const atEnd = log.scrollHeight - log.scrollTop - log.clientHeight < 40;
  const line = document.createElement("li");
  line.className = kind;
  if (from) line.append(element("b", from), " ");
  line.append(element("span", text));
  if (at) {
    const time = element("time", new Date(at).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" }));
    time.dateTime = at;
    line.append(" ", time);
  }
  log.append(line);
  while (log.children.length > LINES_MAX) log.firstElementChild.remove();
  if (atEnd) log.scrollTop = log.scrollHeight;
}

function element(name, content) {
  const made = document.createElement(name);
  made.textContent = content;
  return made;
}
