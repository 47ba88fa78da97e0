// Answers the cases of the differential test with an independent evaluator,
// @cloud-copilot/iam-simulate, which is installed apart and only for this.
import { createRequire } from 'node:module'
import { createInterface } from 'node:readline'
import { pathToFileURL } from 'node:url'

const resolve = createRequire(process.argv[2] + '/package.json').resolve
const { runSimulation, anonymousPrincipal } = await import(pathToFileURL(resolve('@cloud-copilot/iam-simulate')))
const named = (list) => (list ?? []).map((policy, i) => ({ name: `p${i}`, policy }))

for await (const line of createInterface({ input: process.stdin })) {
  const c = JSON.parse(line)
  let answer
  try {
    const r = await runSimulation({
      request: {
        principal: c.ARN || anonymousPrincipal,
        action: c.Action,
        resource: { resource: c.Resource, accountId: c.Owner },
        contextVariables: c.Context ?? {},
      },
      identityPolicies: named(c.Identity),
      serviceControlPolicies: [],
      resourceControlPolicies: [],
      resourcePolicy: c.ResourcePolicy?.[0],
      permissionBoundaryPolicies: c.Boundary ? named(c.Boundary) : undefined,
      sessionPolicy: c.Session?.[0],
    }, {})
    answer = r.resultType === 'error' ? { Error: JSON.stringify(r.errors) } : { Result: r.overallResult }
  } catch (e) {
    answer = { Error: String(e) }
  }
  console.log(JSON.stringify(answer))
}
