// Prints what a checkout of the suite tests, as JSON:
//   node list.mjs DIR -> [{id, kind, group, dependsOn, browserOnly}]
import fs from 'node:fs'
import path from 'node:path'
import process from 'node:process'
import { pathToFileURL } from 'node:url'

const load = async file => (await import(pathToFileURL(file).href)).default

const dir = path.resolve(process.argv[2], 'tests')
const groups = [...await load(path.join(dir, 'index.mjs'))]
// Version 0.4.5 keeps one group out of the index, and its client adds it.
const extra = path.join(dir, 'surrogate-control.mjs')
if (fs.existsSync(extra)) groups.push(await load(extra))

console.log(JSON.stringify(groups.flatMap(group => group.tests.map(test => ({
  id: test.id,
  kind: test.kind || 'required',
  group: group.id,
  dependsOn: test.depends_on || [],
  browserOnly: test.browser_only === true
})))))
