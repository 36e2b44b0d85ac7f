// The server's public API: models, usage and streamed replies.

import { local } from "./store.js";

const PASSWORD = "acytoo-password";

export class ApiError extends Error {
  constructor(message, status, attempts = {}) {
    super(message);
    this.status = status;
    this.attempts = attempts;
  }
}

export const hasPassword = () => Boolean(local.get(PASSWORD));

export function setPassword(password) {
  if (password) local.set(PASSWORD, password);
  else local.remove(PASSWORD);
}

function headers() {
  const password = local.get(PASSWORD);
  return { "content-type": "application/json", ...(password ? { authorization: `Bearer ${password}` } : {}) };
}

async function call(path, options = {}) {
  let response;
  try {
    response = await fetch(path, { ...options, headers: headers() });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError("The server cannot be reached. Is it running?", 0);
  }
  if (!response.ok) throw new ApiError(await messageOf(response), response.status, attemptsOf(response));
  return response;
}

async function messageOf(response) {
  try {
    const document = await response.json();
    return document.error?.message ?? `The server answered with status ${response.status}.`;
  } catch {
    return `The server answered with status ${response.status}.`;
  }
}

export async function models() {
  const document = await (await call("/v1/models")).json();
  return document.data.map((model) => model.id);
}

export async function hasUsage() {
  return "/usage" in (await (await call("/openapi.json")).json()).paths;
}

export async function usage() {
  return (await call("/usage?by=key,model")).json();
}

// Yield {text}, {reasoning}, {usage}, {finish}, {model} and {headers} of a reply. A reply that ends without its end is
// an error, so that nobody takes half of it for all of it.
export async function* reply(body, signal) {
  const request = { ...body, stream: true, stream_options: { include_usage: true } };
  const response = await call("/v1/chat/completions", { method: "POST", body: JSON.stringify(request), signal });
  yield { headers: { ...attemptsOf(response), cache: response.headers.get("x-acytoo-cache") ?? "" } };
  let isComplete = false;
  for await (const data of events(response, signal)) {
    if (data === "[DONE]") {
      isComplete = true;
      break;
    }
    const chunk = JSON.parse(data);
    if (chunk.error) throw new ApiError(String(chunk.error.message ?? "The reply failed."), 0);
    if (typeof chunk.model === "string") yield { model: chunk.model };
    if (chunk.usage) yield { usage: chunk.usage };
    const choice = chunk.choices?.[0];
    if (!choice) continue;
    const delta = choice.delta ?? {};
    const reasoning = delta.reasoning_content ?? delta.reasoning;
    if (typeof reasoning === "string" && reasoning) yield { reasoning };
    for (const text of [delta.content, delta.refusal]) if (typeof text === "string" && text) yield { text };
    if (choice.finish_reason) yield { finish: choice.finish_reason };
  }
  if (!isComplete) throw new ApiError("The connection ended before the reply did.", 0);
}

// Return which targets of a route were asked. A refusal has that too.
function attemptsOf({ headers }) {
  return {
    target: headers.get("x-acytoo-target") ?? "",
    attempts: Number(headers.get("x-acytoo-attempts") ?? 0),
    trace: traceOf(headers.get("x-acytoo-trace") ?? ""),
  };
}

// Return the attempts of a list like `"openai/m";outcome=RateLimitError;seconds=0.112, …`.
function traceOf(header) {
  const members = header.matchAll(/"((?:[^"\\]|\\.)*)";outcome=(\w+);seconds=([\d.]+)/g);
  return [...members].map(([, target, outcome, seconds]) => ({
    target: target.replaceAll(/\\(.)/g, "$1"),
    outcome,
    seconds: Number(seconds),
  }));
}

// Yield the data of each event of a stream. Its lines may end in CR LF, and in two chunks.
export async function* events(response, signal) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let buffer = "";
  try {
    for (;;) {
      let part;
      try {
        part = await reader.read();
      } catch (error) {
        if (signal?.aborted) throw error;
        throw new ApiError("The connection was lost before the reply was complete.", 0);
      }
      if (part.done) return;
      buffer = (buffer + part.value).replaceAll("\r\n", "\n");
      for (let end = buffer.indexOf("\n\n"); end >= 0; end = buffer.indexOf("\n\n")) {
        const record = buffer.slice(0, end);
        buffer = buffer.slice(end + 2);
        const lines = record.split("\n").filter((line) => line.startsWith("data:"));
        if (lines.length) yield lines.map((line) => line.slice(5).trimStart()).join("\n");
      }
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}
