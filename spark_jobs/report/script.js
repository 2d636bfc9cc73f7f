// The chips beside the scatter plot highlight the points of one variety: on hover for as long as it lasts, by a click for good.
const plane = document.getElementById("plane");
const shown = document.getElementById("shown");
const chips = document.querySelectorAll(".chips button");
let kept = null;

function highlight(chip) {
  plane.classList.toggle("one", chip !== null);
  plane.querySelectorAll(".chosen").forEach((element) => element.classList.remove("chosen"));
  if (chip) plane.style.setProperty("--chosen", chip.querySelector("i").style.backgroundColor);
  if (chip) document.getElementById("points-" + chip.dataset.group)?.classList.add("chosen");
  shown.textContent = chip ? chip.textContent : "";
}

chips.forEach((chip) => {
  chip.addEventListener("mouseenter", () => highlight(chip));
  chip.addEventListener("mouseleave", () => highlight(kept));
  chip.addEventListener("focus", () => highlight(chip));
  chip.addEventListener("blur", () => highlight(kept));
  chip.addEventListener("click", () => {
    kept = kept === chip ? null : chip;
    chips.forEach((other) => other.setAttribute("aria-pressed", other === kept));
    highlight(kept);
  });
});

document.getElementById("wanted")?.addEventListener("input", (event) => {
  const wanted = event.target.value.trim().toLowerCase();
  chips.forEach((chip) => (chip.hidden = !chip.textContent.toLowerCase().includes(wanted)));
});
