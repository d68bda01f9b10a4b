// Passkeys: the page asks the console what to sign or to make, the browser asks the
// person, and the answer goes back in a form. Forms: data-passkey is "create" or "get",
// data-questions the address that is asked.
const bytes = (text) =>
  Uint8Array.from(atob(text.replaceAll("-", "+").replaceAll("_", "/")), (c) => c.charCodeAt(0));
const text = (buffer) =>
  btoa(String.fromCharCode(...new Uint8Array(buffer)))
    .replaceAll("+", "-")
    .replaceAll("/", "_")
    .replaceAll("=", "");

function questionsOf(options) {
  options.challenge = bytes(options.challenge);
  if (options.user) options.user.id = bytes(options.user.id);
  for (const one of [...(options.excludeCredentials ?? []), ...(options.allowCredentials ?? [])]) {
    one.id = bytes(one.id);
  }
  return options;
}

function answerOf(credential) {
  const given = credential.response;
  const response = { clientDataJSON: text(given.clientDataJSON) };
  for (const name of ["attestationObject", "authenticatorData", "signature", "userHandle"]) {
    if (given[name]) response[name] = text(given[name]);
  }
  return JSON.stringify({
    id: credential.id,
    rawId: text(credential.rawId),
    type: credential.type,
    response,
    clientExtensionResults: credential.getClientExtensionResults(),
  });
}

function say(form, words) {
  const place = form.querySelector("[data-passkey-error]");
  place.hidden = false;
  place.querySelector("span").textContent = words;
}

async function ask(form) {
  const headers = JSON.parse(document.body.getAttribute("hx-headers"));
  const answer = await fetch(form.dataset.questions, { method: "POST", headers });
  if (!answer.ok) return location.reload(); // the sign-in took too long
  const publicKey = questionsOf(await answer.json());
  const credential = await navigator.credentials[form.dataset.passkey]({ publicKey });
  form.elements.answer.value = answerOf(credential);
  form.submit();
}

for (const form of document.querySelectorAll("form[data-passkey]")) {
  if (!window.PublicKeyCredential) {
    say(form, "This browser knows no passkeys. Use an authenticator app.");
    form.querySelector("button[type=submit]").disabled = true;
  }
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    try {
      await ask(form);
    } catch (error) {
      say(
        form,
        error.name === "InvalidStateError"
          ? "This device has a passkey for your account already."
          : "The browser gave no passkey: it was canceled, took too long, or none fits. Try again.",
      );
    }
  });
}
