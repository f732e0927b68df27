// k6's script: the same request over and over on each connection. The address, the body's file and
// its type come from the environment; what was measured goes to a file, as JSON.
import http from "k6/http";
import { check } from "k6";

const body = open(__ENV.BODY, "b");
const parameters = {
  headers: __ENV.CONTENT_TYPE ? { "Content-Type": __ENV.CONTENT_TYPE } : {},
  responseType: "none",
};

export const options = {
  vus: Number(__ENV.CONNECTIONS),
  duration: `${__ENV.SECONDS}s`,
  summaryTrendStats: ["med", "p(99)"],
  discardResponseBodies: true,
};

export default function () {
  const answer = http.request(__ENV.METHOD, __ENV.URL, body, parameters);
  check(answer, { good: (it) => it.status >= 200 && it.status < 300 });
}

export function handleSummary(data) {
  const { http_reqs, http_req_duration, checks } = data.metrics;
  const measured = {
    requests_per_second: http_reqs.values.rate,
    p50_ms: http_req_duration.values.med,
    p99_ms: http_req_duration.values["p(99)"],
    good: checks.values.rate,
  };
  return { [__ENV.OUT]: JSON.stringify(measured) };
}
