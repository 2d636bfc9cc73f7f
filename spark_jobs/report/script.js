// The chips below the scatter plot highlight the points of one variety: on hover for as long as it lasts, by a click for good.
const plane = document.getElementById("plane");
const chips = document.querySelectorAll(".chips button");
let kept = null;

function highlight(group) {
  plane.classList.toggle("one", group !== null);
  plane.querySelectorAll(".chosen").forEach((element) => element.classList.remove("chosen"));
  document.getElementById("points-" + group)?.classList.add("chosen");
}

chips.forEach((chip) => {
  const group = chip.dataset.group;
  chip.addEventListener("mouseenter", () => highlight(group));
  chip.addEventListener("mouseleave", () => highlight(kept));
  chip.addEventListener("click", () => {
    kept = kept === group ? null : group;
    chips.forEach((other) => other.setAttribute("aria-pressed", other.dataset.group === kept));
    highlight(kept);
  });
});
