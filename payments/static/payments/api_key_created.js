// The address of this page becomes the key's own: reloading it would otherwise create another key.
const secret = document.getElementById("secret");
history.replaceState(null, "", secret.dataset.page);

const button = document.getElementById("copy");
if (navigator.clipboard) {
    button.addEventListener("click", async () => {
        await navigator.clipboard.writeText(secret.textContent.trim());
        button.textContent = "Copied";
    });
} else {
    button.remove(); // only a secure page may write to the clipboard
}
