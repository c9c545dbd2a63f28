// Starts the suite's origin server on a free port of the loopback address; by
// itself it listens on every address of the machine.
//   node origin.mjs DIR   prints "Listening on http://127.0.0.1:PORT/"
import net from 'node:net'
import path from 'node:path'
import process from 'node:process'
import { pathToFileURL } from 'node:url'

const listen = net.Server.prototype.listen
net.Server.prototype.listen = function (_, ...rest) {
  return listen.call(this, { port: 0, host: '127.0.0.1' }, ...rest)
}
await import(pathToFileURL(path.resolve(process.argv[2], 'server', 'server.mjs')).href)
