// Light or dark: as the system says, unless the button says otherwise. Not a module, so that it runs before the first paint.
(() => {
  const CHOICES = ["auto", "light", "dark"];
  const KEY = "kmonitor-theme";
  let choice = "auto";
  try {
    choice = CHOICES.find((one) => one === localStorage.getItem(KEY)) ?? "auto";
  } catch {
    // Storage may be forbidden; the choice then lasts as long as the page.
  }

  const apply = () => {
    if (choice === "auto") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = choice;
  };

  apply();
  document.addEventListener("DOMContentLoaded", () => {
    const button = document.getElementById("theme");
    const label = () => {
      button.textContent = `Theme: ${choice}`;
    };
    label();
    button.addEventListener("click", () => {
      choice = CHOICES[(CHOICES.indexOf(choice) + 1) % CHOICES.length];
      try {
        localStorage.setItem(KEY, choice);
      } catch {
        // As above.
      }
      apply();
      label();
    });
  });
})();
