// Before the page is painted: the theme that was chosen, where one was.
document.documentElement.dataset.theme = localStorage.getItem("puna.theme") ?? "";
