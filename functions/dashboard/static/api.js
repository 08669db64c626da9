// Requests to the API that serves this page, with the key of this tab.

import { key } from "./session.js";

// This module is at <prefix>/dashboard/: so a stage, a custom domain's path and no prefix are alike.
const BASE = new URL("../", import.meta.url);
const PATIENCE = 30_000;
const SLOW = 3_000;

export class ApiError extends Error {
  constructor(status, body, retryAfter) {
    super(`status ${status}`);
    Object.assign(this, { status, body, retryAfter });
  }
}

// Somebody must type a key; `app.js` asks for it, once for all requests that wait.
let askForKey = () => Promise.reject(new ApiError(401));
export const onRefusedKey = (ask) => (askForKey = ask);

// Called with true when an answer takes long, and with false when it has come.
let tellSlow = () => {};
export const onSlow = (tell) => (tellSlow = tell);

// Numbers that JavaScript would round stay text, exactly as they were sent.
function exact(name, value, context) {
  if (typeof value !== "number" || Number.isSafeInteger(value)) return value;
  return context?.source ?? String(value);
}

async function send(path, { query, body, accept, signal } = {}) {
  const url = new URL(path.replace(/^\//, ""), BASE);
  for (const [name, value] of Object.entries(query ?? {})) {
    if (value !== undefined && value !== null && value !== "") url.searchParams.set(name, value);
  }
  const used = key();
  const headers = { accept: accept ?? "application/json", authorization: `Bearer ${used}`, "x-api-key": used };
  if (body) headers["content-type"] = "application/json";
  const signals = [AbortSignal.timeout(PATIENCE), ...(signal ? [signal] : [])];
  const response = await fetch(url, {
    method: body ? "POST" : "GET",
    headers,
    body: body && JSON.stringify(body),
    signal: AbortSignal.any(signals),
    credentials: "omit",
    cache: "no-store",
    referrerPolicy: "no-referrer",
  });
  const text = await response.text();
  if (response.ok) return { response, text };
  let refused = null;
  try {
    refused = JSON.parse(text);
  } catch {
    // A proxy's page, perhaps: the status says enough.
  }
  const error = new ApiError(response.status, refused, Number(response.headers.get("retry-after")) || 0);
  error.key = used;
  throw error;
}

async function request(path, options) {
  const slow = setTimeout(() => tellSlow(true), SLOW);
  try {
    for (;;) {
      if (!key()) await askForKey(false);
      options?.signal?.throwIfAborted();
      try {
        return await send(path, options);
      } catch (error) {
        if (!(error instanceof ApiError) || error.status !== 401) throw error;
        // Another request may have brought a new key meanwhile.
        if (error.key === key()) await askForKey(true);
      }
    }
  } finally {
    clearTimeout(slow);
    tellSlow(false);
  }
}

export async function call(path, options) {
  const { response, text } = await request(path, options);
  return { data: JSON.parse(text, exact), countedUntil: response.headers.get("x-meterstone-counted-until") };
}

export async function text(path, options) {
  return (await request(path, options)).text;
}

// What went wrong, and what to do, in words.
export function explained(error) {
  if (error instanceof ApiError) {
    const said = reasons(error.body);
    if (error.status === 403) {
      const scope = missingScope(error.body);
      if (!scope) return ["This key may not read this.", "Sign out, and sign in with another key."];
      return [`This key does not have the scope “${scope}”.`, `It is needed to see this. Sign out, and sign in with a key that has “${scope}”.`];
    }
    if (error.status === 404) return ["There is no such thing.", said || "Look whether the id is right: another organization’s key sees nothing of it."];
    if (error.status === 422 || error.status === 400) return ["The API refused the question.", said || "Change the filters and try again."];
    if (error.status === 429) return ["Too many requests at once.", "Wait a moment, then try again."];
    if (error.status === 503) return ["The store is not available.", `Nothing is lost. Try again in ${error.retryAfter || 5} seconds.`];
    return ["The API failed.", `It answered ${error.status}. Try again; if it stays so, tell whoever runs it.`];
  }
  if (error?.name === "TimeoutError") return ["The API did not answer in 30 seconds.", "Try again, or ask for a shorter time."];
  if (error instanceof TypeError) return ["The API cannot be reached.", "Look whether you are connected, then try again."];
  return ["This page failed.", String(error?.message ?? error)];
}

// The scope that the key lacks, as either contract names it.
const missingScope = (body) => body?.details?.scope?.missing ?? body?.error_details?.scope?.[0];

function reasons(body) {
  const details = body?.error_details ?? body?.details;
  if (details && typeof details === "object") {
    return Object.entries(details)
      .map(([name, value]) => `${name}: ${Array.isArray(value) ? value.join(", ") : (value?.reason ?? value)}`)
      .join("; ");
  }
  if (Array.isArray(body?.errors)) return body.errors.map((each) => `${each.path}: ${each.message}`).join("; ");
  return body?.message ?? "";
}
