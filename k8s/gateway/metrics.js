// The gateway's own metrics, in Prometheus' text format: requests by model, key and status, and how long they took.
//
// `ngx.shared.metrics` counts for all workers. Its keys are the lines of the page: a name with its labels -> a number.
const BOUNDS = [0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300]; // seconds

const HELP = {
  slipway_gateway_requests_total: ['counter', 'Requests that ended, by model, name of the API key and status.'],
  slipway_gateway_request_seconds: ['histogram', 'From the first byte of a request to the last byte of its answer.'],
  slipway_gateway_first_byte_seconds: ['histogram', 'From asking vLLM to the head of its answer.'],
  slipway_gateway_uncounted_total: ['counter', 'Requests that found no room among the counters.'],
};

// Count one request. A variable of the access log, so it is read once, when the request has ended.
function counted(r) {
  const counters = ngx.shared.metrics;
  const v = r.variables;
  const model = v.asked_model || v.route_model || '';
  try {
    const labels = `model="${model}",key="${v.key_name}",code="${v.status}"`;
    counters.incr(`slipway_gateway_requests_total{${labels}}`, 1, 0);
    if (model) {
      observe(counters, 'slipway_gateway_request_seconds', model, Number(v.request_time));
      const head = firstByte(v.upstream_header_time || '');
      if (head !== undefined) {
        observe(counters, 'slipway_gateway_first_byte_seconds', model, head);
      }
    }
  } catch (e) {
    // the zone is full: more models, keys and statuses than it has room for
    counters.incr('slipway_gateway_uncounted_total', 1, 0);
  }
  return '';
}

// Seconds until the head of the last answer; "-" stands for an attempt without one, and attempts are in a list.
function firstByte(text) {
  const last = text.split(/[,:] /).pop();
  return last && last !== '-' ? Number(last) : undefined;
}

function observe(counters, name, model, seconds) {
  counters.incr(`${name}_sum{model="${model}"}`, seconds, 0);
  // one bucket each: they are added up where the page is written
  const bound = BOUNDS.find((each) => seconds <= each);
  counters.incr(`${name}_bucket{model="${model}",le="${bound === undefined ? '+Inf' : bound}"}`, 1, 0);
}

function page(r) {
  const lines = [];
  const counters = ngx.shared.metrics.items(100000);
  const seen = {};
  counters.forEach((entry) => {
    seen[entry[0]] = entry[1];
  });
  Object.keys(HELP).forEach((name) => {
    lines.push(`# HELP ${name} ${HELP[name][1]}`, `# TYPE ${name} ${HELP[name][0]}`);
    if (HELP[name][0] === 'counter') {
      Object.keys(seen).filter((key) => key.split('{')[0] === name).sort()
        .forEach((key) => lines.push(`${key} ${seen[key]}`));
    } else {
      histogram(name, seen, lines);
    }
  });
  r.headersOut['Content-Type'] = 'text/plain; version=0.0.4';
  r.return(200, lines.join('\n') + '\n');
}

function histogram(name, seen, lines) {
  const start = `${name}_sum{model="`;
  Object.keys(seen).filter((key) => key.startsWith(start)).sort().forEach((key) => {
    const model = key.slice(start.length, -2);
    let count = 0;
    BOUNDS.map(String).concat('+Inf').forEach((bound) => {
      const bucket = `${name}_bucket{model="${model}",le="${bound}"}`;
      count += seen[bucket] || 0;
      lines.push(`${bucket} ${count}`);
    });
    lines.push(`${key} ${seen[key]}`, `${name}_count{model="${model}"} ${count}`);
  });
}

export default { counted, page };
