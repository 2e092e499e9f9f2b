// Before anything is drawn, so that the page does not flash in the wrong colours.
const chosenTheme = localStorage.getItem("tallyspan-theme");
if (chosenTheme === "light" || chosenTheme === "dark") {
  document.documentElement.dataset.theme = chosenTheme;
}
