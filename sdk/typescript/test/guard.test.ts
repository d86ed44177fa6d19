import assert from "node:assert/strict";
import { get, request as ask } from "node:http";
import { test } from "node:test";

import express from "express";
import fastify from "fastify";

import { Guard, type Identity, type NonceMemory } from "@stagedoor/sdk";

import { bodyOf, KEY, listen, NOW, signedHeaders } from "./support.js";

function guard(seen?: NonceMemory): Guard {
  return new Guard({ keys: KEY, now: () => NOW, ...(seen ? { seen } : {}) });
}

interface Told {
  status: number;
  location: string | undefined;
  type: string | undefined;
  body: string;
}

function fetchRaw(url: string, headers: Record<string, string> = {}, method = "GET"): Promise<Told> {
  return new Promise((resolve, reject) => {
    const request = ask(url, { method, headers, agent: false }, (response) => {
      bodyOf(response).then((body) => {
        const { location, "content-type": type } = response.headers;
        resolve({ status: response.statusCode ?? 0, location, type: type?.split(";")[0], body });
      }, reject);
    });
    request.on("error", reject);
    request.end();
  });
}

/** The same for every framework: `/open`, `/mine?x=1` needs a session, `/team` needs staff. */
async function same(url: string): Promise<void> {
  const signed = (path: string, kind = "customer") => signedHeaders({ path, kind });
  const open = await fetchRaw(`${url}/open`);
  assert.deepEqual([open.status, open.body], [200, "null"]);
  const known = await fetchRaw(`${url}/open`, signed("/open"));
  assert.equal((JSON.parse(known.body) as Identity).account, signedHeaders()["x-stagedoor-account"]);

  const forged = await fetchRaw(`${url}/open`, { ...signed("/open"), "x-stagedoor-kind": "staff" });
  assert.equal(forged.status, 401, "forged headers end an open page too");
  assert.equal(forged.type, "application/problem+json");
  assert.equal((JSON.parse(forged.body) as { code: string }).code, "shop.identity_signature");

  const stranger = await fetchRaw(`${url}/mine?x=1`);
  assert.deepEqual([stranger.status, stranger.type], [401, "application/problem+json"]);
  const browser = await fetchRaw(`${url}/mine?x=1`, { accept: "text/html,*/*" });
  assert.equal(browser.status, 303);
  assert.equal(browser.location, "/auth/sign-in?next=%2Fmine%3Fx%3D1");
  const headers = signed("/mine?x=1");
  assert.equal((await fetchRaw(`${url}/mine?x=1`, headers)).status, 200);
  assert.equal((await fetchRaw(`${url}/mine?x=1`, headers)).status, 401, "once");
  assert.equal((await fetchRaw(`${url}/mine?x=2`, signed("/mine?x=1"))).status, 401);

  assert.equal((await fetchRaw(`${url}/team`)).status, 401);
  assert.equal((await fetchRaw(`${url}/team`, signed("/team"))).status, 403);
  const staff = await fetchRaw(`${url}/team`, signed("/team", "staff"));
  assert.equal((JSON.parse(staff.body) as Identity).kind, "staff");
}

test("Express, with a mounted router and two middlewares in a row", async () => {
  const door = guard();
  const app = express();
  app.use(door.identify());
  app.get("/open", (request, response) => void response.json(request.stagedoor));
  const mounted = express.Router();
  // Express changes `url` below a mount; `originalUrl` is what was signed.
  mounted.get("/", door.requireSession(), (request, response) => void response.json(request.stagedoor));
  app.use("/mine", mounted);
  app.get("/team", door.requireKind("staff"), (request, response) => {
    response.json(request.stagedoor);
  });
  const server = await listen(app);
  try {
    await same(server.url);
  } finally {
    await server.close();
  }
});

test("Express: an error of a handler stays the handler's", async () => {
  const app = express();
  app.use(guard().identify());
  app.get("/open", () => {
    throw new Error("of the shop");
  });
  app.use(((error, _request, response, _next) => {
    response.status(500).end((error as Error).message);
  }) satisfies express.ErrorRequestHandler);
  const server = await listen(app);
  try {
    const told = await fetchRaw(`${server.url}/open`);
    assert.deepEqual([told.status, told.body], [500, "of the shop"]);
  } finally {
    await server.close();
  }
});

test("Fastify, as hooks", async () => {
  const door = guard();
  const app = fastify();
  app.decorateRequest("stagedoor", null);
  app.addHook("onRequest", door.identify());
  const who = (request: object) =>
    JSON.stringify((request as { stagedoor: Identity | null }).stagedoor);
  app.get("/open", async (request) => who(request));
  app.get("/mine", { onRequest: door.requireSession() }, async (request) => who(request));
  app.get("/team", { preHandler: door.requireKind("staff") }, async (request) => who(request));
  const url = await app.listen({ port: 0, host: "127.0.0.1" });
  try {
    await same(url);
  } finally {
    await app.close();
  }
});

test("plain http", async () => {
  const door = guard();
  const say = door.http((request, response) => response.end(JSON.stringify(request.stagedoor)));
  const mine = door.http((request, response) => response.end(JSON.stringify(request.stagedoor)), {
    session: true,
  });
  const team = door.http((request, response) => response.end(JSON.stringify(request.stagedoor)), {
    kinds: ["staff"],
  });
  const server = await listen((request, response) => {
    const path = request.url?.split("?")[0];
    (path === "/mine" ? mine : path === "/team" ? team : say)(request, response);
  });
  try {
    await same(server.url);
  } finally {
    await server.close();
  }
});

test("handlers that take a Request", async () => {
  const door = guard();
  const say = (request: { stagedoor: Identity | null }) => Response.json(request.stagedoor);
  const open = door.fetch((request, context: { params: string }) => {
    assert.equal(context.params, "next's second argument");
    return say(request);
  });
  const mine = door.fetch(say, { session: true });
  const team = door.fetch(say, { kinds: ["staff"] });
  const server = await listen((incoming, outgoing) => {
    const url = `http://${incoming.headers.host}${incoming.url}`;
    const { method = "GET" } = incoming;
    const headers = Object.entries(incoming.headers).map(([k, v]) => [k, String(v)] as [string, string]);
    const request = new Request(url, { method, headers });
    const path = new URL(url).pathname;
    const answer =
      path === "/mine"
        ? mine(request)
        : path === "/team"
          ? team(request)
          : open(request, { params: "next's second argument" });
    void answer.then(async (response) => {
      outgoing.writeHead(response.status, Object.fromEntries(response.headers));
      outgoing.end(await response.text());
    });
  });
  try {
    await same(server.url);
  } finally {
    await server.close();
  }
});

test("a shared memory decides, and its failure lets nobody in", async () => {
  let works = true;
  const claimed: string[] = [];
  const seen: NonceMemory = {
    async claim(nonce) {
      if (!works) throw new Error("the shared memory is away");
      claimed.push(nonce);
      return claimed.length === 1;
    },
  };
  const door = guard(seen);
  let reached = 0;
  const server = await listen(
    door.http((_, response) => {
      reached += 1;
      response.end();
    }),
  );
  try {
    assert.equal((await fetchRaw(`${server.url}/`, signedHeaders())).status, 200);
    assert.equal((await fetchRaw(`${server.url}/`, signedHeaders())).status, 401);
    works = false;
    assert.equal((await fetchRaw(`${server.url}/`, signedHeaders())).status, 503);
    assert.deepEqual([reached, claimed.length], [1, 2]);
  } finally {
    await server.close();
  }
});

test("who goes around the door is told of", async () => {
  const told: string[] = [];
  const door = new Guard({ keys: [KEY], now: () => NOW, onForged: (error) => told.push(error.code) });
  const server = await listen(door.http((_, response) => response.end()));
  try {
    await fetchRaw(`${server.url}/`, { "x-stagedoor-account": "usr_1" });
    await fetchRaw(`${server.url}/`, signedHeaders({ time: NOW - 61 }));
    assert.deepEqual(told, ["incomplete", "time"]);
  } finally {
    await server.close();
  }
});

test("a header that came twice on the wire is not believed", async () => {
  const server = await listen(guard().http((_, response) => response.end()));
  try {
    const headers = signedHeaders();
    const doubled = { ...headers, "x-stagedoor-roles": ["", "admin"] };
    const status = await new Promise((resolve, reject) => {
      const options = { headers: doubled as never, agent: false as const };
      get(`${server.url}/`, options, (response) => {
        response.resume();
        resolve(response.statusCode);
      }).on("error", reject);
    });
    assert.equal(status, 401);
  } finally {
    await server.close();
  }
});
