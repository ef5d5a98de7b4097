document.title = "Tickwell";
