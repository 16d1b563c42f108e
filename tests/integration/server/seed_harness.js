// Runs the seed document's client example as it stands: gives it the names that it leaves to its reader
// (myEndpoint, myPeerId), a WebSocket that goes to the server under test instead of localhost:8080, and a console that
// prints one JSON array a line.
'use strict';
const fs = require('node:fs');
const vm = require('node:vm');
const { webcrypto } = require('node:crypto');
// Node 18 has neither as a global; scripts/test installs ws there
const WebSocketHere = globalThis.WebSocket ?? require('ws');

const [example, port] = process.argv.slice(2);

class Redirected extends WebSocketHere {
  constructor(url) {
    super(url.replace('localhost:8080/', `127.0.0.1:${port}/`));
    this.addEventListener('message', (event) => {
      scope.myPeerId ??= JSON.parse(event.data).peer_id;
    });
    this.addEventListener('error', (event) => {
      process.stderr.write(`${event.message}\n`);
      process.exit(1);
    });
  }
}

const scope = vm.createContext({
  WebSocket: Redirected,
  crypto: webcrypto,
  console: { log: (...values) => process.stdout.write(`${JSON.stringify(values)}\n`) },
  myEndpoint: { ip: '203.0.113.1', port: 12345 },
  myPeerId: undefined,
});
vm.runInContext(fs.readFileSync(example, 'utf8'), scope, { filename: example });
