"use strict";
for (const box of document.querySelectorAll(".frames")) {
  const slider = box.querySelector("input"), output = box.querySelector("output");
  const play = box.querySelector(".play"), all = box.querySelector(".all");
  let timer = null;

  function show(step) {
    slider.value = step;
    for (const stack of box.querySelectorAll(".stack")) {
      stack.querySelectorAll(".frame").forEach((frame, i) => frame.classList.toggle("shown", i + 1 === step));
    }
    output.textContent = box.querySelector(".frame.shown").dataset.label;
    slider.setAttribute("aria-valuetext", output.textContent);
  }

  function stop() {
    clearInterval(timer);
    timer = null;
    play.textContent = "Play";
  }

  slider.addEventListener("input", () => { stop(); show(Number(slider.value)); });
  play.addEventListener("click", () => {
    if (timer !== null) return stop();
    let step = 1;
    show(step);
    play.textContent = "Stop";
    timer = setInterval(() => { if (step < Number(slider.max)) show(++step); else stop(); }, 500);
  });
  all.addEventListener("click", () => {
    const pressed = box.classList.toggle("every");
    all.setAttribute("aria-pressed", String(pressed));
    all.textContent = pressed ? "Show one step" : "Show all steps";
  });
  box.querySelector("form").addEventListener("submit", (event) => event.preventDefault());
  show(Number(slider.max));
}
document.documentElement.classList.add("scripted");
