// k6's script: the same requests over and over on each connection, one after another, each time with
// another picture. What to send comes from a file, what was measured goes to another, as JSON.
import http from "k6/http";
import exec from "k6/execution";
import { check } from "k6";

const load = JSON.parse(open(__ENV.LOAD));
const requests = load.requests.map((request) => ({
  ...request,
  bytes: request.picture && open(request.picture, "b"),
  parameters: {
    headers: request.content_type ? { "Content-Type": request.content_type } : {},
    responseType: "none",
  },
}));

export const options = {
  vus: load.connections,
  duration: `${load.seconds}s`,
  summaryTrendStats: ["med", "p(99)"],
  discardResponseBodies: true,
  insecureSkipTLSVerify: true,
  tlsAuth: load.identity ? [{ cert: open(load.identity), key: open(load.identity) }] : [],
};

// The number stands near the end, behind the picture's own end: what follows that is not looked at.
function numbered(request, number) {
  if (request.object) {
    return JSON.stringify(request.object).replace("NUMBER", `${load.run}-${number}`);
  }
  new DataView(request.bytes).setUint32(request.bytes.byteLength - 128, number);
  return request.bytes;
}

export default function () {
  const number = exec.scenario.iterationInTest;
  for (const request of requests) {
    const url = request.urls[number % request.urls.length];
    const answer = http.request(request.method, url, numbered(request, number), request.parameters);
    check(answer, { good: (it) => it.status >= 200 && it.status < 300 });
  }
}

export function handleSummary(data) {
  const { iterations, iteration_duration, checks } = data.metrics;
  const measured = {
    count: iterations.values.count,
    per_second: iterations.values.rate,
    p50_ms: iteration_duration.values.med,
    p99_ms: iteration_duration.values["p(99)"],
    good: checks.values.rate,
  };
  return { [load.out]: JSON.stringify(measured) };
}
