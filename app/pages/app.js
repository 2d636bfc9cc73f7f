"use strict";
// Names of varieties come from a bucket: they are set as text, never as markup.

const byId = (id) => document.getElementById(id);
const statusLine = byId("status"), photo = byId("photo"), candidates = byId("candidates"), details = byId("details");
let latest = 0;

function say(text, isError) {
  statusLine.textContent = text;
  statusLine.classList.toggle("error", Boolean(isError));
}

function element(name, text, attributes) {
  const made = document.createElement(name);
  if (text) made.textContent = text;
  for (const [key, value] of Object.entries(attributes || {})) made.setAttribute(key, value);
  return made;
}

function candidate({ variety, similarity, examples }) {
  const item = element("li"), row = element("div", "", { class: "examples" });
  const percent = `${Math.round(similarity * 100)} %`;
  examples.forEach((source, number) => {
    row.append(element("img", "", { src: source, alt: `${variety}, example ${number + 1}`, loading: "lazy" }));
  });
  item.append(
    element("h2", variety),
    element("p", `${percent} similar`),
    element("meter", percent, { min: 0, max: 1, value: similarity, "aria-label": `Similarity to ${variety}` }),
    row,
  );
  return item;
}

function show(answer) {
  const first = answer.candidates[0];
  say(answer.sure ? `This is most likely: ${first.variety}` : "Not sure. These are the most similar varieties:");
  candidates.replaceChildren(...answer.candidates.map(candidate));
  details.textContent = `Compared with run ${answer.run} in ${answer.milliseconds} ms.`;
}

async function answered(file) {
  const response = await fetch("lookup", {
    method: "POST", body: file, headers: { "Content-Type": "application/octet-stream" },
  });
  const answer = await response.json().catch(() => ({ message: `The server answered ${response.status}.` }));
  if (!response.ok) throw new Error(answer.message);
  return answer;
}

async function lookUp(file) {
  const number = ++latest;  // an answer that comes after a later photograph is not shown
  candidates.replaceChildren();
  details.textContent = "";
  say("Looking …");
  if (photo.src) URL.revokeObjectURL(photo.src);
  photo.src = URL.createObjectURL(file);
  photo.hidden = false;
  try {
    const answer = await answered(file);
    if (number === latest) show(answer);
  } catch (error) {
    if (number !== latest) return;
    photo.hidden = true;
    say(error instanceof TypeError ? "The server cannot be reached: try again." : error.message, true);
  }
  statusLine.focus({ preventScroll: true });
}

for (const input of [byId("camera"), byId("file")]) {
  input.addEventListener("change", () => {
    if (input.files.length) lookUp(input.files[0]);
    input.value = "";  // the same file may be chosen again
  });
}
byId("form").addEventListener("submit", (event) => event.preventDefault());
photo.addEventListener("error", () => { photo.hidden = true; });
document.addEventListener("dragover", (event) => { event.preventDefault(); document.body.classList.add("dropping"); });
document.addEventListener("dragleave", () => document.body.classList.remove("dropping"));
document.addEventListener("drop", (event) => {
  event.preventDefault();
  document.body.classList.remove("dropping");
  if (event.dataTransfer.files.length) lookUp(event.dataTransfer.files[0]);
});
