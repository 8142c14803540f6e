// Runs a list of calls on the official client: standard input is JSON, standard output the list of results.
const { createRequire } = require("node:module");
const { text } = require("node:stream/consumers");

const { Autosend } = createRequire(process.env.CLIENTS_HOME + "/")("autosendjs");

async function main() {
  const { key, baseUrl, calls } = JSON.parse(await text(process.stdin));
  const client = new Autosend(key, { baseUrl });
  const results = [];
  for (const [resource, method, ...given] of calls) {
    const started = Date.now();
    const result = await client[resource][method](...given);
    results.push({ ...result, seconds: (Date.now() - started) / 1000 });
  }
  process.stdout.write(JSON.stringify(results));
}

main();
