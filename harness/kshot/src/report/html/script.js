// Filters and comfort; the page reads the same without it.
(() => {
  "use strict";
  const find = (selector) => [...document.querySelectorAll(selector)];
  const words = document.getElementById("words");
  const trouble = document.getElementById("trouble");
  const fine = new Set(["match", "known"]);
  const shows = (one) => {
    const wanted = words.value.toLowerCase().split(/\s+/).filter(Boolean);
    const said = one.dataset.words.toLowerCase();
    return wanted.every((word) => said.includes(word)) && !(trouble.checked && fine.has(one.dataset.look));
  };
  const filter = () => {
    const pairs = find("details.pair");
    for (const pair of pairs) pair.hidden = !shows(pair);
    for (const cell of find("td[data-words]")) cell.classList.toggle("dim", !shows(cell));
    for (const row of find("table.matrix tbody tr")) {
      row.hidden = ![...row.querySelectorAll("td[data-words]")].some(shows);
    }
    const left = pairs.filter((pair) => !pair.hidden).length;
    document.getElementById("count").textContent = `${left} of ${pairs.length} pair${pairs.length === 1 ? "" : "s"}`;
  };
  const open = () => {
    const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
    if (target instanceof HTMLDetailsElement) {
      target.hidden = false;
      target.open = true;
      target.scrollIntoView();
    }
  };
  for (const form of find("form.filter")) {
    form.hidden = false;
    form.addEventListener("input", filter);
    form.addEventListener("submit", (event) => event.preventDefault());
  }
  for (const button of find("button.copy")) {
    button.hidden = !navigator.clipboard;
    button.addEventListener("click", async () => {
      await navigator.clipboard.writeText(button.parentElement.querySelector("code").textContent);
      button.textContent = "Copied";
    });
  }
  addEventListener("hashchange", open);
  filter();
  open();
})();
