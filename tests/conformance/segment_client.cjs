// Runs calls on an official client of Segment's API: standard input is JSON, standard output what became of them.
const { createRequire } = require("node:module");
const { text } = require("node:stream/consumers");

const load = createRequire(process.env.CLIENTS_HOME + "/");

const CLIENTS = {
  segment: (key, host, path) => {
    const { Analytics } = load("@segment/analytics-node");
    return new Analytics({ writeKey: key, host, ...(path ? { path } : {}) });
  },
  customerio: (key, host, path) => {
    const { Analytics } = load("@customerio/cdp-analytics-node");
    return new Analytics({ writeKey: key, host, ...(path ? { path } : {}) });
  },
  rudder: (key, host, path) => {
    const Analytics = load("@rudderstack/rudder-sdk-node");
    return new (Analytics.default || Analytics)(key, { dataPlaneUrl: host + (path || "") });
  },
};

async function main() {
  const { client: name, key, host, path, calls } = JSON.parse(await text(process.stdin));
  const client = CLIENTS[name](key, host, path);
  const errors = [];
  if (client.on) {
    client.on("error", (error) => errors.push(String((error.reason && error.reason.message) || error.message || error.code)));
  }
  const started = Date.now();
  for (const [method, message] of calls) {
    const { timestamp, ...rest } = message;
    client[method](timestamp ? { ...rest, timestamp: new Date(timestamp) } : rest);
  }
  try {
    await (client.closeAndFlush ? client.closeAndFlush() : client.flush());
  } catch (error) {
    errors.push(String(error.message || error));
  }
  process.stdout.write(JSON.stringify({ errors, seconds: (Date.now() - started) / 1000 }));
  process.exit(0);
}

main();
