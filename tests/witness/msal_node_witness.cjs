"use strict";
// MSAL for Node.js: tokens by secret and certificate, sign-in, errors.

const crypto = require("node:crypto");
const fs = require("node:fs");
const msal = require("@azure/msal-node");

const facts = JSON.parse(fs.readFileSync(process.env.WITNESS, "utf8"));
const tenant = facts.tenant;
const authority = `${facts.url}/${tenant.id}`;
const scopes = ["https://graph.microsoft.com/.default"];
let failed = false;

async function check(title, claim) {
  try {
    if ((await claim()) === false) throw new Error("not so");
    console.log(`ok      @azure/msal-node: ${title}`);
  } catch (error) {
    failed = true;
    console.log(`FAILED  @azure/msal-node: ${title}: ${error}`);
  }
}

function application(credential) {
  return new msal.ConfidentialClientApplication({
    auth: {
      clientId: facts.application.client_id,
      authority,
      knownAuthorities: [new URL(facts.url).host],
      ...credential,
    },
  });
}

const bySecret = () => application({ clientSecret: facts.application.client_secret });

async function errorOf(app) {
  try {
    await app.acquireTokenByClientCredential({ scopes });
  } catch (error) {
    return `${error.errorCode} ${error.errorMessage}`;
  }
  return "";
}

class Person {
  constructor(upn, password) {
    Object.assign(this, { upn, password, cookie: "" });
  }

  // Goes through the sandbox's pages; returns what is sent to the application.
  async signIn(url) {
    let [where, page] = await this.read(url);
    while (page !== null) {
      const form = /<form[^>]*action="([^"]+)"[^>]*>([^]*?)<\/form>/.exec(page);
      const fields = new URLSearchParams();
      for (const input of form[2].matchAll(/<input[^>]*name="([^"]+)"(?:[^>]*value="([^"]*)")?/g)) {
        fields.set(input[1], input[2] || "");
      }
      fields.set("username", this.upn);
      fields.set("password", this.password);
      [where, page] = await this.read(new URL(form[1], where).href, fields);
    }
    return new URL(where).searchParams;
  }

  async read(url, body) {
    const answer = await fetch(url, {
      method: body ? "POST" : "GET",
      body,
      redirect: "manual",
      headers: this.cookie ? { cookie: this.cookie } : {},
    });
    const given = answer.headers.get("set-cookie");
    if (given) this.cookie = given.split(";")[0];
    const target = answer.headers.get("location");
    if (!target) return [url, await answer.text()];
    const next = new URL(target, url).href;
    return next.startsWith(facts.pages_url) ? this.read(next) : [next, null];
  }
}

async function signIn() {
  const app = bySecret();
  const verifier = crypto.randomBytes(48).toString("base64url");
  const challenge = crypto.createHash("sha256").update(verifier).digest("base64url");
  const request = { scopes: ["User.Read"], redirectUri: facts.redirect_uri };
  const url = await app.getAuthCodeUrl({
    ...request,
    codeChallenge: challenge,
    codeChallengeMethod: "S256",
    responseMode: "query",
    state: "state-1",
    nonce: "nonce-1",
  });
  const who = tenant.global_admin;
  const answer = await new Person(who.upn, who.password).signIn(url);
  const result = await app.acquireTokenByCode({
    ...request,
    code: answer.get("code"),
    codeVerifier: verifier,
    nonce: "nonce-1",
  });
  return (
    answer.get("state") === "state-1" &&
    result.idTokenClaims.preferred_username === who.upn &&
    result.tenantId === tenant.id
  );
}

async function main() {
  const raw = Buffer.from(
    facts.certificate.replace(/-----[^-]+-----/g, ""),
    "base64",
  );
  const thumbprintSha256 = crypto.createHash("sha256").update(raw).digest("hex");
  await check("a token by secret", async () => {
    const result = await bySecret().acquireTokenByClientCredential({ scopes });
    return Boolean(result.accessToken) && result.expiresOn > new Date();
  });
  await check("a token by certificate", async () => {
    const app = application({
      clientCertificate: { thumbprintSha256, privateKey: facts.private_key },
    });
    return Boolean((await app.acquireTokenByClientCredential({ scopes })).accessToken);
  });
  await check("a token by a foreign issuer's assertion", async () => {
    const app = application({ clientAssertion: facts.assertion });
    return Boolean((await app.acquireTokenByClientCredential({ scopes })).accessToken);
  });
  await check("a person signs in with PKCE", signIn);
  await check("a wrong secret is refused", async () =>
    (await errorOf(application({ clientSecret: "wrong" }))).includes("AADSTS7000215"),
  );
  process.exit(failed ? 1 : 0);
}

main();
