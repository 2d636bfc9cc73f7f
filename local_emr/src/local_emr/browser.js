// Files and folders that are dropped on the page, or chosen, are put into the folder it shows.
const drop = document.getElementById("drop");
const said = document.getElementById("said");
const here = location.pathname;

async function put(files) {
  let done = 0;
  for (const [path, file] of files) {
    const answer = await fetch(here + path.split("/").map(encodeURIComponent).join("/"), { method: "PUT", body: file });
    if (!answer.ok) {
      said.textContent = `${path} was not stored: ${answer.status}`;
      return;
    }
    said.textContent = `${++done} of ${files.length} stored`;
  }
  if (done) location.reload();
}

async function walk(entry, path, found) {
  if (entry.isFile) {
    found.push([path + entry.name, await new Promise((resolve, reject) => entry.file(resolve, reject))]);
    return;
  }
  const reader = entry.createReader();
  for (;;) {
    const some = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
    if (!some.length) return;
    for (const child of some) await walk(child, path + entry.name + "/", found);
  }
}

document.getElementById("files").addEventListener("change", (event) => {
  put([...event.target.files].map((file) => [file.name, file]));
});
addEventListener("dragover", (event) => {
  event.preventDefault();
  drop.classList.add("over");
});
addEventListener("dragleave", () => drop.classList.remove("over"));
addEventListener("drop", async (event) => {
  event.preventDefault();
  drop.classList.remove("over");
  const entries = [...event.dataTransfer.items].map((item) => item.webkitGetAsEntry()).filter(Boolean);
  const found = [];
  for (const entry of entries) await walk(entry, "", found);
  await put(found);
});
